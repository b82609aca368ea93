"""The lease keeper renews while the work goes on."""

from threading import Event

import pytest

from indexer_worker import lease as lease_module
from indexer_worker.lease import LeaseKeeper
from kosearch.errors import LeaseLostError, UnavailableError

TINY_S = 0.001
LONG_S = 3600.0
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
    with LeaseKeeper(renewals, TINY_S):
        assert renewals.reached.wait(PATIENCE_S)


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
    with LeaseKeeper(renewals, TINY_S):
        assert renewals.reached.wait(PATIENCE_S)


class Clock:
    """Seconds that stand still, in place of `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lease_module, "time", made)
    return made


def test_a_machine_that_stood_still_has_lost_its_lease(clock: Clock) -> None:
    """Nothing was heard of another worker, and yet there may be one once the time is over."""
    with LeaseKeeper(Renewals(), LONG_S) as lease:
        clock.now += LONG_S - 1
        lease.check()
        clock.now += 2
        with pytest.raises(LeaseLostError):
            lease.check()


def test_a_lease_counts_from_the_moment_before_it_was_renewed(clock: Clock) -> None:
    """The ledger may have written it down at any time while it was asked."""
    keeper: LeaseKeeper

    def renew_slowly() -> None:
        clock.now += 30
        keeper._is_over.set()

    keeper = LeaseKeeper(renew_slowly, 40.0)
    keeper._pause_s = 0.0
    keeper._run()
    clock.now = 1000.0 + 39
    keeper.check()
    clock.now = 1000.0 + 41
    with pytest.raises(LeaseLostError):
        keeper.check()


def test_it_stops_when_the_work_fails() -> None:
    """An error of the work passes through, and the renewing ends."""
    with pytest.raises(ZeroDivisionError), LeaseKeeper(Renewals(), TINY_S) as lease:
        raise ZeroDivisionError
    assert not lease._thread.is_alive()
