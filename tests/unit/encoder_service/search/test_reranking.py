"""The best candidates once more, token by token."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.requests import Mode
from encoder_service.search.reranking import max_sim, reranked

SCORES = st.lists(st.floats(-1, 60, allow_nan=False, width=32), max_size=20)
LIKENESSES = st.lists(st.floats(0, 1, width=32), max_size=20)


def candidates(*scores: float) -> list[Candidate]:
    return [Candidate(PointKey(str(number)), score) for number, score in enumerate(scores)]


def test_each_token_of_the_query_looks_for_the_nearest_one() -> None:
    """Whatever else the chunk says, and however long it is."""
    query = np.array([[1, 0], [0, 1]], np.float32)
    chunk = np.array([[0, -1], [1, 0], [0.6, 0.8]], np.float32)
    assert max_sim(query, chunk) == pytest.approx((1 + 0.8) / 2)


def test_what_says_the_opposite_is_not_like_it_at_all() -> None:
    """And not less than that: scores would not fall any more."""
    assert max_sim(np.array([[1, 0]], np.float32), np.array([[-1, 0]], np.float32)) == 0


@pytest.mark.parametrize(("mode", "weight"), [(Mode.HYBRID, 4), (Mode.DENSE, 8), (Mode.LEXICAL, 240)])
def test_likeness_is_added_in_the_unit_of_the_mode(mode: Mode, weight: float) -> None:
    first, second = reranked(candidates(0.5, 0.25), {PointKey("0"): 0.25, PointKey("1"): 0.75}, mode)
    assert (first.key.point_id, first.max_sim, first.score) == ("1", 0.75, 0.25 + weight * 0.75)
    assert (second.key.point_id, second.max_sim, second.score) == ("0", 0.25, 0.5 + weight * 0.25)


@given(SCORES, LIKENESSES, st.sampled_from(Mode))
def test_none_is_lost_and_scores_fall(scores: list[float], max_sims: list[float], mode: Mode) -> None:
    """Those that were compared come first."""
    given_order = candidates(*sorted(scores, reverse=True))
    compared = {each.key: like for each, like in zip(given_order, max_sims, strict=False)}
    found = reranked(given_order, compared, mode)
    assert {each.key for each in found} == {each.key for each in given_order}
    assert {each.key for each in found[: len(compared)]} == compared.keys()
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
