"""How sure a mean over queries is: intervals and tests by resampling the queries.

Source: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapters 13 (percentile interval) and 16 (test).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
# Percentiles between which 95 % of the resampled means lie.
_TAILS = (2.5, 97.5)
# Indices drawn at once: 32 MB.
_INDICES_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `n` queries and its 95 % interval, which is not a number where there are fewer than two."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Second minus first over the same `n` queries, its 95 % interval, and how likely one as large is by chance."""

    mean: float
    low: float
    high: float
    p_value: float
    n: int


def mean_intervals(values: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES) -> list[Interval]:
    """Interval of the mean of each column of `values` (queries, figures), by percentiles of resampled means."""
    n = len(values)
    if n < 2:
        means = values.mean(axis=0) if n else np.full(values.shape[1], np.nan)
        return [Interval(float(mean), np.nan, np.nan, n) for mean in means]
    lows, highs = np.percentile(_resampled_means(values, seed, resamples), _TAILS, axis=0)
    return [
        Interval(float(mean), float(low), float(high), n)
        for mean, low, high in zip(values.mean(axis=0), lows, highs, strict=True)
    ]


def mean_interval(values: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Interval of the mean of `values` (queries,)."""
    return mean_intervals(values[:, None], seed, resamples)[0]


def paired_difference(
    first: NDArray[np.float64], second: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES
) -> Difference:
    """Compare two figures (queries,) of the same queries in the same order.

    The p value is two-sided, by the bootstrap of differences shifted to mean 0, the observed one counted among them.
    Source: Smucker, Allan & Carterette, CIKM 2007, who compare it with other tests for retrieval.
    """
    differences = second - first
    n, mean = len(differences), float(differences.mean()) if len(differences) else np.nan
    if n < 2:
        return Difference(mean, np.nan, np.nan, np.nan, n)
    means = _resampled_means(differences[:, None], seed, resamples)[:, 0]
    low, high = np.percentile(means, _TAILS)
    # A hair below the observed one: sums in another order differ in their last bits.
    extreme = np.count_nonzero(np.abs(means - mean) >= abs(mean) - 1e-12)
    return Difference(mean, float(low), float(high), (extreme + 1) / (resamples + 1), n)


def share_kept(
    clean: NDArray[np.float64], damaged: NDArray[np.float64], seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Mean of `damaged` over mean of `clean`, both (queries,) of the same queries; not a number where clean is 0."""
    n = len(clean)
    if n < 2 or not clean.any():
        share = float(damaged.sum() / clean.sum()) if n and clean.any() else np.nan
        return Interval(share, np.nan, np.nan, n)
    means = _resampled_means(np.stack([clean, damaged], axis=1), seed, resamples)  # (resamples, 2)
    # A resample of nothing but queries without a hit has no share.
    usable = means[means[:, 0] > 0]
    low, high = np.percentile(usable[:, 1] / usable[:, 0], _TAILS)
    return Interval(float(damaged.sum() / clean.sum()), float(low), float(high), n)


def _resampled_means(values: NDArray[np.float64], seed: int, resamples: int) -> NDArray[np.float64]:
    """Means of as many queries drawn with replacement. Returns shape (resamples, figures)."""
    columns = np.ascontiguousarray(values.T)  # (figures, queries)
    parts = [
        np.stack([column[indices].mean(axis=1) for column in columns], axis=1)
        for indices in _draws(len(values), seed, resamples)
    ]
    return np.concatenate(parts)


def _draws(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    at_once = max(1, _INDICES_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        yield generator.integers(n, size=(min(at_once, resamples - start), n))
