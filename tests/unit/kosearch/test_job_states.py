"""What may become of jobs and partitions, whatever their workers do and whatever the clock shows."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosearch.errors import LeaseLostError
from kosearch.job_states import (
    CLOCK_SLACK_S,
    JobStatus,
    Lease,
    PartitionStatus,
    cancel_job,
    claim_job,
    claim_partition,
    fail_job,
    finish_job,
    finish_partition,
    finish_plan,
    halve_lines,
    is_poisonous,
    release_job,
    release_partition,
    renew_job,
    renew_partition,
    settle_job,
)
from kosearch.jobs import JobState, PartitionState

NOW = 1_700_000_000.0
LEASE_S = 10.0
MAX_ATTEMPTS = 3
OWNERS = ("a", "b", "c")
NEW_JOB = JobStatus(JobState.PENDING, Lease())
RUNNING = JobStatus(JobState.RUNNING, Lease())
NEW_PARTITION = PartitionStatus(PartitionState.PENDING, Lease())

owners = st.sampled_from(OWNERS)
# Small steps, and jumps in both directions.
jumps = st.sampled_from([-86_400.0, -60.0, -3.0, 0.0, 1.0, 4.0, LEASE_S, 60.0, 86_400.0])
partition_steps = st.lists(st.tuples(st.sampled_from(["claim", "renew", "release", "finish"]), owners, jumps))
job_steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["claim", "renew", "release", "finish_plan", "finish_empty_plan", "settle", "finish", "fail", "cancel"]
        ),
        owners,
        jumps,
    )
)


def may(decide: Callable[[], object]) -> bool:
    """Tell whether a decision is allowed."""
    try:
        decide()
    except LeaseLostError:
        return False
    return True


def next_partition(partition: PartitionStatus, step: str, owner: str, now: float) -> PartitionStatus:
    """Return what a step makes of a partition of a running job; what is refused changes nothing."""
    try:
        if step == "claim":
            return claim_partition(partition, RUNNING, owner, now, LEASE_S) or partition
        if step == "renew":
            return renew_partition(partition, RUNNING, owner, now, LEASE_S)
        if step == "release":
            return release_partition(partition, owner, "away")
        return finish_partition(partition, RUNNING, owner)
    except LeaseLostError:
        return partition


def next_job(job: JobStatus, step: str, owner: str, now: float) -> JobStatus:
    """Return what a step makes of a job; what is refused changes nothing."""
    steps: dict[str, Callable[[], JobStatus | None]] = {
        "claim": lambda: claim_job(job, owner, now, LEASE_S, MAX_ATTEMPTS),
        "renew": lambda: renew_job(job, owner, now, LEASE_S),
        "release": lambda: release_job(job, owner, "away"),
        "finish_plan": lambda: finish_plan(job, owner, now, open_partitions=True, has_rest=True),
        "finish_empty_plan": lambda: finish_plan(job, owner, now, open_partitions=False, has_rest=False),
        "settle": lambda: settle_job(job, now, open_partitions=False, has_rest=True),
        "finish": lambda: finish_job(job, owner, now),
        "fail": lambda: fail_job(job, "broken", now),
        "cancel": lambda: cancel_job(job, now),
    }
    try:
        return steps[step]() or job
    except LeaseLostError:
        return job


def holders(job: JobStatus, now: float) -> list[list[str]]:
    """Return for each thing that only the holder of a job may do who may do it."""
    acts: list[Callable[[str], object]] = [
        lambda owner: renew_job(job, owner, now, LEASE_S),
        lambda owner: finish_job(job, owner, now),
        lambda owner: finish_plan(job, owner, now, open_partitions=True, has_rest=False),
        lambda owner: release_job(job, owner, ""),
    ]
    return [[owner for owner in OWNERS if may(partial(act, owner))] for act in acts]


# Partitions


@given(partition_steps)
def test_at_most_one_worker_may_finish_a_partition(steps: list[tuple[str, str, float]]) -> None:
    """Whatever the workers do and the clock shows; and it is the one that claimed it last."""
    partition, now, last = NEW_PARTITION, NOW, ""
    for step, owner, jump in steps:
        now += jump
        before, partition = partition, next_partition(partition, step, owner, now)
        if step == "claim" and partition is not before:
            last = owner
        able = [each for each in OWNERS if may(partial(finish_partition, partition, RUNNING, each))]
        assert able in ([], [last])


@given(partition_steps)
def test_a_done_partition_stays_done(steps: list[tuple[str, str, float]]) -> None:
    """Nobody claims, renews or gives it back."""
    done, now = PartitionStatus(PartitionState.DONE, Lease()), NOW
    for step, owner, jump in steps:
        now += jump
        assert next_partition(done, step, owner, now) == done


@given(partition_steps)
def test_attempts_are_claims_without_those_that_were_given_back(steps: list[tuple[str, str, float]]) -> None:
    """Renewing changes nothing."""
    partition, now, expected = NEW_PARTITION, NOW, 0
    for step, owner, jump in steps:
        now += jump
        before, partition = partition, next_partition(partition, step, owner, now)
        if partition.state is PartitionState.DONE:
            break
        if partition != before or (step == "claim" and partition is not before):
            expected += {"claim": 1, "release": -1}.get(step, 0)
        assert partition.lease.attempts == expected
        assert is_poisonous(partition, MAX_ATTEMPTS) is (expected > MAX_ATTEMPTS)


@given(st.lists(st.tuples(owners, st.floats(0, 8))), st.floats(0, LEASE_S, exclude_max=True))
def test_nobody_takes_a_lease_that_is_kept(renewals: list[tuple[str, float]], pause: float) -> None:
    """As long as its owner renews in time by a clock that goes on."""
    now = NOW
    partition = claim_partition(NEW_PARTITION, RUNNING, "owner", now, LEASE_S)
    assert partition is not None
    for rival, step in renewals:
        now += step
        assert claim_partition(partition, RUNNING, rival, now, LEASE_S) is None
        partition = renew_partition(partition, RUNNING, "owner", now, LEASE_S)
    if now + pause < partition.lease.until:
        assert claim_partition(partition, RUNNING, "rival", now + pause, LEASE_S) is None
    assert claim_partition(partition, RUNNING, "rival", partition.lease.until, LEASE_S) is not None


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.RUNNING])
def test_partitions_are_claimed_while_their_job_runs(state: JobState) -> None:
    """And only then."""
    assert claim_partition(NEW_PARTITION, JobStatus(state, Lease()), "a", NOW, LEASE_S) is None


@pytest.mark.parametrize("state", [state for state in JobState if state.is_ended])
def test_workers_of_an_ended_job_are_told(state: JobState) -> None:
    """When they renew, and when they finish; the message says how it ended."""
    held = claim_partition(NEW_PARTITION, RUNNING, "a", NOW, LEASE_S)
    assert held is not None
    job = JobStatus(state, Lease())
    with pytest.raises(LeaseLostError, match=state):
        renew_partition(held, job, "a", NOW, LEASE_S)
    with pytest.raises(LeaseLostError, match=state):
        finish_partition(held, job, "a")


def test_a_released_partition_says_what_it_waits_for() -> None:
    """Until it is finished."""
    held = claim_partition(NEW_PARTITION, RUNNING, "a", NOW, LEASE_S)
    assert held is not None
    released = release_partition(held, "a", "the encoder is away")
    assert released == PartitionStatus(PartitionState.PENDING, Lease(), "the encoder is away")
    again = claim_partition(released, RUNNING, "b", NOW, LEASE_S)
    assert again is not None
    assert again.waits_for == "the encoder is away"
    assert finish_partition(again, RUNNING, "b").waits_for == ""


# Jobs


@given(job_steps)
def test_at_most_one_worker_holds_a_job(steps: list[tuple[str, str, float]]) -> None:
    """Whatever the workers do and the clock shows; and it is the one that claimed it last."""
    job, now, last = NEW_JOB, NOW, ""
    for step, owner, jump in steps:
        now += jump
        before, job = job, next_job(job, step, owner, now)
        if step == "claim" and job is not before and not job.state.is_ended:
            last = owner
        assert all(able in ([], [last]) for able in holders(job, now))


@given(job_steps, st.sampled_from([state for state in JobState if state.is_ended]))
def test_an_ended_job_stays_as_it_ended(steps: list[tuple[str, str, float]], state: JobState) -> None:
    """With its error and the time of its end."""
    ended, now = JobStatus(state, Lease(), "why", NOW), NOW
    for step, owner, jump in steps:
        now += jump
        assert next_job(ended, step, owner, now) == ended


@given(job_steps)
def test_a_job_goes_forward(steps: list[tuple[str, str, float]]) -> None:
    """It is planned once, and has an end exactly when it has ended; only a plan without an end is begun anew."""
    order = list(JobState)
    job, now = NEW_JOB, NOW
    for step, owner, jump in steps:
        now += jump
        before, job = job, next_job(job, step, owner, now)
        assert (job.ended_at is not None) is job.state.is_ended
        went_back = order.index(job.state) < order.index(before.state)
        assert went_back is (before.state is JobState.PLANNING and job.state is JobState.PENDING)


@given(job_steps)
def test_a_job_is_claimed_a_limited_number_of_times(steps: list[tuple[str, str, float]]) -> None:
    """Attempts count from the last step forward; those that were given back do not."""
    job, now, attempts = NEW_JOB, NOW, 0
    for step, owner, jump in steps:
        now += jump
        before, job = job, next_job(job, step, owner, now)
        if job.state.is_ended:
            break
        if job is before:
            continue
        if job.state in (JobState.RUNNING, JobState.FINISHING) and job.state is not before.state:
            attempts = 0
        else:
            attempts += {"claim": 1, "release": -1}.get(step, 0)
        assert job.lease.attempts == attempts <= MAX_ATTEMPTS


@pytest.mark.parametrize(("state", "what"), [(JobState.PLANNING, "planning it"), (JobState.FINISHING, "finishing it")])
def test_a_job_on_which_workers_died_fails(state: JobState, what: str) -> None:
    """The error says what they did, and where to look."""
    job = JobStatus(state, Lease("a", NOW, NOW + LEASE_S, attempts=MAX_ATTEMPTS))
    assert claim_job(job, "b", NOW, LEASE_S, MAX_ATTEMPTS) is None
    failed = claim_job(job, "b", NOW + LEASE_S, LEASE_S, MAX_ATTEMPTS)
    assert failed is not None
    assert (failed.state, failed.lease, failed.ended_at) == (JobState.FAILED, Lease(), NOW + LEASE_S)
    assert failed.error == f"3 workers died {what}; see the worker's log"


@pytest.mark.parametrize(
    ("open_partitions", "has_rest", "expected"),
    [
        (True, False, JobState.RUNNING),
        (True, True, JobState.RUNNING),
        (False, True, JobState.FINISHING),
        (False, False, JobState.SUCCEEDED),
    ],
)
def test_what_follows_a_plan(open_partitions: bool, has_rest: bool, expected: JobState) -> None:
    """The same that follows the last partition. Nobody holds the job then."""
    planning = claim_job(NEW_JOB, "a", NOW, LEASE_S, MAX_ATTEMPTS)
    assert planning is not None
    planned = finish_plan(planning, "a", NOW, open_partitions=open_partitions, has_rest=has_rest)
    assert (planned.state, planned.lease) == (expected, Lease())
    assert settle_job(RUNNING, NOW, open_partitions=open_partitions, has_rest=has_rest).state is expected


@pytest.mark.parametrize("state", [state for state in JobState if state is not JobState.RUNNING])
def test_only_a_running_job_settles(state: JobState) -> None:
    """Every other one is left as it is."""
    job = JobStatus(state, Lease("a", NOW, NOW + LEASE_S))
    assert settle_job(job, NOW, open_partitions=False, has_rest=False) is job


# Leases and clocks


@given(st.floats(-1e6, 1e6), st.floats(0.1, 1e6))
def test_a_lease_is_alive_from_its_beginning_to_its_end(offset_s: float, lease_s: float) -> None:
    """With a little slack before it, for clocks that differ; one in the future is not."""
    lease = Lease().claimed("a", NOW, lease_s)
    assert lease.is_alive(NOW + offset_s) is (NOW - CLOCK_SLACK_S <= NOW + offset_s < NOW + lease_s)
    assert not replace(lease, owner="").is_alive(NOW + offset_s)


@given(jumps, jumps, jumps, st.floats(0, 100))
def test_work_that_somebody_holds_is_never_due(since: float, until: float, sent: float, quiet_s: float) -> None:
    """Nor is what was just sent; everything else is, also what was sent in the future."""
    lease = Lease("a", NOW + since, NOW + until, dispatched_at=NOW + sent)
    was_just_sent = -quiet_s <= sent <= CLOCK_SLACK_S
    assert lease.is_due(NOW, quiet_s) is not (lease.is_alive(NOW) or was_just_sent)


def test_nobody_is_no_owner() -> None:
    """An empty name does not hold what nobody holds."""
    with pytest.raises(LeaseLostError):
        Lease().check("")


# Halving


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_halves_are_the_whole(first: int, more: int) -> None:
    """Without a gap, and neither is empty; one line is not halved."""
    halves = halve_lines(first, first + more)
    if more == 0:
        assert halves is None
        return
    assert halves is not None
    (start, middle), (after, end) = halves
    assert (start, after, end) == (first, middle + 1, first + more)
    assert start <= middle < after <= end
    assert abs((middle - start) - (end - after)) <= 1


@given(st.integers(1, 10**6), st.integers(1, 10**5), st.data())
def test_a_line_is_found_by_halving(first: int, count: int, data: st.DataObject) -> None:
    """In as many steps as the number of lines has bits."""
    last = first + count - 1
    wanted = data.draw(st.integers(first, last))
    lines, steps = (first, last), 0
    while halves := halve_lines(*lines):
        lines = next(half for half in halves if half[0] <= wanted <= half[1])
        steps += 1
    assert lines == (wanted, wanted)
    assert steps <= math.ceil(math.log2(count))
