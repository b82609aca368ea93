"""When an index is built, and when again."""

import pytest

from standalone.store.index_policy import DEFAULT_THRESHOLD_KIB, BuildAttempts, wants_index

POINT_BYTES = 1024


@pytest.mark.parametrize(
    ("points", "unindexed", "threshold_kib", "expected"),
    [
        pytest.param(100, 100, 100, False, id="as much as the threshold"),
        pytest.param(101, 101, 100, True, id="more than the threshold"),
        pytest.param(10**9, 10**9, 0, False, id="deferred"),
        pytest.param(1000, 200, 100, False, id="a fifth is new"),
        pytest.param(1000, 201, 100, True, id="more than a fifth is new"),
        pytest.param(0, 0, 1, False, id="empty"),
    ],
)
def test_enough_must_be_new(points: int, unindexed: int, threshold_kib: int, expected: bool) -> None:
    assert wants_index(points, unindexed, POINT_BYTES, threshold_kib) is expected


def test_a_scan_of_up_to_65_000_points_needs_no_index() -> None:
    """At 384 dimensions, which is what the threshold was chosen for."""
    assert not wants_index(65_000, 65_000, 384 * 4, DEFAULT_THRESHOLD_KIB)
    assert wants_index(70_000, 70_000, 384 * 4, DEFAULT_THRESHOLD_KIB)


def test_failures_are_few_and_ever_further_apart() -> None:
    attempts = BuildAttempts()
    pauses = []
    now_s = 100.0
    while not attempts.has_given_up:
        assert attempts.is_due(now_s)
        attempts.fail(now_s, "killed")
        pauses.append(attempts.not_before_s - now_s)
        now_s = max(now_s, attempts.not_before_s)
    assert pauses == [5.0, 60.0, 0.0]
    assert not attempts.is_due(now_s + 1e9)
    assert "killed" in attempts.problem


def test_a_failure_that_will_be_tried_again_is_no_problem_yet() -> None:
    attempts = BuildAttempts()
    attempts.fail(0.0, "killed")
    assert attempts.problem == ""
    assert not attempts.is_due(4.9)
    assert attempts.is_due(5.0)


def test_room_is_waited_for_as_long_as_it_takes() -> None:
    attempts = BuildAttempts()
    for n in range(10):
        assert attempts.is_due(n * 60.0)
        attempts.wait_for_space(n * 60.0, "no space left")
    assert attempts.problem == "no space left"
    assert not attempts.has_given_up


def test_who_asks_again_starts_anew() -> None:
    attempts = BuildAttempts()
    for _ in range(3):
        attempts.fail(0.0, "killed")
    attempts.forget()
    assert attempts.is_due(0.0)
    assert attempts.problem == ""
