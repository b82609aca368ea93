"""The graph of a post-LayerNorm BERT encoder over packed rows for ONNX Runtime, its matrix products in int8 or float32.

Inputs, output and numbers are those of `openvino_graph`. Weights have one scale per output, activations one per
product, fixed beforehand: a range measured in each batch, as `quantize_dynamic` has it, would let the texts of a batch
change each other's embeddings.

Source: Jacob et al. 2018 (affine quantisation); the operators of com.microsoft are ONNX Runtime's own, fused ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from encoder_service.engines.bert_weights import BertWeights
from kosearch.architecture import BertConfig

INPUTS = ("token_ids", "position_ids", "segment_ids")

_MASKED = -1e4  # far below every attention score
# Without VNNI the products of two neighbours, one factor up to 255, are added in 16 bits: eight bits would overflow.
_LARGEST_WEIGHT = 63
_FUSED = "com.microsoft"
_OPSET, _IR_VERSION = 18, 9

Range = tuple[float, float]


def build_float_graph(config: BertConfig, weights: BertWeights) -> bytes:
    """The encoder in float32 that tells, beside the hidden states, what goes into its products.

    Outputs: `hidden`, float32 of shape (rows, row_tokens, dim); `least` and `largest`, float32 of shape (products,).
    """
    builder = _Builder(config, weights, None)
    builder.encode()
    builder.tell_ranges()
    return builder.serialised(["hidden", "least", "largest"])


def build_int8_graph(config: BertConfig, weights: BertWeights, ranges: Sequence[Range]) -> bytes:
    """The encoder in int8; `ranges` are the least and the largest number that go into each of its products, in order.

    What lies outside becomes the nearest number inside. Output: `hidden`, float32 of shape (rows, row_tokens, dim).
    """
    builder = _Builder(config, weights, ranges)
    builder.encode()
    return builder.serialised(["hidden"])


class _Builder:
    """Adds nodes; every method that adds one returns the name of its result."""

    def __init__(self, config: BertConfig, weights: BertWeights, ranges: Sequence[Range] | None) -> None:
        self._config = config
        self._weights = weights
        self._ranges = ranges
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._multiplied: list[str] = []  # what goes into the products so far

    def encode(self) -> None:
        """Add the encoder, its last result named `hidden`."""
        hidden = self._embeddings()
        mask = self._mask()
        for layer in range(self._config.layers):
            hidden = self._layer(hidden, mask, f"encoder.layer.{layer}")
        self._nodes.append(helper.make_node("Identity", [hidden], ["hidden"]))

    def tell_ranges(self) -> None:
        """Add the outputs `least` and `largest`."""
        for name, operator in (("least", "ReduceMin"), ("largest", "ReduceMax")):
            found = [
                self._add("Unsqueeze", [self._add(operator, [multiplied], keepdims=0), self._constant(np.array([0]))])
                for multiplied in self._multiplied
            ]
            self._nodes.append(helper.make_node("Concat", found, [name], axis=0))

    def serialised(self, outputs: Sequence[str]) -> bytes:
        inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, ["rows", "tokens"]) for name in INPUTS]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "packed_bert", inputs, results, self._constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_FUSED, 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION).SerializeToString())

    def _embeddings(self) -> str:
        # Half the memory of a large vocabulary, at an error far below that of int8.
        words = self._constant(self._weights.words(self._config).astype(np.float16))
        summed = self._add(
            "Add",
            [
                self._add("Cast", [self._add("Gather", [words, "token_ids"])], to=TensorProto.FLOAT),
                self._add("Gather", [self._constant(self._weights.positions(self._config)), "position_ids"]),
            ],
        )
        gain, bias = self._layer_norm("embeddings.LayerNorm")
        return self._add("LayerNormalization", [summed, gain, bias], axis=-1, epsilon=self._config.layer_norm_eps)

    def _mask(self) -> str:
        across = self._add("Unsqueeze", ["segment_ids", self._constant(np.array([1, 2]))])  # (rows, 1, 1, tokens)
        down = self._add("Unsqueeze", ["segment_ids", self._constant(np.array([1, 3]))])  # (rows, 1, tokens, 1)
        scores = [self._constant(np.array(score, np.float32)) for score in (0.0, _MASKED)]
        return self._add("Where", [self._add("Equal", [across, down]), *scores])

    def _layer(self, hidden: str, mask: str, name: str) -> str:
        projected = self._linear(hidden, *(f"{name}.attention.self.{part}" for part in ("query", "key", "value")))
        query, key, value = (f"{projected}.{part}" for part in ("query", "key", "value"))
        self._nodes.append(helper.make_node("Split", [projected], [query, key, value], axis=-1, num_outputs=3))
        attended = self._add(
            "MultiHeadAttention", [query, key, value, "", "", mask], domain=_FUSED, num_heads=self._config.heads
        )
        hidden = self._normalised_sum(
            self._linear(attended, f"{name}.attention.output.dense"), hidden, f"{name}.attention.output.LayerNorm"
        )
        widened = self._add("Gelu", [self._linear(hidden, f"{name}.intermediate.dense")], domain=_FUSED)
        return self._normalised_sum(self._linear(widened, f"{name}.output.dense"), hidden, f"{name}.output.LayerNorm")

    def _normalised_sum(self, changed: str, hidden: str, name: str) -> str:
        inputs = [changed, hidden, *self._layer_norm(name)]
        return self._add("SkipLayerNormalization", inputs, domain=_FUSED, epsilon=self._config.layer_norm_eps)

    def _layer_norm(self, name: str) -> list[str]:
        return [self._constant(tensor) for tensor in self._weights.layer_norm(name, self._config.dim)]

    def _linear(self, hidden: str, *names: str) -> str:
        """One product for several layers of the same input, their outputs side by side."""
        layers = [self._weights.linear(name) for name in names]
        weight = np.concatenate([weight for weight, _ in layers]).T  # (in, out)
        bias = self._constant(np.concatenate([bias for _, bias in layers]))
        number = len(self._multiplied)
        self._multiplied.append(hidden)
        if self._ranges is None:
            return self._add("Add", [self._add("MatMul", [hidden, self._constant(weight)]), bias])
        step, zero = _steps(*self._ranges[number])
        largest = np.abs(weight).max(axis=0)  # (out,)
        scales = np.where(largest > 0, largest / _LARGEST_WEIGHT, 1.0).astype(np.float32)
        values = np.rint(weight / scales).astype(np.int8)
        steps, zeros = self._constant(step), self._constant(zero)
        return self._add(
            "MatMulIntegerToFloat",
            [
                self._add("QuantizeLinear", [hidden, steps, zeros]),
                self._constant(values),
                steps,
                self._constant(scales),
                zeros,
                self._constant(np.zeros(len(scales), np.int8)),
                bias,
            ],
            domain=_FUSED,
        )

    def _constant(self, values: NDArray[np.generic]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name))
        return name

    def _add(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        name = f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], domain=domain, **attributes))
        return name


def _steps(least: float, largest: float) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """The step between two of 256 numbers that cover a range and 0, and the one that stands for 0."""
    least, largest = min(least, 0.0), max(largest, 0.0)
    step = max(largest - least, 1e-6) / 255
    return np.array(step, np.float32), np.array(round(-least / step), np.uint8)
