"""Jobs: who plans them, when they are sent, how they end."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kosearch.errors import InvalidRequestError, LeaseLostError, NotFoundError
from kosearch.jobs import JobOptions, JobState, SourceFields
from kosearch.ledger import Ledger
from tests.contract.ledger.steps import (
    FIELDS,
    LEASE_S,
    MAX_ATTEMPTS,
    Clock,
    claim,
    claims,
    index,
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


def test_a_new_job_waits(ledger: Ledger) -> None:
    """A submitted job is pending and has no documents yet."""
    progress = ledger.progress(submit(ledger))
    assert (progress.state, progress.documents_total, progress.error) == (JobState.PENDING, 0, "")


def test_a_claimed_job_says_all_that_was_submitted(ledger: Ledger) -> None:
    """The planner gets collection, paths in order, field names and options."""
    paths = [Path("/b.jsonl"), Path("/a.csv"), Path("/한글.txt")]
    options = JobOptions(drops_duplicates=True, rereads=True)
    job = claim(ledger, ledger.create_job("laws", paths, FIELDS, options))
    assert job is not None
    assert (job.collection, job.paths, job.fields, job.options) == ("laws", tuple(paths), FIELDS, options)
    assert job.state is JobState.PLANNING


def test_numbers_grow(ledger: Ledger) -> None:
    """Of two jobs the later one has the higher number, whatever their collections."""
    first, second = claim(ledger, submit(ledger, "laws")), claim(ledger, submit(ledger, "cases"))
    assert first is not None
    assert second is not None
    assert first.number < second.number


@pytest.mark.parametrize(
    "ask",
    [
        lambda ledger: ledger.progress("nonsense"),
        lambda ledger: list(ledger.rejections("nonsense")),
        lambda ledger: ledger.rejected_paths("nonsense", ""),
        lambda ledger: ledger.cancel_job("nonsense"),
        lambda ledger: ledger.retry_job("nonsense", ""),
        lambda ledger: claim(ledger, "nonsense"),
    ],
    ids=["progress", "rejections", "paths", "cancel", "retry", "claim"],
)
def test_an_unknown_job_is_named(ask: Callable[[Ledger], object], ledger: Ledger) -> None:
    """Asking for a job that does not exist says so."""
    with pytest.raises(NotFoundError, match="nonsense"):
        ask(ledger)


# Planning


def test_only_one_planner_gets_a_job(ledger: Ledger) -> None:
    """A job that is being planned is not claimed a second time, not even by the same owner."""
    job_id = submit(ledger)
    assert claim(ledger, job_id, "a")
    assert claim(ledger, job_id, "b") is None
    assert claim(ledger, job_id, "a") is None


def test_a_dead_planners_job_goes_to_another(ledger: Ledger, clock: Clock) -> None:
    """When the lease has run out, another worker plans the job, and the first one can no longer write its plan."""
    job_id = submit(ledger)
    late = writer_of(ledger, job_id, "a")
    file_id = late.open_file(spans(1)[0].source, "")
    clock.advance(LEASE_S + 1)
    assert claim(ledger, job_id, "b")
    for write in (
        late.begin,
        late.forget_documents,
        lambda: late.add([], [rejection(1)], 0),
        lambda: late.remove(file_id, ["가"]),
        lambda: late.call_gone(file_id),
        lambda: late.open_file(spans(1)[0].source, ""),
        lambda: late.finish(replaces=False, builds_index=False),
    ):
        with pytest.raises(LeaseLostError):
            write()
    assert ledger.progress(job_id).documents_total == 0


def test_a_renewed_planners_lease_lasts(ledger: Ledger, clock: Clock) -> None:
    """A planner that renews in time keeps the job for as long as it takes."""
    job_id = submit(ledger)
    claim(ledger, job_id, "a")
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        ledger.renew_job(job_id, "a", LEASE_S)
        assert claim(ledger, job_id, "b") is None


def test_a_plan_is_written_once(ledger: Ledger) -> None:
    """When it is finished the planner has no more to say."""
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    write_plan(writer, spans(1, 1))
    with pytest.raises(LeaseLostError):
        write_plan(writer, spans(5))
    assert ledger.progress(job_id).documents_total == 2


def test_a_planned_job_is_not_planned_again(ledger: Ledger, clock: Clock) -> None:
    """A task that is delivered again after the plan was finished finds nothing to do."""
    job_id, _ = plan(ledger, 1)
    clock.advance(1000)
    assert claim(ledger, job_id, "b") is None


def test_a_plan_without_documents_ends_the_job_at_once(ledger: Ledger) -> None:
    """A job of rejections only has succeeded: everything is in, or listed."""
    job_id, partitions = plan(ledger, rejections=[rejection(1), rejection(2)])
    progress = ledger.progress(job_id)
    assert partitions == []
    assert (progress.state, progress.documents_total, progress.documents_rejected) == (JobState.SUCCEEDED, 2, 2)


def test_a_job_whose_planners_die_fails(ledger: Ledger, clock: Clock) -> None:
    """After `max_attempts` planners that died the job fails instead of killing more."""
    job_id = submit(ledger)
    for _ in range(MAX_ATTEMPTS):
        assert claim(ledger, job_id, "a")
        clock.advance(LEASE_S + 1)
    assert claim(ledger, job_id, "a") is None
    progress = ledger.progress(job_id)
    assert progress.state is JobState.FAILED
    assert "3 workers died planning it" in progress.error


def test_waiting_for_a_neighbour_is_no_try_to_plan(ledger: Ledger) -> None:
    """A planner that gives the job back again and again does not make it fail; the job says what it waits for."""
    job_id = submit(ledger)
    for _ in range(MAX_ATTEMPTS * 3):
        assert claim(ledger, job_id, "a")
        ledger.release_job(job_id, "a", "Qdrant does not answer")
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.PENDING, "Qdrant does not answer")


def test_a_claim_clears_what_the_job_waited_for(ledger: Ledger) -> None:
    """Once it is planned again the old complaint is gone."""
    job_id = submit(ledger)
    claim(ledger, job_id, "a")
    ledger.release_job(job_id, "a", "Qdrant does not answer")
    claim(ledger, job_id, "a")
    assert ledger.progress(job_id).error == ""


def test_only_the_holder_gives_a_job_back(ledger: Ledger, clock: Clock) -> None:
    """A planner that lost the lease cannot take the job away from its successor."""
    job_id = submit(ledger)
    claim(ledger, job_id, "a")
    clock.advance(LEASE_S + 1)
    claim(ledger, job_id, "b")
    with pytest.raises(LeaseLostError):
        ledger.release_job(job_id, "a", "late")
    assert claim(ledger, job_id, "c") is None


def test_giving_back_a_planned_job_changes_nothing(ledger: Ledger) -> None:
    """A planner whose plan was finished without its knowing does not make the job be planned twice."""
    job_id, _ = plan(ledger, 1)
    with pytest.raises(LeaseLostError):
        ledger.release_job(job_id, "planner", "late")
    assert state(ledger, job_id) is JobState.RUNNING


# The rest of a job: its index, its removals


def test_an_index_is_built_behind_the_last_partition(ledger: Ledger) -> None:
    """The job is finished by a worker that claims it then, and succeeds."""
    job_id = submit(ledger)
    (only,) = write_plan(writer_of(ledger, job_id), spans(1), builds_index=True)
    take(ledger, only)
    assert ledger.finish_partition(only, "a", result()) is JobState.FINISHING
    job = claim(ledger, job_id, "b")
    assert job is not None
    assert (job.state, job.builds_index) == (JobState.FINISHING, True)
    assert ledger.finish_job(job, "b")
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_waiting_for_a_neighbour_does_not_end_the_finishing(ledger: Ledger) -> None:
    """A finisher gives the job back, and it is still to be finished, not planned again."""
    job_id = submit(ledger)
    write_plan(writer_of(ledger, job_id), [], builds_index=True)
    claim(ledger, job_id, "b")
    ledger.release_job(job_id, "b", "Qdrant does not answer")
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.FINISHING, "Qdrant does not answer")
    again = claim(ledger, job_id, "c")
    assert again is not None
    assert again.state is JobState.FINISHING


def test_a_job_whose_finishers_die_fails(ledger: Ledger, clock: Clock) -> None:
    """Planners that died before do not count."""
    job_id = submit(ledger)
    claim(ledger, job_id, "x")
    clock.advance(LEASE_S + 1)
    write_plan(writer_of(ledger, job_id), [], builds_index=True)
    for _ in range(MAX_ATTEMPTS):
        assert claim(ledger, job_id, "a")
        clock.advance(LEASE_S + 1)
    assert claim(ledger, job_id, "a") is None
    assert "3 workers died finishing it" in ledger.progress(job_id).error


def test_a_finisher_that_lost_its_lease_does_not_end_the_job(ledger: Ledger, clock: Clock) -> None:
    """Its successor does."""
    job_id = submit(ledger)
    write_plan(writer_of(ledger, job_id), [], builds_index=True)
    job = claim(ledger, job_id, "a")
    assert job is not None
    clock.advance(LEASE_S + 1)
    assert claim(ledger, job_id, "b")
    with pytest.raises(LeaseLostError):
        ledger.finish_job(job, "a")
    assert ledger.finish_job(job, "b")


# Failing and cancelling


def test_nothing_of_a_failed_job_is_claimed(ledger: Ledger) -> None:
    """Tasks of a failed job that still lie in the broker do nothing."""
    job_id, (only,) = plan(ledger, 1)
    ledger.fail_job(job_id, "the file is gone")
    assert not claims(ledger, only, "a")
    assert claim(ledger, job_id, "a") is None


def test_a_failed_job_stays_failed(ledger: Ledger) -> None:
    """A partition that was in hand is not wanted any more, and the job keeps its first error."""
    job_id, (only,) = plan(ledger, 1)
    take(ledger, only)
    ledger.fail_job(job_id, "first")
    ledger.fail_job(job_id, "second")
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(only, "a", result(version("가")))
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.FAILED, "first")


def test_a_succeeded_job_does_not_fail_later(ledger: Ledger) -> None:
    """An ended job has ended."""
    job_id, _ = plan(ledger)
    ledger.fail_job(job_id, "too late")
    assert ledger.cancel_job(job_id) is JobState.SUCCEEDED
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_a_cancelled_job_rests(ledger: Ledger, clock: Clock) -> None:
    """Nothing of it is sent or claimed, and its workers learn of it when they renew."""
    job_id, (first, second) = plan(ledger, 1, 1)
    take(ledger, first)
    assert ledger.cancel_job(job_id) is JobState.CANCELLED
    with pytest.raises(LeaseLostError, match="cancelled"):
        ledger.renew_partition(first, "a", LEASE_S)
    with pytest.raises(LeaseLostError, match="cancelled"):
        ledger.finish_partition(first, "a", result())
    assert not claims(ledger, second, "b")
    clock.advance(1000)
    assert ledger.due_partitions(5, 10, is_push=False) == []
    assert ledger.progress(job_id).elapsed_s == 0


def test_a_planner_of_a_cancelled_job_learns_of_it(ledger: Ledger) -> None:
    """It can neither write nor renew."""
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    ledger.cancel_job(job_id)
    with pytest.raises(LeaseLostError):
        writer.add([], [rejection(1)], 0)
    with pytest.raises(LeaseLostError):
        ledger.renew_job(job_id, "planner", LEASE_S)
    assert claim(ledger, job_id) is None


# Jobs beside each other


def test_jobs_on_a_collection_wait_for_each_other(ledger: Ledger, clock: Clock) -> None:
    """The later one is neither sent nor claimed before the earlier one has ended."""
    first, second = submit(ledger), submit(ledger)
    clock.advance(6)
    assert claim(ledger, second) is None
    assert ledger.due_jobs(quiet_s=5) == [first]
    ledger.fail_job(first, "gone")
    assert ledger.due_jobs(quiet_s=5) == [second]
    assert claim(ledger, second) is not None


def test_jobs_on_several_collections_do_not_wait(ledger: Ledger) -> None:
    """They have nothing to do with each other."""
    plan(ledger, 1, collection="laws")
    assert claim(ledger, submit(ledger, "cases")) is not None


def test_pushes_and_jobs_do_not_wait_for_each_other(ledger: Ledger) -> None:
    """Whoever pushes waits for the answer."""
    plan(ledger, 1, collection="laws")
    _, pushed = push(ledger, "가", collection="laws")
    assert claims(ledger, pushed, "a")
    push(ledger, "나", collection="cases")
    assert claim(ledger, submit(ledger, "cases")) is not None


def test_one_job_does_not_end_another(ledger: Ledger) -> None:
    """The last partition of one job leaves the others running."""
    one, (number,) = plan(ledger, 1, collection="laws")
    other, _ = plan(ledger, 1, collection="cases")
    take(ledger, number)
    ledger.finish_partition(number, "a", result())
    assert (state(ledger, one), state(ledger, other)) == (JobState.SUCCEEDED, JobState.RUNNING)


# Sending


def test_a_job_is_due_after_its_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """A job just submitted is on its way; unclaimed after the quiet period it is sent again, once."""
    job_id = submit(ledger)
    clock.advance(5)
    assert ledger.due_jobs(quiet_s=5) == []
    clock.advance(0.5)
    assert ledger.due_jobs(quiet_s=5) == [job_id]
    assert ledger.due_jobs(quiet_s=5) == []


def test_a_job_in_planning_is_due_when_its_lease_has_run_out(ledger: Ledger, clock: Clock) -> None:
    """A living planner is left alone, a dead one's job is sent again."""
    job_id = submit(ledger)
    claim(ledger, job_id, "a")
    clock.advance(LEASE_S - 1)
    assert ledger.due_jobs(quiet_s=5) == []
    clock.advance(2)
    assert ledger.due_jobs(quiet_s=5) == [job_id]


def test_a_job_to_be_finished_is_due_at_once(ledger: Ledger) -> None:
    """Nobody else may tell a worker about it."""
    job_id = submit(ledger)
    write_plan(writer_of(ledger, job_id), [], builds_index=True)
    assert ledger.due_jobs(quiet_s=5) == [job_id]


def test_a_job_sent_before_the_clock_was_put_back_is_due(ledger: Ledger, clock: Clock) -> None:
    """A sending that lies in the future keeps nothing waiting until then."""
    job_id = submit(ledger)
    clock.advance(-86_400)
    assert ledger.due_jobs(quiet_s=5) == [job_id]


def test_an_ended_job_is_not_due(ledger: Ledger, clock: Clock) -> None:
    """A failed job rests."""
    job_id = submit(ledger)
    ledger.fail_job(job_id, "gone")
    clock.advance(1000)
    assert ledger.due_jobs(quiet_s=5) == []


# Watching


def test_jobs_are_listed_newest_first(ledger: Ledger, clock: Clock) -> None:
    """Each with collection, paths, time and progress; what was pushed has no path."""
    first = ledger.create_job("laws", [Path("/b"), Path("/a")], SourceFields())
    clock.advance(3)
    second, _ = push(ledger, "가", "나", collection="cases")
    newest, oldest = ledger.jobs(10)
    assert (newest.id, newest.collection, newest.paths) == (second, "cases", ("(pushed)",))
    assert (oldest.id, oldest.collection, oldest.paths) == (first, "laws", ("/b", "/a"))
    assert (newest.created_at - oldest.created_at, oldest.progress.elapsed_s) == (3, 3)
    assert newest.progress == ledger.progress(second)
    assert [job.id for job in ledger.jobs(1)] == [second]


def test_open_jobs_are_counted(ledger: Ledger) -> None:
    """Those that have not ended."""
    plan(ledger, rejections=[rejection(1)])
    submit(ledger)
    plan(ledger, 1, collection="cases")
    push(ledger, "가")
    assert ledger.open_jobs() == 3


# Trying again


def test_a_running_job_is_not_retried(ledger: Ledger) -> None:
    """The message says what to do instead."""
    job_id, _ = plan(ledger, 1, rejections=[rejection(1)])
    with pytest.raises(InvalidRequestError, match=r"running; wait until it has ended, or cancel it"):
        ledger.retry_job(job_id, "")


def test_a_push_is_not_retried(ledger: Ledger) -> None:
    """Its documents are the client's to push again."""
    job_id, _ = push(ledger, "가")
    ledger.cancel_job(job_id)
    with pytest.raises(InvalidRequestError, match="push them again"):
        ledger.retry_job(job_id, "")


@pytest.mark.parametrize("reason", ["", "unreadable_file"])
def test_a_job_that_left_out_nothing_is_not_retried(reason: str, ledger: Ledger) -> None:
    """Nor one that left out nothing for this reason."""
    job_id, _ = plan(ledger, rejections=[rejection(1, "malformed_json")] if reason else [])
    with pytest.raises(InvalidRequestError, match="nothing to retry"):
        ledger.retry_job(job_id, reason)


def test_a_retry_reads_what_was_left_out(ledger: Ledger) -> None:
    """It is a job like the first one that knows which one it repeats, and for what reason."""
    options = JobOptions(drops_duplicates=True, rereads=True)
    first = ledger.create_job("laws", [Path("/b"), Path("/a")], FIELDS, options)
    write_plan(writer_of(ledger, first), [], [rejection(1, "unreadable_file")])
    job = claim(ledger, ledger.retry_job(first, "unreadable_file"))
    assert job is not None
    assert (job.collection, job.paths, job.fields) == ("laws", (Path("/b"), Path("/a")), FIELDS)
    expected = JobOptions(drops_duplicates=True, retries=first, retry_reason="unreadable_file")
    assert job.options == expected


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_a_job_that_did_not_come_to_its_end_is_begun_anew(end: str, ledger: Ledger) -> None:
    """All of its files are looked at; those that are stored are passed over anyway."""
    job_id = submit(ledger)
    if end == "fail":
        ledger.fail_job(job_id, "gone")
    else:
        ledger.cancel_job(job_id)
    job = claim(ledger, ledger.retry_job(job_id, ""))
    assert job is not None
    assert job.options == JobOptions()


def test_a_retry_that_was_cancelled_is_begun_anew(ledger: Ledger) -> None:
    """It still repeats the files that the first job left out, and only them."""
    first, _ = plan(ledger, rejections=[rejection(1, "unreadable_file")])
    again = ledger.retry_job(first, "unreadable_file")
    ledger.cancel_job(again)
    job = claim(ledger, ledger.retry_job(again, ""))
    assert job is not None
    assert job.options == JobOptions(retries=first, retry_reason="unreadable_file")


def test_progress_of_a_whole_job(ledger: Ledger, clock: Clock) -> None:
    """Its time stands still when it has ended."""
    job = index(ledger, version("가", chunks=3), version("나", chunks=4))
    clock.advance(50)
    progress = ledger.progress(job.id)
    assert (progress.state, progress.documents_total, progress.documents_indexed) == (JobState.SUCCEEDED, 2, 2)
    assert (progress.chunks_indexed, progress.elapsed_s) == (7, 0)
