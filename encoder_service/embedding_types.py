"""The number formats in which embeddings travel, and what each loses."""

from enum import Enum

import numpy as np
from numpy.typing import NDArray

from kosearch.errors import InvalidRequestError


class EmbeddingType(Enum):
    """Numbers of a row."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"
    BINARY = "binary"


def check_form(dim: int, dimensions: int, kind: EmbeddingType) -> None:
    """Raise InvalidRequestError where `dim` numbers cannot be cut to `dimensions` (0: all) of that kind."""
    if not 0 <= dimensions <= dim:
        raise InvalidRequestError(
            f"dimensions is {dimensions:,}, the model's embeddings have {dim}; ask for at most that"
        )
    if kind is EmbeddingType.BINARY and (dimensions or dim) % 8:
        raise InvalidRequestError(
            f"binary embeddings of {dimensions or dim} dimensions do not fill bytes; ask for a multiple of 8"
        )


def leading(embeddings: NDArray[np.float32], dimensions: int) -> NDArray[np.float32]:
    """Keep the leading `dimensions` (0: all; at most dim) of rows (texts, dim), of length 1 again."""
    if dimensions in (0, embeddings.shape[1]):
        return embeddings
    kept = embeddings[:, :dimensions]
    unit: NDArray[np.float32] = kept / np.linalg.norm(kept, axis=1, keepdims=True).clip(min=1e-12)
    return unit


def int8_scale(golden: NDArray[np.float32], dimensions: int) -> float:
    """The step between two int8 numbers, from the model's golden embeddings (texts, dim), unit rows.

    One step for all dimensions: with one each, products of int8 rows would no longer be proportional to cosines.
    """
    return float(np.abs(leading(golden, dimensions)).max()) / 127


def to_bytes(embeddings: NDArray[np.float32], kind: EmbeddingType, scale: float) -> bytes:
    """The bytes of rows (texts, dim) in a number format; `scale` is the step of int8.

    What lies outside of the golden embeddings' range becomes the nearest int8.
    """
    match kind:
        case EmbeddingType.FLOAT32:
            return embeddings.astype("<f4", copy=False).tobytes()
        case EmbeddingType.FLOAT16:
            return embeddings.astype("<f2").tobytes()
        case EmbeddingType.INT8:
            steps: NDArray[np.int8] = np.rint(embeddings / scale).clip(-127, 127).astype(np.int8)
            return steps.tobytes()
        case EmbeddingType.BINARY:
            return np.packbits(embeddings > 0, axis=1).tobytes()
