"""Weights of terms, as Qdrant's sparse vectors hold them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_INDEX_BYTES = 4
# Words are few and come again and again: a hit takes a tenth of the time of the digest.
_CACHED_TERMS = 1 << 17


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Weights of terms. indices: uint32, ascending, each once; values: float32 of the same shape."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)


def sparse_vector(weights: Mapping[str, float]) -> SparseVector:
    """Return the vector of weights by term.

    A term's index is a digest of 32 bits, so that nobody has to keep a vocabulary: of a million terms 116 pairs meet.
    Of two that meet in one text the heavier one stays.
    """
    by_index: dict[int, float] = {}
    for term, weight in weights.items():
        index = _index(term)
        by_index[index] = max(weight, by_index.get(index, 0.0))
    indices = np.fromiter(by_index.keys(), dtype=np.uint32, count=len(by_index))
    values = np.fromiter(by_index.values(), dtype=np.float32, count=len(by_index))
    order = np.argsort(indices)
    return SparseVector(indices[order], values[order])


@lru_cache(maxsize=_CACHED_TERMS)
def _index(term: str) -> int:
    # "surrogatepass": half a surrogate pair is a bad text, but no reason to lose the rest of it.
    digest = hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=_INDEX_BYTES).digest()
    return int.from_bytes(digest, "little")
