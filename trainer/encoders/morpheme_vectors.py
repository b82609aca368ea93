"""Recover the morpheme vectors inside Kiwi's CoNg language model.

Kiwi (Apache-2.0) holds a 256-dimensional vector for each of some 70,000 morphemes but gives out cosines only. The
matrix of cosines against enough anchor morphemes has rank 256, so the vectors follow from it up to a rotation, which no
cosine can see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MORPHEME_DIM = 256


def recover_unit_vectors(
    morpheme_ids: Sequence[int],
    anchor_ids: Sequence[int],
    similarity: Callable[[int, int], float],
    dim: int = MORPHEME_DIM,
) -> NDArray[np.float32]:
    """Unit vectors whose cosines are `similarity`. Returns shape (len(morpheme_ids), dim).

    With A the unknown anchor matrix, G = A A^T = U L U^T gives A = U sqrt(L) up to rotation, and the cosines s = A v
    of a morpheme give v = L^-1/2 U^T s. Needs at least `dim` linearly independent anchors.
    """
    gram = np.array([[similarity(a, b) for b in anchor_ids] for a in anchor_ids])  # (anchors, anchors)
    values, directions = np.linalg.eigh((gram + gram.T) / 2)
    values, directions = values[-dim:], directions[:, -dim:]  # (dim,), (anchors, dim)
    whiten = directions / np.sqrt(np.maximum(values, 1e-6))  # (anchors, dim)
    cosines = np.array([[similarity(i, a) for a in anchor_ids] for i in morpheme_ids])  # (morphemes, anchors)
    vectors = cosines @ whiten  # (morphemes, dim)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-6), dtype=np.float32)


def inverse_frequency_weights(
    counts: Counter[int], morpheme_ids: Sequence[int], smoothing: float
) -> NDArray[np.float32]:
    """Weight a / (a + p) of each morpheme, in (0, 1). Source: Arora et al., ICLR 2017 (SIF), a = `smoothing`."""
    total = sum(counts.values())
    frequencies = np.array([counts[i] / total for i in morpheme_ids])
    return (smoothing / (smoothing + frequencies)).astype(np.float32)
