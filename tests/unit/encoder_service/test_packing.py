"""Packing: where each token lies."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from encoder_service.engines.packing import choose_packing, lay_out, split_by_length
from kosearch.row_packing import pack

ROW = 128
lengths_in_rows = st.lists(st.integers(1, ROW), min_size=1, max_size=80)


@given(lengths_in_rows)
def test_every_token_has_one_place_and_no_text_is_split(lengths: list[int]) -> None:
    packing = pack(lengths, ROW)
    places = [
        (row, start + token)
        for row, start, length in zip(packing.rows, packing.starts, lengths, strict=True)
        for token in range(length)
    ]
    assert len(set(places)) == len(places) == sum(lengths)
    assert all(0 <= row < packing.row_count and 0 <= token < ROW for row, token in places)


@given(lengths_in_rows)
def test_no_two_rows_could_be_one(lengths: list[int]) -> None:
    packing = pack(lengths, ROW)
    filled = np.bincount(packing.rows, weights=lengths, minlength=packing.row_count)
    two_emptiest = np.sort(filled)[:2]
    assert len(filled) == 1 or two_emptiest.sum() > ROW


def test_sentences_fill_their_rows() -> None:
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(np.log(19), 0.5, 190), 3, ROW).astype(int).tolist()
    packing = pack(lengths, ROW)
    assert sum(lengths) / (packing.row_count * ROW) > 0.95


@given(lengths_in_rows)
def test_laid_out_texts_keep_tokens_positions_and_apart(lengths: list[int]) -> None:
    texts = [np.arange(1, length + 1, dtype=np.int32) * 1000 + number for number, length in enumerate(lengths)]
    rows = lay_out(texts, pack(lengths, ROW))
    for number, text in enumerate(texts):
        span = slice(int(rows.offsets[number]), int(rows.offsets[number]) + lengths[number])
        np.testing.assert_array_equal(rows.token_ids.ravel()[span], text)
        np.testing.assert_array_equal(rows.position_ids.ravel()[span], range(lengths[number]))
        np.testing.assert_array_equal(rows.segment_ids.ravel()[span], number + 1)
    assert np.count_nonzero(rows.segment_ids) == sum(lengths)  # gaps belong to no text


@given(st.lists(st.integers(1, 600), min_size=1, max_size=50))
def test_a_row_holds_the_longest_text(lengths: list[int]) -> None:
    packing = choose_packing(lengths)
    assert packing.row_tokens >= max(lengths)
    filled = np.bincount(packing.rows, weights=lengths, minlength=packing.row_count)
    assert (filled <= packing.row_tokens).all()


@given(st.lists(st.integers(1, 600), min_size=1, max_size=80))
def test_texts_are_split_into_parts_of_about_one_length(lengths: list[int]) -> None:
    parts = split_by_length(lengths)
    assert sorted(text for part in parts for text in part) == list(range(len(lengths)))
    for part in parts[:-1]:
        assert sum(lengths[text] for text in part) >= 1024
    for shorter, longer in pairwise(parts):
        assert max(lengths[text] for text in shorter) <= min(lengths[text] for text in longer)


def test_sentences_are_computed_together_in_the_order_given() -> None:
    assert split_by_length([20, 128, 5] * 50) == [list(range(150))]


def share_filled(lengths: Sequence[int]) -> float:
    packings = [choose_packing([lengths[text] for text in part]) for part in split_by_length(lengths)]
    return sum(lengths) / sum(packing.row_count * packing.row_tokens for packing in packings)


@given(st.lists(st.integers(150, 250), min_size=10, max_size=80))
def test_a_row_holds_a_document_at_least(lengths: list[int]) -> None:
    assert share_filled(lengths) >= 150 / 256


@pytest.mark.parametrize("seed", range(5))
def test_documents_leave_little_room(seed: int) -> None:
    assert share_filled(np.random.default_rng(seed).integers(150, 250, 60).tolist()) > 0.9


@given(st.lists(st.integers(5, 60), min_size=10, max_size=40))
def test_few_sentences_leave_little_room(lengths: list[int]) -> None:
    assume(sum(lengths) > ROW)
    packing = choose_packing(lengths)
    assert sum(lengths) > 0.7 * packing.row_count * packing.row_tokens


@pytest.mark.parametrize(
    ("lengths", "row_tokens"),
    [
        ([5], 8),
        ([20, 20], 40),
        ([64], 64),
        ([65], 96),
        ([128], 128),
        ([100, 100], 112),
        ([129], 160),
        ([129, 5], 144),
        ([24] * 11, 144),
        ([20] * 90, 128),
        ([20] * 50 + [300], 304),
        ([600], 608),
    ],
)
def test_row_sizes(lengths: list[int], row_tokens: int) -> None:
    assert choose_packing(lengths).row_tokens == row_tokens
