"""How fast an engine is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.pace import Pace


@given(st.floats(1e-6, 1.0), st.integers(1, 5000), st.integers(1, 20))
def test_the_pace_of_even_batches_is_theirs(s_per_token: float, tokens: int, batches: int) -> None:
    pace = Pace()
    for _ in range(batches):
        pace.note(tokens, tokens * s_per_token)
    assert pace.tokens_per_s == pytest.approx(1 / s_per_token)
    assert pace.cautious_s_per_token == pytest.approx(s_per_token)


def test_a_forecast_is_cautious_where_batches_are_uneven() -> None:
    pace = Pace()
    paces = [0.01, 0.03] * 20
    for s_per_token in paces:
        pace.note(300, 300 * s_per_token)
    assert pace.s_per_token == pytest.approx(0.02, rel=0.1)
    assert pace.cautious_s_per_token > max(paces)


def test_batches_of_a_few_tokens_do_not_slow_the_forecast_of_full_ones() -> None:
    """The canary's text alone takes as long as ten."""
    pace = Pace()
    for _ in range(50):
        for _ in range(3):
            pace.note(3, 0.005)
        pace.note(1000, 0.1)
    assert pace.cautious_s_per_token < 3 * 0.1 / 1000


def test_the_first_full_batch_outweighs_small_ones_before_it() -> None:
    pace = Pace()
    pace.note(3, 0.005)
    pace.note(1000, 0.1)
    assert pace.cautious_s_per_token < 1.5 * 0.1 / 1000


def test_small_batches_tell_nothing_of_large_calls() -> None:
    """However many there were; the first full batch tells everything."""
    pace = Pace()
    for _ in range(100):
        pace.note(8, 0.02)
    assert not pace.note(8, 0.02)
    assert pace.can_tell(255)
    assert not pace.can_tell(256)
    assert pace.note(256, 0.0256)
    assert pace.can_tell(100_000)
    assert pace.cautious_s_per_token == pytest.approx(0.0001)
