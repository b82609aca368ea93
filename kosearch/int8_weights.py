"""Weights as symmetric int8 with one scale a row, in a file of their own beside model.safetensors.

A quarter of float32's memory and half of float16's file; the arithmetic stays in floating point. The file stands
alone: what is not quantised (biases, LayerNorms, positions) is in it as float16.

    name         int8, shape (rows, columns)      the tensor is about name * name.scale[:, None]
    name.scale   float32, shape (rows,)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from kosearch.errors import ModelError

_LARGEST = 127  # -128 stays unused, so that a weight and its negative are rounded alike
_SCALE = ".scale"


@dataclass(frozen=True, slots=True, eq=False)
class Int8Matrix:
    """A matrix of about values * scales[:, None].

    values: shape (rows, columns)
    scales: shape (rows,), positive
    """

    values: NDArray[np.int8]
    scales: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, ...]:
        """Return (rows, columns)."""
        return self.values.shape

    def dequantised(self) -> NDArray[np.float32]:
        """Return the matrix in float32, shape (rows, columns)."""
        return self.values.astype(np.float32) * self.scales[:, None]


def quantise_rows(matrix: NDArray[np.floating]) -> Int8Matrix:
    """Round each row of shape (rows, columns) to 255 steps between minus and plus its largest magnitude."""
    exact = matrix.astype(np.float32)
    largest = np.abs(exact).max(axis=1)
    scales = np.where(largest > 0, largest / _LARGEST, 1.0).astype(np.float32)
    return Int8Matrix(np.rint(exact / scales[:, None]).astype(np.int8), scales)


def quantise_weights(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.float16] | Int8Matrix]:
    """Quantise a BERT's word embeddings and linear layers; leave out what no embedding depends on (pooler, heads)."""
    quantised: dict[str, NDArray[np.float16] | Int8Matrix] = {}
    for name, tensor in weights.items():
        bare = name.removeprefix("bert.")
        if bare == "embeddings.word_embeddings.weight" or (bare.startswith("encoder.") and tensor.ndim == 2):
            quantised[name] = quantise_rows(tensor)
        elif bare.startswith(("embeddings.", "encoder.")) and tensor.dtype.kind == "f":
            quantised[name] = tensor.astype(np.float16)
    return quantised


def save_int8_weights(path: Path, weights: Mapping[str, NDArray[np.float16] | Int8Matrix]) -> None:
    """Write what `quantise_weights` returned. Raises ModelError when the file cannot be written."""
    tensors: dict[str, NDArray[np.generic]] = {}
    for name, tensor in weights.items():
        if isinstance(tensor, Int8Matrix):
            tensors |= {name: tensor.values, name + _SCALE: tensor.scales}
        else:
            tensors[name] = tensor
    try:
        save_file(tensors, path)
        path.chmod(0o644)  # safetensors writes for its owner only, and a container reads as somebody else
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be written ({error}); make room and export again") from error


def load_int8_weights(path: Path) -> dict[str, NDArray[np.float32] | Int8Matrix]:
    """Read the file. Raises ModelError when it is damaged."""
    try:
        tensors = load_file(path)
        return {
            name: Int8Matrix(tensor, tensors[name + _SCALE]) if tensor.dtype == np.int8 else tensor.astype(np.float32)
            for name, tensor in tensors.items()
            if not name.endswith(_SCALE)
        }
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export it again with --int8") from error
