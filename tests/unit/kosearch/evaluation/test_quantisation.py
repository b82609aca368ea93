"""Embeddings kept in fewer bits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from kosearch.errors import InvalidRequestError
from kosearch.evaluation.bootstrap import Interval
from kosearch.evaluation.quantisation import Form, Measured, forms, measure, recommend, scalar_range


def unit_rows(count: int, dim: int, seed: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, dim))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def measured(kind: str, low: float, oversampling: int = 0, mean: float = 0.99) -> Measured:
    form = Form(kind, 384, oversampling)
    return Measured(form, form.name, form.mib_per_million, Interval(mean, low, mean, 100))


EMBEDDINGS, QUERIES = unit_rows(2_000, 64, 0), unit_rows(80, 64, 1)


def recalls(compared: list[Form]) -> dict[str, float]:
    return {each.name: each.recall.mean for each in measure(EMBEDDINGS, QUERIES, compared)}


def test_less_memory_keeps_less_and_rescoring_gives_it_back() -> None:
    found = recalls(forms(64))
    assert found["float32 64"] == 1.0
    assert found["float32 64"] >= found["float16 64"] > found["scalar 64"] > found["binary 64"]
    rescored = [found[name] for name in ("binary 64", "binary 64, rescored x2", "binary 64, rescored x8")]
    assert rescored == sorted(rescored)
    assert rescored[0] < rescored[-1]


def test_copies_of_a_chunk_are_as_good_as_each_other() -> None:
    """Of 40 equal chunks any ten are the ten best; which ones a form finds says nothing of it."""
    embeddings = np.concatenate([np.repeat(unit_rows(1, 64, 2), 40, axis=0), unit_rows(200, 64, 3)])
    assert {each.recall.mean for each in measure(embeddings, embeddings[:1], forms(64))} == {1.0}


def test_bits_are_signs() -> None:
    """Embeddings that hold nothing but signs lose nothing as bits."""
    signs = np.where(np.random.default_rng(4).random((500, 64)) < 0.5, -1, 1).astype(np.float32) / 8
    assert measure(signs, signs[:50], [Form("binary", 64)])[0].recall.mean == 1.0


def test_fewer_dimensions_are_of_length_one_again() -> None:
    """What the leading numbers do not say is lost; rows of which they say all keep everything."""
    padded = np.concatenate([unit_rows(300, 32, 5), np.zeros((300, 32), dtype=np.float32)], axis=1)
    assert measure(padded, padded[:20], [Form("float32", 32)])[0].recall.mean == 1.0
    assert recalls([Form("float32", 32)])["float32 32"] < 0.9


def test_outliers_are_cut_from_the_range() -> None:
    """25 numbers at each end, of a sample of 5,000 rows: the one row of outliers that has 8 is gone."""
    embeddings = np.random.default_rng(6).uniform(-0.5, 0.5, (5_000, 8)).astype(np.float32)
    embeddings[7] = 40.0
    low, step = scalar_range(embeddings)
    assert low == pytest.approx(-0.5, abs=0.01)
    assert low + 127 * step == pytest.approx(0.5, abs=0.01)


def test_a_small_collection_keeps_its_whole_range() -> None:
    """Below 127 vectors Qdrant cuts nothing."""
    embeddings = unit_rows(100, 8, 7)
    low, step = scalar_range(embeddings)
    assert (low, low + 127 * step) == (pytest.approx(embeddings.min()), pytest.approx(embeddings.max()))


@pytest.mark.parametrize(
    ("form", "size"),
    [
        (Form("float32", 384), 1536),
        (Form("float16", 384), 768),
        (Form("scalar", 384), 388),
        (Form("scalar", 100), 116),
        (Form("binary", 384), 48),
        (Form("binary", 300), 48),
    ],
)
def test_sizes_are_those_of_qdrants_blocks(form: Form, size: int) -> None:
    assert form.bytes == size
    assert form.mib_per_million == pytest.approx(size * 1_000_000 / 2**20)


def test_dimensions_are_only_compared_where_they_are_fewer() -> None:
    assert {form.dim for form in forms(384, [512, 384, 256, 128])} == {384, 256, 128}
    assert {form.dim for form in forms(384)} == {384}


def test_the_least_memory_that_surely_keeps_enough_is_recommended() -> None:
    whole = measured("float32", 1.0, mean=1.0)
    scalar, rescored = measured("scalar", 0.985), measured("scalar", 0.99, 2)
    assert recommend([whole, scalar, rescored, measured("binary", 0.97, 4)]) is scalar
    assert recommend([whole, measured("scalar", 0.975), rescored]) is rescored


def test_where_nothing_keeps_enough_nothing_is_quantised() -> None:
    whole = measured("float32", 1.0, mean=1.0)
    assert recommend([whole, measured("scalar", 0.9)]) is whole


def test_one_query_recommends_nothing_but_float32() -> None:
    """It has no interval, so that nothing is sure."""
    found = measure(EMBEDDINGS, QUERIES[:1], forms(64))
    assert recommend(found).form == Form("float32", 64)


def test_ten_chunks_are_too_few_to_tell() -> None:
    with pytest.raises(InvalidRequestError, match="10 chunks"):
        measure(EMBEDDINGS[:10], QUERIES, forms(64))
