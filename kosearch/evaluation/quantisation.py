"""What smaller embeddings cost: recall of the exact search's first ten, against memory.

How Qdrant 1.16 and later store them, which this does in numpy. Sources: lib/quantization/src of qdrant/qdrant.

- scalar int8 (encoded_vectors_u8.rs, quantile.rs): one range for all numbers, in 127 steps, of queries as well. The
  `quantile` cuts `vectors * (1 - quantile) / 2` *numbers* from each end of a sample of 5,000 vectors: of 384 dimensions
  0.99 leaves 99.997 % of them, so that it cuts outliers only.
- binary (encoded_vectors_binary.rs): one bit a number, set where it is above 0; the distance counts differing bits.
- rescoring: the first `oversampling * top_k` are ordered again by the original vectors, which stay on disk.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kosearch.errors import InvalidRequestError
from kosearch.evaluation.bootstrap import Interval, mean_interval

TOP_K = 10
_QUANTILE = 0.99
_QUANTILE_SAMPLE = 5_000
_STEPS = 127
# Qdrant reads a vector in blocks of 16 bytes, and keeps a float32 of each scalar-quantised one.
_BLOCK_BYTES = 16
_SCALAR_CONSTANT_BYTES = 4
_QUERIES_AT_ONCE = 64
_CHUNKS_PER_MILLION_MIB = 1_000_000 / (1 << 20)
# Of products of unit rows in float32, whose sums differ by their order.
_AS_NEAR = 1e-6
# The rule of `recommend`.
LEAST_RECALL = 0.98


@dataclass(frozen=True, slots=True)
class Form:
    """A way to keep embeddings.

    kind: float32, float16, scalar (int8) or binary
    dim: leading numbers kept
    oversampling: candidates for each hit that are ordered again by the originals; 0: none
    """

    kind: str
    dim: int
    oversampling: int = 0

    @property
    def name(self) -> str:
        """Return the name it is shown by."""
        rescoring = f", rescored x{self.oversampling}" if self.oversampling else ""
        return f"{self.kind} {self.dim}{rescoring}"

    @property
    def bytes(self) -> int:
        """Return the bytes of memory that a chunk's embedding takes for searching, without the index of links."""
        match self.kind:
            case "float32":
                return 4 * self.dim
            case "float16":
                return 2 * self.dim
            case "scalar":
                return _SCALAR_CONSTANT_BYTES + _BLOCK_BYTES * math.ceil(self.dim / _BLOCK_BYTES)
            case _:
                return _BLOCK_BYTES * math.ceil(self.dim / (8 * _BLOCK_BYTES))

    @property
    def mib_per_million(self) -> float:
        """Return the MiB of memory that a million chunks take."""
        return self.bytes * _CHUNKS_PER_MILLION_MIB


@dataclass(frozen=True, slots=True)
class Measured:
    """A form with its share of the exact search's first ten chunks, over the queries."""

    form: Form
    name: str
    mib_per_million: float
    recall: Interval


@dataclass(frozen=True, slots=True)
class QuantisationReport:
    """What was measured on `sampled` of a collection's `chunks`."""

    collection: str
    chunks: int
    sampled: int
    queries: int
    measured: Sequence[Measured]
    recommended: Form
    notes: Sequence[str]


def forms(dim: int, dimensions: Sequence[int] = ()) -> list[Form]:
    """Return what is compared for embeddings of `dim` numbers, and of fewer where the model was trained for them."""
    kinds = [("float32", 0), ("float16", 0), ("scalar", 0), ("scalar", 2), ("binary", 0)]
    kinds += [("binary", oversampling) for oversampling in (2, 4, 8)]
    found = [Form(kind, dim, oversampling) for kind, oversampling in kinds]
    return found + [
        Form(kind, fewer, oversampling)
        for fewer in sorted(set(dimensions), reverse=True)
        if 0 < fewer < dim
        for kind, oversampling in (("float32", 0), ("scalar", 0))
    ]


def measure(
    embeddings: NDArray[np.float32], queries: NDArray[np.float32], compared: Sequence[Form], seed: int = 0
) -> list[Measured]:
    """Compare the first ten chunks by each form with those by exact search in float32.

    embeddings: unit rows (chunks, dim); queries: unit rows (queries, dim). A chunk that is as near as the exact tenth
    counts as well: of equal texts, any ten will do. Raises InvalidRequestError for fewer than 11 chunks.
    """
    if len(embeddings) <= TOP_K:
        raise InvalidRequestError(f"{len(embeddings)} chunks: any search finds the best {TOP_K} of so few")
    # (queries, 1): the exact product of the tenth
    tenth = _products(embeddings, queries, _best(embeddings, queries, TOP_K)).min(axis=1, keepdims=True)
    found = []
    for form in compared:
        products = _products(embeddings, queries, _best_by(form, embeddings, queries, seed))  # (queries, 10)
        shares = (products >= tenth - _AS_NEAR).mean(axis=1)
        found.append(Measured(form, form.name, form.mib_per_million, mean_interval(shares, seed)))
    return found


def recommend(measured: Sequence[Measured]) -> Measured:
    """Return the form that takes the least memory of those that surely keep enough.

    These are the ones whose interval of recall@10 begins at 0.98 or above; of equal ones, that with the least
    rescoring, which reads from disk. Where there is none but float32, float32.
    """
    good = [each for each in measured if each.form.kind == "float32" and each.recall.mean == 1.0]
    good += [each for each in measured if each.recall.low >= LEAST_RECALL]
    return min(good, key=lambda each: (each.form.bytes, each.form.oversampling))


def scalar_range(embeddings: NDArray[np.float32], seed: int = 0) -> tuple[float, float]:
    """Return lowest number and size of a step by which Qdrant makes int8 of embeddings (chunks, dim)."""
    count = len(embeddings)
    if count < _STEPS:
        low, high = float(embeddings.min()), float(embeddings.max())
        return low, (high - low) / _STEPS
    sampled = min(count, _QUANTILE_SAMPLE)
    rows = np.random.default_rng(seed).choice(count, sampled, replace=False)
    numbers = embeddings[rows].ravel()
    cut = max(1, min((numbers.size - 1) // 2, int(sampled * (1 - _QUANTILE) / 2)))
    parted = np.partition(numbers, (cut, numbers.size - cut - 1))
    low, high = float(parted[cut]), float(parted[numbers.size - cut - 1])
    return low, (high - low) / _STEPS


def _best_by(form: Form, embeddings: NDArray[np.float32], queries: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    """Return the places of the ten chunks that a search by the form finds, shape (queries, 10)."""
    stored, asked = _stored(form, embeddings, queries, seed)
    candidates = _best(stored, asked, TOP_K * max(1, form.oversampling))
    if not form.oversampling:
        return candidates
    best = np.argsort(-_products(embeddings, queries, candidates), axis=1)[:, :TOP_K]
    return np.take_along_axis(candidates, best, axis=1)


def _stored(
    form: Form, embeddings: NDArray[np.float32], queries: NDArray[np.float32], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return chunks and queries as numbers whose products order the chunks as the form does."""
    stored, asked = _leading(embeddings, form.dim), _leading(queries, form.dim)
    match form.kind:
        case "float16":
            return stored.astype(np.float16).astype(np.float32), asked.astype(np.float16).astype(np.float32)
        case "scalar":
            low, step = scalar_range(stored, seed)
            return _dequantised(stored, low, step), _dequantised(asked, low, step)
        case "binary":
            # Signs agree in (dim + product) / 2 places.
            return np.where(stored > 0, 1, -1).astype(np.float32), np.where(asked > 0, 1, -1).astype(np.float32)
        case _:
            return stored, asked


def _leading(rows: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    if dim == rows.shape[1]:
        return rows
    kept = rows[:, :dim]
    return np.asarray(kept / np.linalg.norm(kept, axis=1, keepdims=True), dtype=np.float32)


def _dequantised(rows: NDArray[np.float32], low: float, step: float) -> NDArray[np.float32]:
    codes = np.round(np.clip((rows - np.float32(low)) / np.float32(step), 0, _STEPS))
    return np.asarray(codes * np.float32(step) + np.float32(low), dtype=np.float32)


def _best(stored: NDArray[np.float32], asked: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return the places of the `count` rows with the largest products, shape (queries, count), in no order."""
    count = min(count, len(stored))
    parts = []
    for start in range(0, len(asked), _QUERIES_AT_ONCE):
        products = asked[start : start + _QUERIES_AT_ONCE] @ stored.T  # (some queries, chunks)
        parts.append(np.argpartition(-products, count - 1, axis=1)[:, :count])
    return np.concatenate(parts)


def _products(
    embeddings: NDArray[np.float32], queries: NDArray[np.float32], places: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the products of each query with the chunks at its places, shape (queries, places)."""
    return np.stack([embeddings[mine] @ query for query, mine in zip(queries, places, strict=True)])
