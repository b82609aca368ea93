"""Embeddings of pieces such that the pieces of a word add up to the weighted vectors of its morphemes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array


def fit_piece_embeddings(
    piece_counts: csr_matrix,
    word_vectors: NDArray[np.float32],
    word_weights: NDArray[np.float32],
    ridge: float,
    iterations: int = 40,
) -> NDArray[np.float32]:
    """Solve the weighted ridge regression `piece_counts @ E = word_vectors` for E, by conjugate gradients.

    `piece_counts` (words, pieces), `word_vectors` (words, dim), `word_weights` (words,) the frequency of each word.
    Returns E of shape (pieces, dim); the row of a piece that no word uses is zero.
    """
    weighted = (diags_array(word_weights) @ piece_counts).tocsr()  # (words, pieces)
    normal = (piece_counts.T @ weighted).tocsr() + ridge * diags_array(np.ones(piece_counts.shape[1]))
    scale = 1.0 / np.sqrt(normal.diagonal())  # Jacobi preconditioning: piece frequencies span six orders of magnitude
    system = (diags_array(scale) @ normal @ diags_array(scale)).tocsr().astype(np.float32)
    target = scale[:, None].astype(np.float32) * (weighted.T @ word_vectors)  # (pieces, dim)
    solution = _solve_all(system, target.astype(np.float32), iterations)
    return np.asarray(solution * scale[:, None], dtype=np.float32)


def _solve_all(system: csr_matrix, target: NDArray[np.float32], iterations: int) -> NDArray[np.float32]:
    """Conjugate gradients on every column of `target` (pieces, dim) at once: one sparse product serves all columns."""
    solution = np.zeros_like(target)
    residual = target.copy()
    direction = residual.copy()
    energy = (residual * residual).sum(axis=0)  # (dim,)
    for _ in range(iterations):
        image = system @ direction  # (pieces, dim)
        step = energy / np.maximum((direction * image).sum(axis=0), 1e-12)
        solution += step * direction
        residual -= step * image
        next_energy = (residual * residual).sum(axis=0)
        direction = residual + (next_energy / np.maximum(energy, 1e-12)) * direction
        energy = next_energy
    return solution
