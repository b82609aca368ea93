"""The graph of a post-LayerNorm BERT encoder over packed rows, built for OpenVINO from the weights alone.

Several texts lie one after the other in a row. Two things keep them apart: position ids restart with each text, and
attention is allowed only between tokens of equal segment id. So the graph has no padding worth naming and a shape
that can be fixed, while every text gets the numbers it would get alone.

Source: Devlin et al. 2019 (BERT); names of the tensors as in `transformers.BertModel`.
"""

import math
from collections.abc import Mapping

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset15 as ops

from kosearch.architecture import BertConfig
from kosearch.errors import ModelError
from kosearch.int8_weights import Int8Matrix

Weights = Mapping[str, NDArray[np.float32] | Int8Matrix]

_MASKED = -1e4  # far below every attention score, and still a number in bf16


def build_bert_graph(config: BertConfig, weights: Weights) -> ov.Model:
    """Build the encoder with free numbers of rows and row tokens. Raises ModelError on a missing or misshapen tensor.

    An Int8Matrix stays int8 in memory and is widened where it is used; the arithmetic is that of the other weights.

    Inputs, int32 of shape (rows, row_tokens): `token_ids`; `position_ids`, from 0 for each text; `segment_ids`, equal
    for the tokens of one text and for nothing else in the row.
    Output: hidden states, float32 of shape (rows, row_tokens, dim).
    """
    inputs = {
        name: ops.parameter([-1, -1], np.int32, name=name) for name in ("token_ids", "position_ids", "segment_ids")
    }
    builder = _Builder(config, weights)
    hidden = builder.embeddings(inputs["token_ids"], inputs["position_ids"])  # (rows, tokens, dim)
    mask = builder.attention_mask(inputs["segment_ids"])  # (rows, 1, tokens, tokens)
    for layer in range(config.layers):
        hidden = builder.layer(hidden, mask, f"encoder.layer.{layer}")
    return ov.Model([hidden], list(inputs.values()), "packed_bert")


class _Builder:
    """Adds the parts of the graph; every method returns a node."""

    def __init__(self, config: BertConfig, weights: Weights) -> None:
        self._config = config
        self._weights = weights
        self._prefix = "bert." if "bert.embeddings.word_embeddings.weight" in weights else ""

    def embeddings(self, token_ids: ov.Node, position_ids: ov.Node) -> ov.Node:
        words = self._matrix("embeddings.word_embeddings.weight", None, self._config.dim)
        positions = self._tensor("embeddings.position_embeddings.weight", self._config.max_positions, self._config.dim)
        # Every token is of type 0, so that its row joins the position table: one lookup less at run time.
        types = self._tensor("embeddings.token_type_embeddings.weight", None, self._config.dim)
        summed = ops.add(
            self._rows(words, token_ids),
            ops.gather(ops.constant(positions + types[0]), position_ids, 0),
        )
        return self._layer_norm(summed, "embeddings.LayerNorm")

    def attention_mask(self, segment_ids: ov.Node) -> ov.Node:
        across = ops.unsqueeze(segment_ids, ops.constant([1, 2]))  # (rows, 1, 1, tokens)
        down = ops.unsqueeze(segment_ids, ops.constant([1, 3]))  # (rows, 1, tokens, 1)
        return ops.select(ops.equal(across, down), np.float32(0.0), np.float32(_MASKED))

    def layer(self, hidden: ov.Node, mask: ov.Node, name: str) -> ov.Node:
        attended = self._linear(
            self._attention(hidden, mask, f"{name}.attention.self"), f"{name}.attention.output.dense"
        )
        hidden = self._layer_norm(ops.add(attended, hidden), f"{name}.attention.output.LayerNorm")
        widened = ops.gelu(self._linear(hidden, f"{name}.intermediate.dense"), "erf")
        narrowed = self._linear(widened, f"{name}.output.dense")
        return self._layer_norm(ops.add(narrowed, hidden), f"{name}.output.LayerNorm")

    def _attention(self, hidden: ov.Node, mask: ov.Node, name: str) -> ov.Node:
        query, key, value = (self._heads(self._linear(hidden, f"{name}.{part}")) for part in ("query", "key", "value"))
        scale = np.float32(1 / math.sqrt(self._config.dim // self._config.heads))
        attended = ops.scaled_dot_product_attention(query, key, value, mask, ops.constant(scale))
        joined = ops.transpose(attended, ops.constant([0, 2, 1, 3]))  # (rows, tokens, heads, head_dim)
        return ops.reshape(joined, ops.constant([0, 0, self._config.dim]), special_zero=True)

    def _heads(self, projected: ov.Node) -> ov.Node:
        shape = ops.constant([0, 0, self._config.heads, self._config.dim // self._config.heads])
        split = ops.reshape(projected, shape, special_zero=True)
        return ops.transpose(split, ops.constant([0, 2, 1, 3]))  # (rows, heads, tokens, head_dim)

    def _linear(self, hidden: ov.Node, name: str) -> ov.Node:
        weight = self._matrix(f"{name}.weight", None, None)  # (out, in)
        bias = self._tensor(f"{name}.bias", weight.shape[0])
        product = ops.matmul(hidden, self._widened(weight), transpose_a=False, transpose_b=True)
        return ops.add(product, ops.constant(bias))

    def _rows(self, table: NDArray[np.float32] | Int8Matrix, row_ids: ov.Node) -> ov.Node:
        if not isinstance(table, Int8Matrix):
            return ops.gather(ops.constant(table), row_ids, 0)
        # Looked up first and widened then, so that a large vocabulary is never float in memory.
        values = ops.convert(ops.gather(ops.constant(table.values), row_ids, 0), np.float32)
        return ops.multiply(values, ops.gather(ops.constant(table.scales[:, None]), row_ids, 0))

    def _widened(self, matrix: NDArray[np.float32] | Int8Matrix) -> ov.Node:
        if not isinstance(matrix, Int8Matrix):
            return ops.constant(matrix)
        # The very pattern in which OpenVINO knows compressed weights, and keeps them so where the CPU allows it.
        values = ops.convert(ops.constant(matrix.values), np.float32)
        return ops.multiply(values, ops.constant(matrix.scales[:, None]))

    def _layer_norm(self, hidden: ov.Node, name: str) -> ov.Node:
        centred = ops.mvn(
            hidden,
            ops.constant([-1]),
            normalize_variance=True,
            eps=self._config.layer_norm_eps,
            eps_mode="inside_sqrt",
        )
        scaled = ops.multiply(centred, ops.constant(self._tensor(f"{name}.weight", self._config.dim)))
        return ops.add(scaled, ops.constant(self._tensor(f"{name}.bias", self._config.dim)))

    def _tensor(self, name: str, *shape: int | None) -> NDArray[np.float32]:
        tensor = self._matrix(name, *shape)
        return tensor.dequantised() if isinstance(tensor, Int8Matrix) else tensor

    def _matrix(self, name: str, *shape: int | None) -> NDArray[np.float32] | Int8Matrix:
        try:
            tensor = self._weights[self._prefix + name]
        except KeyError:
            raise ModelError(
                f"model.safetensors has no tensor {name!r}; it does not hold the BERT of config.json"
            ) from None
        if len(tensor.shape) != len(shape) or any(
            wanted is not None and wanted != found for wanted, found in zip(shape, tensor.shape, strict=True)
        ):
            raise ModelError(f"model.safetensors: {name} has shape {tensor.shape}, config.json asks for {shape}")
        return tensor if isinstance(tensor, Int8Matrix) else np.ascontiguousarray(tensor, dtype=np.float32)
