"""A post-LayerNorm BERT over texts that lie end to end, in plain torch: from token ids to embeddings.

Every product sees the tokens of all texts as one matrix. Two things keep texts apart: position ids restart with each,
and attention stays inside of each (`torch_attention`).

Source: Devlin et al. 2019 (BERT); without padding as in Zhai et al. 2023 (ByteTransformer).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from encoder_service.engines.bert_weights import BertWeights
from encoder_service.engines.ragged import BatchShape
from encoder_service.engines.torch_attention import Attend
from kosearch.architecture import Architecture, BertConfig, Pooling


@dataclass(frozen=True, slots=True)
class Linear:
    """Weight (out, in) and bias (out,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class LayerNorm:
    """Gain and bias, (dim,). Mean and variance are computed in float32, whatever the number format."""

    gain: Tensor
    bias: Tensor
    eps: float

    def __call__(self, hidden: Tensor) -> Tensor:
        return functional.layer_norm(hidden, self.gain.shape, self.gain, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Kernels:
    """What can be computed in one kernel or in several.

    add_norm: LayerNorm of a sum; both (tokens, dim)
    widen: GELU of a product, (tokens, dim) to (tokens, wide)
    """

    add_norm: Callable[[Tensor, Tensor, LayerNorm], Tensor]
    widen: Callable[[Tensor, Linear], Tensor]


# As torch has it: GELU by erf and not its approximation.
PLAIN_KERNELS = Kernels(
    add_norm=lambda hidden, residual, norm: norm(hidden + residual),
    widen=lambda hidden, linear: functional.gelu(linear(hidden)),
)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The weights of a layer; `qkv` computes queries, keys and values in one product."""

    qkv: Linear
    attended: Linear
    attended_norm: LayerNorm
    widen: Linear
    narrow: Linear
    norm: LayerNorm


class TorchBert:
    """The model's weights on one device. Stateless: whoever calls decides on stream and graph."""

    def __init__(
        self,
        architecture: Architecture,
        weights: BertWeights,
        device: torch.device,
        dtype: torch.dtype,
        kernels: Kernels = PLAIN_KERNELS,
    ) -> None:
        """Copy the weights to the device as `dtype`. Raises ModelError on a missing or misshapen tensor."""
        self.device = device
        self.dtype = dtype
        self.dim = architecture.bert.dim
        self.heads = architecture.bert.heads
        self._kernels = kernels
        self._pooling = architecture.pooling
        reader = _Reader(architecture.bert, weights, device, dtype)
        self._words, self._positions = reader.tables()
        self._norm = reader.layer_norm("embeddings.LayerNorm")
        self._layers = [reader.layer(f"encoder.layer.{number}") for number in range(architecture.bert.layers)]

    def embed(self, inputs: Tensor, shape: BatchShape, attend: Attend) -> Tensor:
        """Encode a batch of this shape from its inputs, int32 (shape.size,) as `ragged.lay_out` writes them.

        Returns float32, (shape.texts, dim), rows of length 1; that of an empty text means nothing.
        """
        _, _, bounds = shape.parts
        return _unit_rows(self._pool(self._hidden(inputs, shape, attend), inputs[bounds]))

    def embed_tokens(self, inputs: Tensor, shape: BatchShape, attend: Attend) -> Tensor:
        """The same for each token: float32, (shape.tokens, dim), rows of length 1."""
        return _unit_rows(self._hidden(inputs, shape, attend).float())

    def _hidden(self, inputs: Tensor, shape: BatchShape, attend: Attend) -> Tensor:
        """The last hidden states, (shape.tokens, dim)."""
        token_ids, position_ids, _ = (inputs[part] for part in shape.parts)
        hidden = functional.embedding(token_ids, self._words) + functional.embedding(position_ids, self._positions)
        hidden = self._norm(hidden)  # (tokens, dim)
        for layer in self._layers:
            hidden = self._run_layer(layer, hidden, attend)
        return hidden

    def _run_layer(self, layer: _Layer, hidden: Tensor, attend: Attend) -> Tensor:
        qkv = layer.qkv(hidden).view(len(hidden), 3, self.heads, -1)  # (tokens, 3, heads, head_dim)
        mixed = attend(*qkv.unbind(1)).reshape(hidden.shape)
        hidden = self._kernels.add_norm(layer.attended(mixed), hidden, layer.attended_norm)
        widened = self._kernels.widen(hidden, layer.widen)  # (tokens, wide)
        return self._kernels.add_norm(layer.narrow(widened), hidden, layer.norm)

    def _pool(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        """From (tokens, dim) to (texts, dim), float32."""
        if self._pooling is Pooling.CLS:
            # An empty text begins where the next one does, the last of them behind the last token.
            return hidden[bounds[:-1].clamp(max=len(hidden) - 1)].float()
        # `unsafe` leaves out a check of the bounds for which the host would wait for the GPU.
        return torch.segment_reduce(hidden.float(), "mean", offsets=bounds, axis=0, unsafe=True, initial=0)


def _unit_rows(rows: Tensor) -> Tensor:
    return functional.normalize(rows, dim=1, eps=1e-12)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Brings weights to a device, by the names of `transformers.BertModel`."""

    config: BertConfig
    weights: BertWeights
    device: torch.device
    dtype: torch.dtype

    def tables(self) -> tuple[Tensor, Tensor]:
        """Embeddings of words, (vocabulary, dim), and of positions, (positions, dim)."""
        return self._tensor(self.weights.words(self.config)), self._tensor(self.weights.positions(self.config))

    def layer(self, name: str) -> _Layer:
        parts = [self.weights.linear(f"{name}.attention.self.{part}") for part in ("query", "key", "value")]
        weight, bias = (self._tensor(np.concatenate(tensors)) for tensors in zip(*parts, strict=True))
        return _Layer(
            qkv=Linear(weight, bias),  # (3 * dim, dim), (3 * dim,)
            attended=self._linear(f"{name}.attention.output.dense"),
            attended_norm=self.layer_norm(f"{name}.attention.output.LayerNorm"),
            widen=self._linear(f"{name}.intermediate.dense"),
            narrow=self._linear(f"{name}.output.dense"),
            norm=self.layer_norm(f"{name}.output.LayerNorm"),
        )

    def layer_norm(self, name: str) -> LayerNorm:
        gain, bias = map(self._tensor, self.weights.layer_norm(name, self.config.dim))
        return LayerNorm(gain, bias, self.config.layer_norm_eps)

    def _linear(self, name: str) -> Linear:
        weight, bias = map(self._tensor, self.weights.linear(name))
        return Linear(weight, bias)

    def _tensor(self, tensor: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(tensor).to(self.device, self.dtype)
