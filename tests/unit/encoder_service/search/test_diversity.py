"""Hits that say the same are moved down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.search.diversity import diverse_order

E1, E2, E3 = np.eye(3, dtype=np.float32)


def rows(seed: int, count: int) -> np.ndarray:
    made = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


def test_a_copy_makes_room() -> None:
    """The third says something new."""
    assert diverse_order([1.0, 0.9, 0.8], np.stack([E1, E1, E2]), 0.5) == [0, 2, 1]


def test_scores_of_any_size_weigh_the_same() -> None:
    """Those of a fusion are hundredths, those of words are tens."""
    embeddings = rows(1, 6)
    scores = np.array([1.0, 0.9, 0.7, 0.6, 0.5, 0.4])
    orders = {tuple(diverse_order(list(scores * size), embeddings, 0.4)) for size in (0.016, 1.0, 30.0)}
    assert len(orders) == 1


def test_nothing_makes_nothing() -> None:
    """No candidates, no order."""
    assert diverse_order([], np.zeros((0, 3), np.float32), 0.5) == []


@pytest.mark.parametrize("scores", [[-0.1, -0.2, -0.3], [0.0, 0.0, 0.0]])
def test_scores_below_zero_are_no_parts_of_anything(scores: list[float]) -> None:
    """Then the difference decides."""
    assert diverse_order(scores, np.stack([E1, E1, E2]), 0.5) == [0, 2, 1]


@given(st.integers(0, 1000), st.integers(1, 20), st.floats(0, 1))
def test_all_stay_and_the_best_stays_first(seed: int, count: int, diversity: float) -> None:
    """It is an order of the same candidates."""
    scores = sorted(np.random.default_rng(seed).random(count), reverse=True)
    order = diverse_order(scores, rows(seed, count), diversity)
    assert sorted(order) == list(range(count))
    assert order[0] == 0


@given(st.integers(0, 1000), st.integers(1, 20))
def test_none_wanted_changes_nothing(seed: int, count: int) -> None:
    """The order is that of the scores."""
    scores = sorted(np.random.default_rng(seed).random(count), reverse=True)
    assert diverse_order(scores, rows(seed, count), 0.0) == list(range(count))
