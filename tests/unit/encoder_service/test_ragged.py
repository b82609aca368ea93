"""Texts end to end, and the static shapes that they are filled up to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.engines.engine import TokenIds
from encoder_service.engines.ragged import BatchShape, choose_shape, graph_shapes, lay_out, shape_of

LONGEST = 160


def texts_of(*lengths: int) -> list[TokenIds]:
    """Texts of so many tokens; the tokens of the first are 1, 2, ..., those of the second 101, 102, ..."""
    return [np.arange(1, length + 1, dtype=np.int32) + 100 * number for number, length in enumerate(lengths)]


def laid_out(texts: list[TokenIds], shape: BatchShape) -> tuple[list[int], list[int], list[int]]:
    """Token ids, position ids and bounds."""
    inputs = np.full(shape.size, -1, np.int32)
    lay_out(texts, shape, inputs)
    ids, positions, bounds = (inputs[part].tolist() for part in shape.parts)
    return ids, positions, bounds


def test_texts_lie_end_to_end_and_positions_restart() -> None:
    texts = texts_of(3, 2)
    assert laid_out(texts, shape_of(texts)) == ([1, 2, 3, 101, 102], [0, 1, 2, 0, 1], [0, 3, 5])


def test_what_is_left_of_a_shape_is_spread_over_the_free_texts() -> None:
    ids, positions, bounds = laid_out(texts_of(3, 2), BatchShape(tokens=8, texts=4, longest=3))
    assert ids == [1, 2, 3, 101, 102, 0, 0, 0]
    assert positions == [0, 1, 2, 0, 1, 0, 0, 0]
    assert bounds == [0, 3, 5, 6, 8]


def test_free_texts_are_empty_when_no_token_is_left() -> None:
    assert laid_out(texts_of(3, 2), BatchShape(tokens=5, texts=4, longest=3))[2] == [0, 3, 5, 5, 5]


@pytest.mark.parametrize(
    ("batch", "is_held"),
    [
        (BatchShape(8, 4, 3), True),
        (BatchShape(5, 3, 3), True),
        (BatchShape(9, 4, 3), False),
        (BatchShape(5, 5, 1), False),
        (BatchShape(5, 2, 4), False),
        (BatchShape(7, 4, 3), False),  # a token is left, and no text for it
        (BatchShape(2, 3, 1), False),  # the one free text would be longer than the shape allows
    ],
)
def test_a_shape_holds_what_can_be_filled_up_to_it(batch: BatchShape, is_held: bool) -> None:
    assert BatchShape(tokens=8, texts=4, longest=3).holds(batch) is is_held


def test_shapes_are_powers_of_two_and_a_half_step_between_for_short_texts_and_for_all() -> None:
    shapes = graph_shapes(400, LONGEST)
    assert [shape.tokens for shape in shapes if shape.longest == 128] == [64, 96, 128, 192, 256, 384, 400]
    assert [shape.tokens for shape in shapes if shape.longest == LONGEST] == [192, 256, 384, 400]
    assert shapes == sorted(shapes)


def test_a_model_of_short_texts_has_one_row_of_shapes() -> None:
    assert {shape.longest for shape in graph_shapes(400, 64)} == {64}


def test_a_batch_larger_than_all_shapes_has_none() -> None:
    shapes = graph_shapes(256, LONGEST)
    assert choose_shape(shapes, shape_of(texts_of(150, 107))) is None
    assert choose_shape(shapes, shape_of(texts_of(*[1] * 60))) is None  # too many texts


@given(st.lists(st.integers(1, LONGEST), min_size=1, max_size=60))
def test_every_text_keeps_its_tokens_in_whatever_shape(lengths: list[int]) -> None:
    texts = texts_of(*lengths)
    exact = shape_of(texts)
    shape = choose_shape(graph_shapes(4096, LONGEST), exact) or exact
    ids, positions, bounds = laid_out(texts, shape)
    for number, text in enumerate(texts):
        own = slice(bounds[number], bounds[number + 1])
        assert ids[own] == text.tolist()
        assert positions[own] == list(range(len(text)))
    assert bounds[-1] == shape.tokens
    assert 0 <= min(np.diff(bounds)) <= max(np.diff(bounds)) <= shape.longest
