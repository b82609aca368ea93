"""What may become of a reanalysis: points that hold words which were added or removed get their words anew.

    pending -> running -> succeeded | failed

Whoever works holds a lease, as with jobs (`kosearch.job_states`); these decisions are pure, and the ledger writes them
down.
"""

import enum
from dataclasses import dataclass, replace

from kosearch.errors import LeaseLostError
from kosearch.job_states import Lease


class ReanalysisState(enum.StrEnum):
    """Where a reanalysis stands."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_ended(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self in (ReanalysisState.SUCCEEDED, ReanalysisState.FAILED)


@dataclass(frozen=True, slots=True)
class Reanalysis:
    """What a worker has to know about the reanalysis it claimed.

    version: of the dictionary, at least
    forms: the words that were added, changed or removed
    cursor: id of the first point that is not done; empty: none is
    doubtful_to: id of the last point over which a worker that died may have written; empty: there is none
    """

    id: int
    collection: str
    version: int
    forms: tuple[str, ...]
    cursor: str = ""
    doubtful_to: str = ""


@dataclass(frozen=True, slots=True)
class ReanalysisSummary:
    """A reanalysis in a list.

    first_version, version: the changes of the dictionary that it brings to the collection, from and to
    words: how many were added, changed or removed
    points_seen, points_changed: whose texts were looked at, and which of them hold one of the words
    created_at, ended_at: seconds since the epoch; None while it goes on
    error: why it failed, or what it waits for
    """

    id: int
    collection: str
    first_version: int
    version: int
    words: int
    state: ReanalysisState
    points_seen: int
    points_changed: int
    created_at: float
    ended_at: float | None
    error: str


@dataclass(frozen=True, slots=True)
class ReanalysisStatus:
    """Its place in its life. `error`: why it failed, or what it waits for; `ended_at`: None while it goes on."""

    state: ReanalysisState
    lease: Lease
    error: str = ""
    ended_at: float | None = None


def can_take_more_words(status: ReanalysisStatus, cursor: str) -> bool:
    """Tell whether a later change may join it: no point is done, and nobody is at work."""
    return status.state is ReanalysisState.PENDING and cursor == ""


def claim_reanalysis(
    status: ReanalysisStatus, owner: str, now: float, lease_s: float, max_attempts: int
) -> ReanalysisStatus | None:
    """Take its lease. Returns None when it has ended or somebody has it; one on which as many died fails."""
    if status.state.is_ended or status.lease.is_alive(now):
        return None
    if status.lease.attempts >= max_attempts:
        return fail_reanalysis(status, f"{max_attempts} workers died on it; see the worker's log", now)
    return ReanalysisStatus(ReanalysisState.RUNNING, status.lease.claimed(owner, now, lease_s))


def renew_reanalysis(status: ReanalysisStatus, owner: str, now: float, lease_s: float) -> ReanalysisStatus:
    """Extend its lease. Raises LeaseLostError, also when it has ended."""
    check_owner(status, owner)
    return replace(status, lease=status.lease.renewed(owner, now, lease_s))


def advance_reanalysis(status: ReanalysisStatus, owner: str) -> ReanalysisStatus:
    """Go on to the next points: it gets somewhere, whoever died on it before. Raises LeaseLostError."""
    check_owner(status, owner)
    return replace(status, lease=replace(status.lease, attempts=1))


def release_reanalysis(status: ReanalysisStatus, owner: str, waits_for: str) -> ReanalysisStatus:
    """Give its lease back because a neighbour does not answer; it is sent again. Raises LeaseLostError."""
    check_owner(status, owner)
    return ReanalysisStatus(ReanalysisState.PENDING, status.lease.given_back(owner, counts=False), waits_for)


def finish_reanalysis(status: ReanalysisStatus, owner: str, now: float) -> ReanalysisStatus:
    """End it, all points being done. Raises LeaseLostError."""
    check_owner(status, owner)
    return ReanalysisStatus(ReanalysisState.SUCCEEDED, Lease(), ended_at=now)


def fail_reanalysis(status: ReanalysisStatus, error: str, now: float) -> ReanalysisStatus:
    """End it, since it cannot go on; an ended one stays as it is."""
    return status if status.state.is_ended else ReanalysisStatus(ReanalysisState.FAILED, Lease(), error, now)


def check_owner(status: ReanalysisStatus, owner: str) -> None:
    """Raise LeaseLostError unless this owner has it, and it goes on."""
    if status.state.is_ended:
        raise LeaseLostError(f"the reanalysis has ended ({status.state})")
    status.lease.check(owner)
