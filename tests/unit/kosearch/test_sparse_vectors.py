"""Weights of terms as sparse vectors."""

import hashlib

import numpy as np

from kosearch.sparse_vectors import sparse_vector


def test_indices_ascend_and_weights_go_with_them() -> None:
    weights = {f"낱말{number}": float(number + 1) for number in range(100)}
    vector = sparse_vector(weights)
    assert (np.diff(vector.indices.astype(np.int64)) > 0).all()
    by_index = dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))
    assert by_index == {sparse_vector({term: 1.0}).indices[0]: weight for term, weight in weights.items()}


def test_an_index_is_the_same_in_every_process() -> None:
    """Computed by hand: blake2b of the term's UTF-8 with a digest of 4 bytes, little-endian."""
    assert sparse_vector({"민법": 1.0}).indices.tolist() == [474080125]


def test_of_two_terms_that_meet_the_heavier_one_stays() -> None:
    """Of 200,000 numbers four or five pairs have the same 32 bits, by the birthday paradox; here is the first."""
    first, second = _pair_that_meets()
    assert sparse_vector({first: 1.0, second: 2.0}).values.tolist() == [2.0]
    assert sparse_vector({second: 2.0, first: 1.0}).values.tolist() == [2.0]


def _pair_that_meets() -> tuple[str, str]:
    seen: dict[int, str] = {}
    for number in range(200_000):
        term = str(number)
        index = int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "little")
        if index in seen:
            return seen[index], term
        seen[index] = term
    raise AssertionError("no two meet")


def test_a_text_without_terms_has_an_empty_vector() -> None:
    vector = sparse_vector({})
    assert len(vector) == 0
    assert vector.indices.dtype == np.uint32
    assert vector.values.dtype == np.float32


def test_half_a_surrogate_pair_is_a_term_like_another() -> None:
    assert len(sparse_vector({"\ud800": 1.0})) == 1
