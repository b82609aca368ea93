"""The tensors of a BERT by the names that `transformers.BertModel` gives them, their shapes checked."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kosearch.architecture import BertConfig
from kosearch.errors import ModelError

Tensor = NDArray[np.float32]


class BertWeights:
    """Weights of model.safetensors. Every method raises ModelError when a tensor is missing or misshapen."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the tensors, whose names may begin with `bert.`."""
        self._tensors = tensors
        self._prefix = "bert." if "bert.embeddings.word_embeddings.weight" in tensors else ""

    def words(self, config: BertConfig) -> Tensor:
        """Embeddings of the vocabulary, shape (vocabulary, dim)."""
        return self._tensor("embeddings.word_embeddings.weight", None, config.dim)

    def positions(self, config: BertConfig) -> Tensor:
        """Embeddings of the positions, that of token type 0 added, which every token has: shape (positions, dim)."""
        positions = self._tensor("embeddings.position_embeddings.weight", config.max_positions, config.dim)
        types = self._tensor("embeddings.token_type_embeddings.weight", None, config.dim)
        summed: Tensor = positions + types[0]
        return summed

    def linear(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight, shape (out, in), and bias, shape (out,)."""
        weight = self._tensor(f"{name}.weight", None, None)
        return weight, self._tensor(f"{name}.bias", weight.shape[0])

    def layer_norm(self, name: str, dim: int) -> tuple[Tensor, Tensor]:
        """Gain and bias, shape (dim,)."""
        return self._tensor(f"{name}.weight", dim), self._tensor(f"{name}.bias", dim)

    def _tensor(self, name: str, *shape: int | None) -> Tensor:
        try:
            tensor = self._tensors[self._prefix + name]
        except KeyError:
            raise ModelError(
                f"model.safetensors has no tensor {name!r}; it does not hold the BERT of config.json"
            ) from None
        if len(tensor.shape) != len(shape) or any(
            wanted is not None and wanted != found for wanted, found in zip(shape, tensor.shape, strict=True)
        ):
            raise ModelError(f"model.safetensors: {name} has shape {tensor.shape}, config.json asks for {shape}")
        return np.ascontiguousarray(tensor, dtype=np.float32)
