"""What may become of a reanalysis, whatever its workers do."""

import pytest

from kosearch.errors import LeaseLostError
from kosearch.job_states import Lease
from kosearch.reanalyses import (
    ReanalysisState,
    ReanalysisStatus,
    advance_reanalysis,
    can_take_more_words,
    check_owner,
    claim_reanalysis,
    fail_reanalysis,
    finish_reanalysis,
    release_reanalysis,
    renew_reanalysis,
)

NOW = 1_700_000_000.0
LEASE_S = 10.0
MAX_ATTEMPTS = 3
NEW = ReanalysisStatus(ReanalysisState.PENDING, Lease())
ENDED = [ReanalysisStatus(state, Lease(), "", NOW) for state in ReanalysisState if state.is_ended]


def claimed(status: ReanalysisStatus = NEW, owner: str = "a", now: float = NOW) -> ReanalysisStatus:
    found = claim_reanalysis(status, owner, now, LEASE_S, MAX_ATTEMPTS)
    assert found is not None
    return found


def test_it_runs_from_its_claim_to_its_end() -> None:
    running = claimed()
    assert (running.state, running.lease.owner, running.lease.attempts) == (ReanalysisState.RUNNING, "a", 1)
    ended = finish_reanalysis(advance_reanalysis(running, "a"), "a", NOW + 5)
    assert ended == ReanalysisStatus(ReanalysisState.SUCCEEDED, Lease(), "", NOW + 5)


def test_one_worker_has_it_at_a_time() -> None:
    running = claimed()
    assert claim_reanalysis(running, "b", NOW + LEASE_S - 1, LEASE_S, MAX_ATTEMPTS) is None
    assert claimed(running, "b", NOW + LEASE_S).lease.attempts == 2


@pytest.mark.parametrize("ended", ENDED, ids=lambda each: each.state)
def test_an_ended_one_stays_as_it_is(ended: ReanalysisStatus) -> None:
    assert claim_reanalysis(ended, "a", NOW, LEASE_S, MAX_ATTEMPTS) is None
    assert fail_reanalysis(ended, "late", NOW) is ended
    with pytest.raises(LeaseLostError, match="has ended"):
        check_owner(ended, "a")


def test_only_its_owner_writes_something_down() -> None:
    running = claimed()
    for owner in ("b", ""):
        for write in (
            lambda: renew_reanalysis(running, owner, NOW, LEASE_S),  # noqa: B023 - called at once
            lambda: advance_reanalysis(running, owner),  # noqa: B023
            lambda: release_reanalysis(running, owner, "x"),  # noqa: B023
            lambda: finish_reanalysis(running, owner, NOW),  # noqa: B023
        ):
            with pytest.raises(LeaseLostError):
                write()


def test_so_many_workers_may_die_on_the_same_points() -> None:
    """Those that get on begin to count anew."""
    status, now = NEW, NOW
    for _ in range(MAX_ATTEMPTS):
        status, now = claimed(status, "a", now), now + LEASE_S
    failed = claimed(status, "b", now)
    assert (failed.state, failed.ended_at) == (ReanalysisState.FAILED, now)
    assert "3 workers died" in failed.error
    assert claimed(advance_reanalysis(status, "a"), "b", now).state is ReanalysisState.RUNNING


def test_waiting_for_a_neighbour_is_no_attempt() -> None:
    released = release_reanalysis(claimed(), "a", "Qdrant is away")
    assert (released.state, released.error, released.lease.attempts) == (ReanalysisState.PENDING, "Qdrant is away", 0)
    assert claimed(released).error == ""


def test_words_join_what_was_not_begun() -> None:
    assert can_take_more_words(NEW, "")
    assert can_take_more_words(release_reanalysis(claimed(), "a", "x"), "")
    assert not can_take_more_words(NEW, "point 7")
    assert not can_take_more_words(claimed(), "")
    assert not any(can_take_more_words(ended, "") for ended in ENDED)
