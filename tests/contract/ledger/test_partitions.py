"""Partitions: whose they are, when they are sent, what becomes of those on which workers die."""

import pytest

from kosearch.errors import LeaseLostError
from kosearch.jobs import WHOLE_FILE, JobState, Rejection, Span
from kosearch.ledger import Ledger, PartitionResult, PlannedSpan
from tests.contract.ledger.steps import (
    FIELDS,
    LAWS,
    LEASE_S,
    MAX_ATTEMPTS,
    Clock,
    claims,
    plan,
    push,
    rejection,
    result,
    spans,
    state,
    submit,
    take,
    version,
    write_plan,
    writer_of,
)


def due(ledger: Ledger, limit: int = 10, *, is_push: bool = False) -> list[int]:
    return ledger.due_partitions(5, limit, is_push=is_push)


def dies(ledger: Ledger, clock: Clock, partition_id: int) -> None:
    """Let a worker die on a partition."""
    take(ledger, partition_id)
    clock.advance(LEASE_S + 1)


def test_a_claimed_partition_says_all_that_is_needed(ledger: Ledger) -> None:
    """The worker gets the span as it was planned, and the rejected lines within it, not those outside."""
    job_id, (_, second) = plan(ledger, 10, 7, rejections=[rejection(line) for line in (10, 11, 15, 20, 21)])
    partition = take(ledger, second)
    assert partition.span == spans(10, 7)[1]
    assert (partition.lines, partition.rejected_lines) == ((11, 20), {11, 15, 20})
    assert (partition.job.id, partition.job.fields, partition.job.state) == (job_id, FIELDS, JobState.RUNNING)
    assert partition.content is None
    assert partition.file_id is not None


def test_rejections_of_another_file_are_not_the_partitions(ledger: Ledger) -> None:
    """Line 3 of one file says nothing of line 3 of another."""
    _, (only,) = plan(ledger, 10, rejections=[rejection(3, path="/data/other.jsonl")])
    assert take(ledger, only).rejected_lines == frozenset()


def test_rejections_of_another_job_are_not_the_partitions(ledger: Ledger) -> None:
    """What was wrong with a line may have been put right."""
    plan(ledger, rejections=[rejection(3)])
    _, (only,) = plan(ledger, 10)
    assert take(ledger, only).rejected_lines == frozenset()


def test_only_one_worker_gets_a_partition(ledger: Ledger) -> None:
    """A partition that is being indexed is not claimed a second time, not even by the same owner."""
    _, (only,) = plan(ledger, 1)
    assert claims(ledger, only, "a")
    assert not claims(ledger, only, "b")
    assert not claims(ledger, only, "a")


def test_an_unknown_partition_is_not_claimed(ledger: Ledger) -> None:
    """A task for a partition of another ledger does nothing."""
    assert not claims(ledger, 4711, "a")
    with pytest.raises(LeaseLostError):
        ledger.renew_partition(4711, "a", LEASE_S)


def test_no_partition_is_claimed_before_the_plan_is_whole(ledger: Ledger, clock: Clock) -> None:
    """The planner may die, and another one drops what it wrote."""
    writer = writer_of(ledger, submit(ledger))
    writer.add([PlannedSpan(span, writer.open_file(LAWS, "")) for span in spans(1)], [], 0)
    clock.advance(6)
    assert due(ledger) == []
    assert not claims(ledger, 1, "a")
    (first,) = writer.finish(replaces=False, builds_index=False)
    assert (first, claims(ledger, first, "a")) == (1, True)


def test_a_lease_lasts_to_its_last_second(ledger: Ledger, clock: Clock) -> None:
    """Nobody takes a partition over before the lease has run out."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only)
    clock.advance(LEASE_S - 0.5)
    assert not claims(ledger, only, "b")
    clock.advance(0.5)
    assert claims(ledger, only, "b")


def test_a_renewed_lease_lasts(ledger: Ledger, clock: Clock) -> None:
    """A worker that renews in time keeps the partition for as long as it takes."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only)
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        ledger.renew_partition(only, "a", LEASE_S)
        assert not claims(ledger, only, "b")


def test_a_late_finish_is_refused(ledger: Ledger, clock: Clock) -> None:
    """A worker whose partition went to another one can neither end, renew nor give back."""
    job_id, (only,) = plan(ledger, 1)
    take(ledger, only, "a")
    clock.advance(LEASE_S + 1)
    take(ledger, only, "b")
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(only, "a", result())
    with pytest.raises(LeaseLostError):
        ledger.renew_partition(only, "a", LEASE_S)
    with pytest.raises(LeaseLostError):
        ledger.release_partition(only, "a", "late")
    assert state(ledger, job_id) is JobState.RUNNING
    assert not claims(ledger, only, "c")


def test_an_expired_lease_that_nobody_took_still_holds(ledger: Ledger, clock: Clock) -> None:
    """A worker that was slow, but without a successor, may finish: its points are stored."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only)
    clock.advance(LEASE_S + 1)
    assert ledger.finish_partition(only, "a", result()) is JobState.SUCCEEDED


def test_a_partition_is_finished_once(ledger: Ledger) -> None:
    """A second finish, of a task that ran twice, is refused and counts nothing."""
    job_id, (first, _) = plan(ledger, 1, 1)
    take(ledger, first)
    ledger.finish_partition(first, "a", result(unchanged=1))
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(first, "a", result(unchanged=1))
    assert ledger.progress(job_id).documents_unchanged == 1


def test_a_done_partition_is_never_claimed_again(ledger: Ledger, clock: Clock) -> None:
    """A task delivered after the work was done finds nothing to do."""
    _, (first, _) = plan(ledger, 1, 1)
    take(ledger, first)
    ledger.finish_partition(first, "a", result())
    clock.advance(1000)
    assert not claims(ledger, first, "b")


def test_giving_back_a_done_partition_changes_nothing(ledger: Ledger) -> None:
    """A worker whose finish was recorded without its knowing does not undo it."""
    job_id, (first, _) = plan(ledger, 4, 1)
    take(ledger, first)
    ledger.finish_partition(first, "a", PartitionResult(documents=4))
    with pytest.raises(LeaseLostError):
        ledger.release_partition(first, "a", "the ledger did not answer")
    assert ledger.progress(job_id).documents_indexed == 4
    assert not claims(ledger, first, "b")


def test_it_is_told_whether_somebody_had_it_before(ledger: Ledger) -> None:
    """Also one who gave it back may have written something of it."""
    _, (only,) = plan(ledger, 1)
    assert take(ledger, only).is_first_try
    ledger.release_partition(only, "a", "away")
    assert not take(ledger, only).is_first_try


# The clock


def test_a_clock_that_is_put_back_frees_a_lease(ledger: Ledger, clock: Clock) -> None:
    """Otherwise a dead worker's partition would wait until the clock has caught up."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only, "a")
    clock.advance(-3600)
    assert due(ledger) == [only]
    assert claims(ledger, only, "b")
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(only, "a", result())


def test_clocks_may_differ_a_little(ledger: Ledger, clock: Clock) -> None:
    """A lease that begins four seconds from now was given by a neighbour whose clock is fast."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only, "a")
    clock.advance(-4)
    assert due(ledger) == []
    assert not claims(ledger, only, "b")


def test_a_living_worker_keeps_its_partition_over_a_jump(ledger: Ledger, clock: Clock) -> None:
    """When it renews before another one asks, the lease begins anew by the new clock."""
    _, (only,) = plan(ledger, 1)
    take(ledger, only, "a")
    clock.advance(-3600)
    ledger.renew_partition(only, "a", LEASE_S)
    assert not claims(ledger, only, "b")
    clock.advance(86_400)
    ledger.renew_partition(only, "a", LEASE_S)
    assert not claims(ledger, only, "b")


def test_a_clock_that_is_put_forward_ends_a_lease(ledger: Ledger, clock: Clock) -> None:
    """The work is done twice then, and recorded once."""
    job_id, (only,) = plan(ledger, 1)
    take(ledger, only, "a")
    clock.advance(86_400)
    take(ledger, only, "b")
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(only, "a", result(unchanged=1))
    ledger.finish_partition(only, "b", result(unchanged=1))
    assert ledger.progress(job_id).documents_unchanged == 1


# Counting


def test_progress_counts_what_is_done(ledger: Ledger, clock: Clock) -> None:
    """Documents count when their partition is done; the total holds the rejected ones."""
    job_id, (first, second) = plan(ledger, 10, 7, rejections=[rejection(3)])
    clock.advance(2.5)
    partition = take(ledger, first)
    versions = [version(f"글{number}", chunks=3) for number in range(8)]
    ledger.begin_documents(partition, [each.document_id for each in versions])
    done = PartitionResult(10, versions, unchanged=2, truncated=2, tokens=900, tokens_embedded=800)
    ledger.finish_partition(first, "a", done)
    take(ledger, second)
    progress = ledger.progress(job_id)
    assert (progress.documents_total, progress.documents_indexed, progress.documents_rejected) == (18, 8, 1)
    assert (progress.documents_unchanged, progress.chunks_indexed, progress.documents_truncated) == (2, 24, 2)
    assert (progress.tokens, progress.tokens_embedded, progress.elapsed_s) == (900, 800, 2.5)


def test_what_is_rejected_while_it_is_indexed_counts_once(ledger: Ledger) -> None:
    """It was planned as a document and is a dead letter now."""
    job_id, (only,) = plan(ledger, 3, rejections=[rejection(9)])
    take(ledger, only)
    refused = [rejection(1, "refused_by_encoder"), rejection(2, "refused_by_encoder")]
    ledger.finish_partition(only, "a", result(rejections=refused, unchanged=1))
    progress = ledger.progress(job_id)
    assert (progress.documents_total, progress.documents_rejected, progress.documents_unchanged) == (4, 3, 1)
    assert (progress.state, progress.documents_indexed) == (JobState.SUCCEEDED, 0)


def test_the_job_ends_with_its_last_partition(ledger: Ledger, clock: Clock) -> None:
    """Whatever the order, the job succeeds when nothing is open, and its time stands still then."""
    job_id, (first, second) = plan(ledger, 1, 1)
    for partition_id in (second, first):
        assert state(ledger, job_id) is JobState.RUNNING
        take(ledger, partition_id)
        ledger.finish_partition(partition_id, "a", result())
    clock.advance(50)
    assert (state(ledger, job_id), ledger.progress(job_id).elapsed_s) == (JobState.SUCCEEDED, 0.0)


# Neighbours that are away


def test_waiting_for_a_neighbour_is_no_try_to_index(ledger: Ledger) -> None:
    """Partitions given back again and again are not divided; the job says what it waits for."""
    job_id, (only,) = plan(ledger, 10)
    for _ in range(MAX_ATTEMPTS * 3):
        assert take(ledger, only).lines == (1, 10)
        ledger.release_partition(only, "a", "the encoder does not answer")
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.RUNNING, "the encoder does not answer")


def test_a_success_ends_the_complaint(ledger: Ledger) -> None:
    """When a neighbour answers again, the job no longer says that it waits for it."""
    job_id, (first, second) = plan(ledger, 1, 1)
    take(ledger, first)
    ledger.release_partition(first, "a", "the encoder does not answer")
    take(ledger, second)
    ledger.finish_partition(second, "a", result())
    assert ledger.progress(job_id).error == ""


# Workers that die


def test_a_partition_that_kills_its_workers_is_halved(ledger: Ledger, clock: Clock) -> None:
    """After `max_attempts` dead workers nobody gets it; its halves, of the same bytes, are due at once."""
    job_id, (first, second) = plan(ledger, 10, 7)
    for _ in range(MAX_ATTEMPTS):
        dies(ledger, clock, second)
    take(ledger, first)
    assert not claims(ledger, second, "a")
    halves = [take(ledger, number) for number in due(ledger)]
    assert [half.lines for half in halves] == [(11, 15), (16, 20)]
    assert {half.span.start for half in halves} == {100}
    assert {half.is_first_try for half in halves} == {False}
    progress = ledger.progress(job_id)
    assert (progress.state, progress.documents_total) == (JobState.RUNNING, 17)


@pytest.mark.parametrize("poisonous", [1, 4, 5, 10])
def test_the_document_to_blame_is_found_and_left_out(poisonous: int, ledger: Ledger, clock: Clock) -> None:
    """One death for each halving, and all its neighbours are indexed."""
    job_id, _ = plan(ledger, 10)
    deaths = 0
    while state(ledger, job_id) is JobState.RUNNING:
        clock.advance(6)
        for number in due(ledger):
            partition = ledger.claim_partition(number, "a", LEASE_S, MAX_ATTEMPTS)
            if partition is None:
                continue
            first, last = partition.lines
            if first <= poisonous <= last:
                deaths += 1
                clock.advance(LEASE_S + 1)
            else:
                ledger.finish_partition(number, "a", PartitionResult(documents=last - first + 1))
    assert [(each.reason, each.line, each.path) for each in ledger.rejections(job_id)] == [
        ("worker_died", poisonous, str(LAWS.path))
    ]
    progress = ledger.progress(job_id)
    assert (progress.state, progress.documents_total, progress.documents_indexed) == (JobState.SUCCEEDED, 10, 9)
    assert deaths <= MAX_ATTEMPTS + 4


def test_a_converted_file_that_kills_its_workers_is_left_out(ledger: Ledger, clock: Clock) -> None:
    """It is one document, whatever its number of lines."""
    job_id = submit(ledger)
    (only,) = write_plan(writer_of(ledger, job_id), [Span(LAWS, 0, WHOLE_FILE, 1, 1, 1)])
    for _ in range(MAX_ATTEMPTS):
        dies(ledger, clock, only)
    assert not claims(ledger, only, "a")
    detail = "3 workers died on it; look for the cause in the worker's log"
    assert list(ledger.rejections(job_id)) == [Rejection(str(LAWS.path), 1, "", "worker_died", detail)]
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_a_half_keeps_what_was_pushed(ledger: Ledger, clock: Clock) -> None:
    """Both have the whole content, and lines of their own."""
    _, number = push(ledger, "가", "나")
    content = take(ledger, number).content
    clock.advance(LEASE_S + 1)
    for _ in range(MAX_ATTEMPTS - 1):
        dies(ledger, clock, number)
    assert not claims(ledger, number, "a")
    halves = [take(ledger, each) for each in due(ledger, is_push=True)]
    assert [(half.lines, half.content) for half in halves] == [((1, 1), content), ((2, 2), content)]


# Sending


def test_partitions_are_due_after_their_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """Partitions that no worker took are sent again in order, as many as asked for, each once."""
    _, partitions = plan(ledger, 1, 1, 1)
    assert due(ledger) == []
    clock.advance(6)
    assert due(ledger, limit=2) == partitions[:2]
    assert due(ledger, limit=2) == partitions[2:]
    assert due(ledger, limit=2) == []


def test_leased_and_done_partitions_are_not_due(ledger: Ledger, clock: Clock) -> None:
    """Only what nobody works on is sent again."""
    _, (first, second, third) = plan(ledger, 1, 1, 1)
    take(ledger, first)
    ledger.finish_partition(first, "a", result())
    clock.advance(6)
    take(ledger, second)
    assert due(ledger) == [third]
    clock.advance(LEASE_S + 1)
    assert due(ledger) == [second, third]


def test_a_partition_given_back_is_due_after_the_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """A partition whose neighbour was away is tried again, not at once."""
    _, (only,) = plan(ledger, 1)
    clock.advance(6)
    assert due(ledger) == [only]
    take(ledger, only)
    ledger.release_partition(only, "a", "away")
    assert due(ledger) == []
    clock.advance(6)
    assert due(ledger) == [only]


def test_pushes_are_sent_apart_from_sources(ledger: Ledger, clock: Clock) -> None:
    """Somebody waits for them."""
    _, (of_source,) = plan(ledger, 1)
    _, pushed = push(ledger, "가")
    clock.advance(6)
    assert due(ledger, is_push=True) == [pushed]
    assert due(ledger, is_push=False) == [of_source]


def test_nothing_of_an_ended_job_is_due(ledger: Ledger, clock: Clock) -> None:
    """A failed job rests."""
    job_id, _ = plan(ledger, 1)
    ledger.fail_job(job_id, "gone")
    clock.advance(1000)
    assert due(ledger) == []
