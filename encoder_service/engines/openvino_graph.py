"""The graph of a post-LayerNorm BERT encoder over packed rows, built for OpenVINO from the weights alone.

Several texts lie one after the other in a row. Two things keep them apart: position ids restart with each text, and
attention is allowed only between tokens of equal segment id. So the graph has no padding worth naming and a shape
that can be fixed, while every text gets the numbers it would get alone.

Source: Devlin et al. 2019 (BERT); names of the tensors as in `transformers.BertModel`.
"""

import math

import numpy as np
import openvino as ov
from openvino import opset15 as ops

from encoder_service.engines.bert_weights import BertWeights
from kosearch.architecture import BertConfig

_MASKED = -1e4  # far below every attention score, and still a number in bf16


def build_graph(config: BertConfig, weights: BertWeights) -> ov.Model:
    """Build the encoder with free numbers of rows and row tokens. Raises ModelError on a missing or misshapen tensor.

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

    def __init__(self, config: BertConfig, weights: BertWeights) -> None:
        self._config = config
        self._weights = weights

    def embeddings(self, token_ids: ov.Node, position_ids: ov.Node) -> ov.Node:
        summed = ops.add(
            ops.gather(ops.constant(self._weights.words(self._config)), token_ids, 0),
            ops.gather(ops.constant(self._weights.positions(self._config)), position_ids, 0),
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
        weight, bias = self._weights.linear(name)
        product = ops.matmul(hidden, ops.constant(weight), transpose_a=False, transpose_b=True)
        return ops.add(product, ops.constant(bias))

    def _layer_norm(self, hidden: ov.Node, name: str) -> ov.Node:
        centred = ops.mvn(
            hidden,
            ops.constant([-1]),
            normalize_variance=True,
            eps=self._config.layer_norm_eps,
            eps_mode="inside_sqrt",
        )
        gain, bias = self._weights.layer_norm(name, self._config.dim)
        return ops.add(ops.multiply(centred, ops.constant(gain)), ops.constant(bias))
