"""What may become of jobs and partitions: pure decisions, which the ledger writes down and a simulator can run.

    job:        pending -> planning -> running -> finishing -> succeeded
                any of these -> failed | cancelled
    partition:  pending -> running -> done

Whoever works holds a lease. It ends by itself, so that the work of a process that died goes to another one. Times are
seconds since the epoch by the clock of whoever asks; a clock that jumps may cost a lease, and never the work.
"""

from dataclasses import dataclass, replace

from kosearch.errors import LeaseLostError
from kosearch.jobs import JobState, PartitionState

# Clocks of several machines differ by as much. What was written later than this after now is from before a jump back.
CLOCK_SLACK_S = 5.0


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on something, for a while.

    since, until: from when to when it is valid; no owner: nobody has it
    attempts: how often the work was begun without an end
    dispatched_at: when it was last sent to the workers
    """

    owner: str = ""
    since: float = 0.0
    until: float = 0.0
    attempts: int = 0
    dispatched_at: float = 0.0

    def is_alive(self, now: float) -> bool:
        """Tell whether somebody holds it. One that begins in the future is from before the clock was put back."""
        return self.owner != "" and self.since - CLOCK_SLACK_S <= now < self.until

    def is_due(self, now: float, quiet_s: float) -> bool:
        """Tell whether the work is to be sent: nobody has it, and it was not sent in the last `quiet_s` seconds."""
        was_just_sent = now - quiet_s <= self.dispatched_at <= now + CLOCK_SLACK_S
        return not self.is_alive(now) and not was_just_sent

    def claimed(self, owner: str, now: float, lease_s: float) -> "Lease":
        """Return it in the owner's hands; one more attempt."""
        return replace(self, owner=owner, since=now, until=now + lease_s, attempts=self.attempts + 1)

    def renewed(self, owner: str, now: float, lease_s: float) -> "Lease":
        """Return it longer, also after its end as long as nobody else took it. Raises LeaseLostError."""
        self.check(owner)
        return replace(self, since=now, until=now + lease_s)

    def given_back(self, owner: str, *, counts: bool) -> "Lease":
        """Return it in nobody's hands; `counts`: whether the attempt does. Raises LeaseLostError."""
        self.check(owner)
        return replace(self, owner="", since=0.0, until=0.0, attempts=self.attempts - (not counts))

    def check(self, owner: str) -> None:
        """Raise LeaseLostError unless it is this owner's."""
        if owner == "" or self.owner != owner:
            raise LeaseLostError("the lease was lost to another worker, which finishes the work")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's place in its life. `error`: why it failed, or what it waits for; `ended_at`: None while it goes on."""

    state: JobState
    lease: Lease
    error: str = ""
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """A partition's place in its life. `waits_for`: the neighbour that did not answer."""

    state: PartitionState
    lease: Lease
    waits_for: str = ""


def claim_job(job: JobStatus, owner: str, now: float, lease_s: float, max_attempts: int) -> JobStatus | None:
    """Take the lease to plan a job, or to finish it. Returns None when there is nothing to take.

    A job on which `max_attempts` workers died fails.
    """
    if job.state not in (JobState.PENDING, JobState.PLANNING, JobState.FINISHING) or job.lease.is_alive(now):
        return None
    if job.lease.attempts >= max_attempts:
        what = "finishing it" if job.state is JobState.FINISHING else "planning it"
        return fail_job(job, f"{max_attempts} workers died {what}; see the worker's log", now)
    state = JobState.FINISHING if job.state is JobState.FINISHING else JobState.PLANNING
    return replace(job, state=state, lease=job.lease.claimed(owner, now, lease_s), error="")


def renew_job(job: JobStatus, owner: str, now: float, lease_s: float) -> JobStatus:
    """Extend the lease of whoever plans or finishes. Raises LeaseLostError."""
    _check_goes_on(job)
    return replace(job, lease=job.lease.renewed(owner, now, lease_s))


def release_job(job: JobStatus, owner: str, waits_for: str) -> JobStatus:
    """Give the lease back because a neighbour does not answer; it is sent again. Raises LeaseLostError."""
    _check_goes_on(job)
    state = JobState.PENDING if job.state is JobState.PLANNING else job.state
    return replace(job, state=state, lease=job.lease.given_back(owner, counts=False), error=waits_for)


def finish_plan(job: JobStatus, owner: str, now: float, *, open_partitions: bool, has_rest: bool) -> JobStatus:
    """Let the workers at the partitions. Raises LeaseLostError."""
    _check_goes_on(job)
    job.lease.check(owner)
    running = replace(job, state=JobState.RUNNING, lease=Lease(), error="")
    return settle_job(running, now, open_partitions=open_partitions, has_rest=has_rest)


def settle_job(job: JobStatus, now: float, *, open_partitions: bool, has_rest: bool) -> JobStatus:
    """Go on with a running job that has no open partition left: to its rest where there is one, or to its end.

    has_rest: documents are to be removed that left their source, or an index is to be built
    """
    if job.state is not JobState.RUNNING or open_partitions:
        return job
    if has_rest:
        return replace(job, state=JobState.FINISHING, lease=Lease(), error="")
    return replace(job, state=JobState.SUCCEEDED, lease=Lease(), error="", ended_at=now)


def finish_job(job: JobStatus, owner: str, now: float) -> JobStatus:
    """End a job of which nothing is left to do. Raises LeaseLostError."""
    _check_goes_on(job)
    job.lease.check(owner)
    return replace(job, state=JobState.SUCCEEDED, lease=Lease(), error="", ended_at=now)


def fail_job(job: JobStatus, error: str, now: float) -> JobStatus:
    """End a job that cannot go on; an ended one stays as it is."""
    return _ended(job, JobState.FAILED, error, now)


def cancel_job(job: JobStatus, now: float) -> JobStatus:
    """End a job that is not wanted any more; an ended one stays as it is."""
    return _ended(job, JobState.CANCELLED, "", now)


def claim_partition(
    partition: PartitionStatus, job: JobStatus, owner: str, now: float, lease_s: float
) -> PartitionStatus | None:
    """Take the lease of a partition. Returns None when it is done, somebody has it, or its job does not run."""
    if job.state is not JobState.RUNNING or partition.state is PartitionState.DONE or partition.lease.is_alive(now):
        return None
    return replace(partition, state=PartitionState.RUNNING, lease=partition.lease.claimed(owner, now, lease_s))


def is_poisonous(partition: PartitionStatus, max_attempts: int) -> bool:
    """Tell whether as many workers as may have died on a partition that was just claimed."""
    return partition.lease.attempts > max_attempts


def renew_partition(
    partition: PartitionStatus, job: JobStatus, owner: str, now: float, lease_s: float
) -> PartitionStatus:
    """Extend the lease. Raises LeaseLostError, also when the job has ended."""
    _check_goes_on(job)
    return replace(partition, lease=partition.lease.renewed(owner, now, lease_s))


def finish_partition(partition: PartitionStatus, job: JobStatus, owner: str) -> PartitionStatus:
    """Call a partition done. Raises LeaseLostError, also when the job has ended."""
    _check_goes_on(job)
    partition.lease.check(owner)
    return PartitionStatus(PartitionState.DONE, Lease())


def release_partition(partition: PartitionStatus, owner: str, waits_for: str) -> PartitionStatus:
    """Give the lease back because a neighbour does not answer; the attempt does not count. Raises LeaseLostError."""
    lease = partition.lease.given_back(owner, counts=False)
    return PartitionStatus(PartitionState.PENDING, lease, waits_for)


def halve_lines(first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Halve the lines [first, last] of a partition on which workers die, to find the one to blame; None: it is one."""
    if first >= last:
        return None
    middle = (first + last) // 2
    return (first, middle), (middle + 1, last)


def _ended(job: JobStatus, state: JobState, error: str, now: float) -> JobStatus:
    return job if job.state.is_ended else JobStatus(state, Lease(), error, now)


def _check_goes_on(job: JobStatus) -> None:
    if job.state.is_ended:
        raise LeaseLostError(f"the job has ended ({job.state}); its work is not wanted any more")
