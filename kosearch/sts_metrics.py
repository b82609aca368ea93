"""Semantic textual similarity: the reader of KorSTS files and the eight metrics of the SentenceBERT-KoBERT README.

Needs numpy only, so that both `trainer evaluate` and `kosearch eval sts` give the same figures.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kosearch.errors import InvalidRequestError

# Columns of KorSTS: genre, filename, year, id, score, sentence1, sentence2.
_COLUMN_COUNT = 7
_SCORE, _FIRST, _SECOND = 4, 5, 6
_HIGHEST_SCORE = 5.0


@dataclass(frozen=True, slots=True)
class StsPair:
    """Two sentences and how alike people found them: `score` from 0 (unrelated) to 5 (the same)."""

    first: str
    second: str
    score: float


@dataclass(frozen=True, slots=True)
class StsMetrics:
    """Correlations in [-1, 1] between gold scores and four similarities of embedding pairs.

    Euclidean and Manhattan are negated distances, so that higher means more alike in all four.
    """

    cosine_pearson: float
    cosine_spearman: float
    euclidean_pearson: float
    euclidean_spearman: float
    manhattan_pearson: float
    manhattan_spearman: float
    dot_pearson: float
    dot_spearman: float
    pair_count: int


def sts_metrics(first: NDArray[np.floating], second: NDArray[np.floating], gold: NDArray[np.floating]) -> StsMetrics:
    """Compare `gold` of shape (pairs,) with the similarities of two embedding matrices of shape (pairs, dim).

    Raises InvalidRequestError when shapes differ or fewer than two pairs are given.
    """
    if first.ndim != 2 or first.shape != second.shape or gold.shape != (len(first),):
        raise InvalidRequestError(
            f"need two (pairs, dim) matrices and (pairs,) scores, got {first.shape}, {second.shape}, {gold.shape}"
        )
    if len(gold) < 2:
        raise InvalidRequestError(f"a correlation needs at least 2 pairs, got {len(gold)}")
    left, right = first.astype(np.float64), second.astype(np.float64)  # (pairs, dim)
    dot = (left * right).sum(axis=1)  # (pairs,)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine = dot / np.maximum(norms, 1e-12)
    euclidean = -np.linalg.norm(left - right, axis=1)
    manhattan = -np.abs(left - right).sum(axis=1)
    return StsMetrics(
        cosine_pearson=pearson(cosine, gold),
        cosine_spearman=spearman(cosine, gold),
        euclidean_pearson=pearson(euclidean, gold),
        euclidean_spearman=spearman(euclidean, gold),
        manhattan_pearson=pearson(manhattan, gold),
        manhattan_spearman=spearman(manhattan, gold),
        dot_pearson=pearson(dot, gold),
        dot_spearman=spearman(dot, gold),
        pair_count=len(gold),
    )


def pearson(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Pearson's correlation in [-1, 1]; 0 when one side is constant, where it is not defined."""
    a, b = first - first.mean(), second - second.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else 0.0


def spearman(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Spearman's correlation in [-1, 1]: Pearson's over ranks, ties sharing their average rank."""
    return pearson(average_ranks(first), average_ranks(second))


def average_ranks(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of the ranks they cover. Returns shape (len(values),)."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(counts)  # (groups,)
    mean_rank = last_rank - (counts - 1) / 2
    return np.asarray(mean_rank[group], dtype=np.float64)


def read_sts_pairs(path: Path) -> list[StsPair]:
    """Read a KorSTS file: a header line, then 7 tab-separated columns without quoting.

    Raises InvalidRequestError naming file and line for a missing file, invalid UTF-8, a wrong column count, a score
    that is no number or outside 0-5, and an empty sentence.
    """
    if not path.is_file():
        raise InvalidRequestError(f"{path}: file is missing")
    pairs: list[StsPair] = []
    line_number = 1
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            next(rows, None)
            for line_number, row in enumerate(rows, start=2):  # noqa: B007  (the errors below name it)
                pairs.append(_parse_row(row))
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path}:{line_number + 1}: not UTF-8, or truncated inside a character") from error
    except (ValueError, csv.Error) as error:
        raise InvalidRequestError(f"{path}:{line_number}: {error}") from error
    if not pairs:
        raise InvalidRequestError(f"{path}: no pairs after the header line")
    return pairs


def _parse_row(row: list[str]) -> StsPair:
    if len(row) != _COLUMN_COUNT:
        raise ValueError(f"expected {_COLUMN_COUNT} tab-separated columns, found {len(row)}")
    try:
        score = float(row[_SCORE])
    except ValueError:
        raise ValueError(f"score {row[_SCORE]!r} is not a number") from None
    if not 0.0 <= score <= _HIGHEST_SCORE:
        raise ValueError(f"score {score} is outside 0-5")
    if not row[_FIRST].strip() or not row[_SECOND].strip():
        raise ValueError("a sentence is empty")
    return StsPair(row[_FIRST], row[_SECOND], score)
