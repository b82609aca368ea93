"""The number formats of embeddings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.embedding_types import EmbeddingType, check_form, int8_scale, leading, to_bytes
from kosearch.errors import InvalidRequestError


def unit_rows(count: int, dim: int, seed: int = 3) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_float16_is_little_endian_and_close() -> None:
    rows = unit_rows(3, 8)
    np.testing.assert_allclose(
        np.frombuffer(to_bytes(rows, EmbeddingType.FLOAT16, 0), "<f2").reshape(3, 8), rows, atol=1e-3
    )


def test_int8_times_its_scale_is_the_embedding_within_half_a_step() -> None:
    golden, rows = unit_rows(200, 64), unit_rows(50, 64, seed=4)
    scale = int8_scale(golden, 0)
    numbers = np.frombuffer(to_bytes(rows, EmbeddingType.INT8, scale), np.int8).reshape(50, 64)
    inside = np.abs(rows) <= 127 * scale
    assert inside.mean() > 0.999
    np.testing.assert_allclose((numbers * scale)[inside], rows[inside], atol=scale / 2 + 1e-6)


def test_what_lies_outside_of_the_golden_range_becomes_the_nearest_int8() -> None:
    assert np.frombuffer(
        to_bytes(np.array([[1.0, -1.0]], np.float32), EmbeddingType.INT8, 0.001), np.int8
    ).tolist() == [
        127,
        -127,
    ]


def test_cosines_of_int8_rows_are_those_of_the_embeddings() -> None:
    golden, rows = unit_rows(200, 384), unit_rows(40, 384, seed=5)
    numbers = np.frombuffer(to_bytes(rows, EmbeddingType.INT8, int8_scale(golden, 0)), np.int8).reshape(40, 384)
    widened = numbers.astype(np.float32)
    widened /= np.linalg.norm(widened, axis=1, keepdims=True)
    np.testing.assert_allclose(widened @ widened.T, rows @ rows.T, atol=0.01)


def test_the_scale_is_that_of_the_dimensions_asked_for() -> None:
    golden = unit_rows(200, 64)
    assert int8_scale(golden, 16) == pytest.approx(np.abs(leading(golden, 16)).max() / 127)


def test_binary_holds_the_signs_first_number_in_the_highest_bit() -> None:
    rows = np.array([[1, -1, 1, -1, -1, -1, -1, 1], [-1, -1, -1, -1, 1, 1, 1, 1]], np.float32)
    assert to_bytes(rows, EmbeddingType.BINARY, 0) == bytes([0b10100001, 0b00001111])


@pytest.mark.parametrize(("dimensions", "dim"), [(0, 12), (12, 16)])
def test_binary_wants_whole_bytes(dimensions: int, dim: int) -> None:
    with pytest.raises(InvalidRequestError, match="12 dimensions do not fill bytes"):
        check_form(dim, dimensions, EmbeddingType.BINARY)
    check_form(dim, dimensions, EmbeddingType.INT8)


def test_more_dimensions_than_there_are_cannot_be_had() -> None:
    check_form(16, 16, EmbeddingType.BINARY)
    with pytest.raises(InvalidRequestError, match="dimensions is 17, the model's embeddings have 16"):
        check_form(16, 17, EmbeddingType.FLOAT32)


@given(st.integers(1, 15))
def test_leading_dimensions_have_length_one(dimensions: int) -> None:
    rows = unit_rows(5, 16)
    kept = leading(rows, dimensions)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, rtol=1e-5)
    cosines = (kept * rows[:, :dimensions]).sum(axis=1) / np.linalg.norm(rows[:, :dimensions], axis=1)
    np.testing.assert_allclose(cosines, 1, rtol=1e-5)


@pytest.mark.parametrize("dimensions", [0, 16])
def test_all_dimensions_are_the_embedding_itself(dimensions: int) -> None:
    rows = unit_rows(2, 16)
    assert leading(rows, dimensions) is rows
