"""The arithmetic that turns Kiwi's morpheme vectors into embeddings of pieces."""

from collections import Counter

import numpy as np
import pytest

pytest.importorskip("scipy")

from scipy.sparse import csr_matrix

from trainer.encoders.morpheme_vectors import inverse_frequency_weights, recover_unit_vectors
from trainer.encoders.static_initialisation import fit_piece_embeddings


def test_vectors_are_recovered_from_their_cosines_up_to_rotation() -> None:
    rng = np.random.default_rng(3)
    hidden = rng.standard_normal((40, 6))
    hidden /= np.linalg.norm(hidden, axis=1, keepdims=True)
    recovered = recover_unit_vectors(
        range(40), range(0, 40, 2), lambda a, b: float(hidden[a] @ hidden[b]), dim=6
    )  # (40, 6)
    np.testing.assert_allclose(recovered @ recovered.T, hidden @ hidden.T, atol=1e-4)


def test_a_frequent_morpheme_weighs_less() -> None:
    weights = inverse_frequency_weights(Counter({1: 990, 2: 10}), [1, 2], smoothing=1e-2)
    assert weights[0] < 0.02
    assert weights[1] == pytest.approx(0.5)


def test_pieces_of_a_word_add_up_to_its_vector() -> None:
    truth = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, -1.0]], np.float32)  # (pieces, dim)
    counts = csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 1]], np.float32))  # (words, pieces)
    fitted = fit_piece_embeddings(counts, counts @ truth, np.array([5.0, 1.0, 2.0, 3.0], np.float32), ridge=1e-6)
    np.testing.assert_allclose(fitted, truth, atol=1e-3)


def test_a_piece_that_no_word_uses_stays_zero() -> None:
    counts = csr_matrix(np.array([[1, 0], [1, 0]], np.float32))
    fitted = fit_piece_embeddings(counts, np.ones((2, 3), np.float32), np.ones(2, np.float32), ridge=1.0)
    assert np.all(fitted[1] == 0.0)
    assert np.all(fitted[0] > 0.5)


def test_a_frequent_word_decides_against_a_rare_one() -> None:
    counts = csr_matrix(np.array([[1.0], [1.0]], np.float32))
    vectors = np.array([[1.0], [0.0]], np.float32)
    fitted = fit_piece_embeddings(counts, vectors, np.array([99.0, 1.0], np.float32), ridge=0.0)
    assert fitted[0, 0] == pytest.approx(0.99, abs=1e-3)
