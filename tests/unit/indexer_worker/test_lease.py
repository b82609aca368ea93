"""The lease keeper renews while the work goes on."""

from threading import Event

import pytest

from indexer_worker.lease import LeaseKeeper
from kosearch.errors import LeaseLostError, UnavailableError

TINY_S = 0.001
PATIENCE_S = 10.0


class Renewals:
    """Renewals that answer as told; `reached` is set at the last planned one."""

    def __init__(self, *answers: Exception | None) -> None:
        self._answers = list(answers)
        self.count = 0
        self.reached = Event()

    def __call__(self) -> None:
        self.count += 1
        answer = self._answers.pop(0) if self._answers else None
        if not self._answers:
            self.reached.set()
        if answer:
            raise answer


def test_it_renews_again_and_again() -> None:
    """A long piece of work keeps its lease."""
    renewals = Renewals(None, None, None)
    with LeaseKeeper(renewals, TINY_S) as lease:
        assert renewals.reached.wait(PATIENCE_S)
        lease.check()


def test_it_stops_with_the_block() -> None:
    """After the work nothing is renewed."""
    renewals = Renewals(None)
    with LeaseKeeper(renewals, TINY_S) as lease:
        assert renewals.reached.wait(PATIENCE_S)
    count = renewals.count
    assert not lease._thread.is_alive()
    assert renewals.count == count


def test_a_short_work_needs_no_renewal() -> None:
    """The block ends at once, not after a pause."""
    renewals = Renewals()
    with LeaseKeeper(renewals, 3600):
        pass
    assert renewals.count == 0


def test_a_lost_lease_is_reported_at_the_next_check() -> None:
    """The worker hears of it between two batches."""
    with LeaseKeeper(Renewals(LeaseLostError("lost")), TINY_S) as lease:
        lease._thread.join(PATIENCE_S)
        with pytest.raises(LeaseLostError):
            lease.check()


def test_a_ledger_that_is_away_for_a_moment_is_asked_again() -> None:
    """One failed renewal is not the loss of the lease."""
    renewals = Renewals(UnavailableError("busy"), UnavailableError("busy"), None)
    with LeaseKeeper(renewals, TINY_S) as lease:
        assert renewals.reached.wait(PATIENCE_S)
        lease.check()


def test_it_stops_when_the_work_fails() -> None:
    """An error of the work passes through, and the renewing ends."""
    with pytest.raises(ZeroDivisionError), LeaseKeeper(Renewals(), TINY_S) as lease:
        raise ZeroDivisionError
    assert not lease._thread.is_alive()
