"""The job ledger's state machine, on a clock that the test moves."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import sqlalchemy as sa

from kosearch.errors import ConflictError, LeaseLostError, NotFoundError, SettingsError, UnavailableError
from kosearch.jobs import JobState, Rejection, Source, SourceFields, Span
from kosearch.ledger import Ledger

LEASE_S = 10.0
MAX_ATTEMPTS = 3
SOURCE = Source(Path("/data/laws.jsonl"), 1000, 123_456_789_012_345_678)


class Clock:
    """Seconds since the epoch, as the test wants them."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(url, clock)
    yield opened
    opened.close()


def spans(*documents: int) -> list[Span]:
    """Return one span for each number of documents."""
    return [
        Span(SOURCE, 100 * number, 100 * number + 100, 10 * number + 1, 10 * number + 10, count)
        for number, count in enumerate(documents)
    ]


def rejection(line: int) -> Rejection:
    return Rejection(str(SOURCE.path), line, f"id{line}", "malformed_json", "not JSON")


def submit(ledger: Ledger) -> str:
    return ledger.create_job("laws", [SOURCE.path], SourceFields("번호", "내용", "제목"))


def plan(ledger: Ledger, *documents: int, rejections: tuple[Rejection, ...] = ()) -> tuple[str, list[int]]:
    """Submit and plan a job. Returns (its id, ids of its partitions)."""
    job_id = submit(ledger)
    assert ledger.claim_job(job_id, "planner", LEASE_S, MAX_ATTEMPTS) is not None
    return job_id, ledger.save_plan(job_id, "planner", spans(*documents), rejections, replaces=False)


def claims(ledger: Ledger, partition_id: int, owner: str) -> bool:
    return ledger.claim_partition(partition_id, owner, LEASE_S, MAX_ATTEMPTS) is not None


def state(ledger: Ledger, job_id: str) -> JobState:
    return ledger.progress(job_id).state


# Planning


def test_a_new_job_waits(ledger: Ledger) -> None:
    """A submitted job is pending and has no documents yet."""
    progress = ledger.progress(submit(ledger))
    assert (progress.state, progress.documents_total, progress.error) == (JobState.PENDING, 0, "")


def test_a_claimed_job_says_all_that_was_submitted(ledger: Ledger) -> None:
    """The planner gets collection, paths in order and field names."""
    paths = [Path("/b.jsonl"), Path("/a.csv"), Path("/한글.txt")]
    job_id = ledger.create_job("laws", paths, SourceFields("번호", "내용", "제목"))
    job = ledger.claim_job(job_id, "planner", LEASE_S, MAX_ATTEMPTS)
    assert job is not None
    assert (job.collection, job.paths, job.fields) == ("laws", tuple(paths), SourceFields("번호", "내용", "제목"))


def test_only_one_planner_gets_a_job(ledger: Ledger) -> None:
    """A job that is being planned is not claimed a second time, not even by the same owner."""
    job_id = submit(ledger)
    assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    assert ledger.claim_job(job_id, "b", LEASE_S, MAX_ATTEMPTS) is None
    assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS) is None


def test_a_dead_planners_job_goes_to_another(ledger: Ledger, clock: Clock) -> None:
    """When the lease has run out, another worker plans the job, and the first one can no longer save its plan."""
    job_id = submit(ledger)
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    clock.advance(LEASE_S + 1)
    assert ledger.claim_job(job_id, "b", LEASE_S, MAX_ATTEMPTS)
    with pytest.raises(LeaseLostError):
        ledger.save_plan(job_id, "a", spans(1), [], replaces=False)
    assert ledger.progress(job_id).documents_total == 0


def test_a_renewed_planners_lease_lasts(ledger: Ledger, clock: Clock) -> None:
    """A planner that renews in time keeps the job for as long as it takes."""
    job_id = submit(ledger)
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    for _ in range(5):
        clock.advance(LEASE_S - 1)
        ledger.renew_job(job_id, "a", LEASE_S)
        assert ledger.claim_job(job_id, "b", LEASE_S, MAX_ATTEMPTS) is None


def test_a_plan_is_saved_once(ledger: Ledger) -> None:
    """A second plan by the same owner is refused, and nothing of it is kept."""
    job_id, _ = plan(ledger, 1, 1)
    with pytest.raises(LeaseLostError):
        ledger.save_plan(job_id, "planner", spans(5), [rejection(1)], replaces=False)
    assert ledger.progress(job_id).documents_total == 2


def test_a_planned_job_is_not_planned_again(ledger: Ledger, clock: Clock) -> None:
    """A task that is delivered again after the plan was saved finds nothing to do."""
    job_id, _ = plan(ledger, 1)
    clock.advance(1000)
    assert ledger.claim_job(job_id, "b", LEASE_S, MAX_ATTEMPTS) is None


def test_an_empty_plan_ends_the_job_at_once(ledger: Ledger) -> None:
    """A job of rejections only has succeeded: everything is in, or listed."""
    job_id, partitions = plan(ledger, rejections=(rejection(1), rejection(2)))
    progress = ledger.progress(job_id)
    assert partitions == []
    assert (progress.state, progress.documents_total, progress.documents_rejected) == (JobState.SUCCEEDED, 2, 2)


def test_a_job_whose_planners_die_fails(ledger: Ledger, clock: Clock) -> None:
    """After `max_attempts` planners that died the job fails instead of killing more."""
    job_id = submit(ledger)
    for _ in range(MAX_ATTEMPTS):
        assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
        clock.advance(LEASE_S + 1)
    assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS) is None
    progress = ledger.progress(job_id)
    assert progress.state is JobState.FAILED
    assert "3 workers died" in progress.error


def test_waiting_for_a_neighbour_is_no_try_to_plan(ledger: Ledger) -> None:
    """A planner that gives the job back again and again does not make it fail; the job says what it waits for."""
    job_id = submit(ledger)
    for _ in range(MAX_ATTEMPTS * 3):
        assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
        ledger.release_job(job_id, "a", "Qdrant does not answer")
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.PENDING, "Qdrant does not answer")


def test_a_claim_clears_what_the_job_waited_for(ledger: Ledger) -> None:
    """Once it is planned again the old complaint is gone."""
    job_id = submit(ledger)
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    ledger.release_job(job_id, "a", "Qdrant does not answer")
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    assert ledger.progress(job_id).error == ""


def test_only_the_holder_gives_a_job_back(ledger: Ledger, clock: Clock) -> None:
    """A planner that lost the lease cannot take the job away from its successor."""
    job_id = submit(ledger)
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    clock.advance(LEASE_S + 1)
    ledger.claim_job(job_id, "b", LEASE_S, MAX_ATTEMPTS)
    ledger.release_job(job_id, "a", "late")
    assert ledger.claim_job(job_id, "c", LEASE_S, MAX_ATTEMPTS) is None


def test_giving_back_a_planned_job_changes_nothing(ledger: Ledger) -> None:
    """A planner whose plan was saved without its knowing does not make the job be planned twice."""
    job_id, _ = plan(ledger, 1)
    ledger.release_job(job_id, "planner", "late")
    assert state(ledger, job_id) is JobState.RUNNING


def test_an_unknown_job_is_not_claimed(ledger: Ledger) -> None:
    """A task for a job of another ledger does nothing."""
    assert ledger.claim_job("nonsense", "a", LEASE_S, MAX_ATTEMPTS) is None


# Indexing


def test_a_claimed_partition_says_all_that_is_needed(ledger: Ledger) -> None:
    """The worker gets the span as it was planned, and the rejected lines within it, not those outside."""
    job_id, (_, second) = plan(ledger, 10, 7, rejections=tuple(map(rejection, (10, 11, 15, 20, 21))))
    partition = ledger.claim_partition(second, "a", LEASE_S, MAX_ATTEMPTS)
    assert partition is not None
    assert partition.span == spans(10, 7)[1]
    assert partition.rejected_lines == {11, 15, 20}
    assert (partition.job.id, partition.job.fields) == (job_id, SourceFields("번호", "내용", "제목"))


def test_rejections_of_another_file_are_not_the_partitions(ledger: Ledger) -> None:
    """Line 3 of one file says nothing of line 3 of another."""
    other = Rejection("/data/other.jsonl", 3, "", "malformed_json", "not JSON")
    _, (only,) = plan(ledger, 10, rejections=(other,))
    partition = ledger.claim_partition(only, "a", LEASE_S, MAX_ATTEMPTS)
    assert partition is not None
    assert partition.rejected_lines == frozenset()


def test_only_one_worker_gets_a_partition(ledger: Ledger) -> None:
    """A partition that is being indexed is not claimed a second time, not even by the same owner."""
    _, (only,) = plan(ledger, 1)
    assert claims(ledger, only, "a")
    assert not claims(ledger, only, "b")
    assert not claims(ledger, only, "a")


def test_a_lease_lasts_to_its_last_second(ledger: Ledger, clock: Clock) -> None:
    """Nobody takes a partition over before the lease has run out."""
    _, (only,) = plan(ledger, 1)
    claims(ledger, only, "a")
    clock.advance(LEASE_S)
    assert not claims(ledger, only, "b")
    clock.advance(0.001)
    assert claims(ledger, only, "b")


def test_a_late_finish_is_refused(ledger: Ledger, clock: Clock) -> None:
    """A worker whose partition went to another one cannot end it."""
    job_id, (only,) = plan(ledger, 1)
    claims(ledger, only, "a")
    clock.advance(LEASE_S + 1)
    claims(ledger, only, "b")
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(only, "a", chunks=1, truncated=0)
    with pytest.raises(LeaseLostError):
        ledger.renew_partition(only, "a", LEASE_S)
    assert state(ledger, job_id) is JobState.RUNNING


def test_an_expired_lease_that_nobody_took_still_holds(ledger: Ledger, clock: Clock) -> None:
    """A worker that was slow, but without a successor, may finish: its points are stored."""
    job_id, (only,) = plan(ledger, 1)
    claims(ledger, only, "a")
    clock.advance(LEASE_S + 1)
    ledger.finish_partition(only, "a", chunks=1, truncated=0)
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_a_partition_is_finished_once(ledger: Ledger) -> None:
    """A second finish, of a task that ran twice, is refused and counts nothing."""
    job_id, (first, _) = plan(ledger, 1, 1)
    claims(ledger, first, "a")
    ledger.finish_partition(first, "a", chunks=2, truncated=1)
    with pytest.raises(LeaseLostError):
        ledger.finish_partition(first, "a", chunks=2, truncated=1)
    assert ledger.progress(job_id).chunks_indexed == 2


def test_a_done_partition_is_never_claimed_again(ledger: Ledger, clock: Clock) -> None:
    """A task delivered after the work was done finds nothing to do."""
    _, (first, _) = plan(ledger, 1, 1)
    claims(ledger, first, "a")
    ledger.finish_partition(first, "a", chunks=1, truncated=0)
    clock.advance(1000)
    assert not claims(ledger, first, "b")


def test_giving_back_a_done_partition_changes_nothing(ledger: Ledger) -> None:
    """A worker whose finish was recorded without its knowing does not undo it."""
    job_id, (first, _) = plan(ledger, 4, 1)
    claims(ledger, first, "a")
    ledger.finish_partition(first, "a", chunks=4, truncated=0)
    ledger.release_partition(first, "a", "the ledger did not answer")
    assert ledger.progress(job_id).documents_indexed == 4
    assert not claims(ledger, first, "b")


def test_progress_counts_what_is_done(ledger: Ledger, clock: Clock) -> None:
    """Documents count when their partition is done; the total holds the rejected ones."""
    job_id, (first, second) = plan(ledger, 10, 7, rejections=(rejection(3),))
    clock.advance(2.5)
    claims(ledger, first, "a")
    ledger.finish_partition(first, "a", chunks=25, truncated=2)
    claims(ledger, second, "a")
    progress = ledger.progress(job_id)
    assert (progress.documents_total, progress.documents_indexed, progress.documents_rejected) == (18, 10, 1)
    assert (progress.chunks_indexed, progress.documents_truncated, progress.elapsed_s) == (25, 2, 2.5)


def test_the_job_ends_with_its_last_partition(ledger: Ledger, clock: Clock) -> None:
    """Whatever the order, the job succeeds when nothing is open, and its time stands still then."""
    job_id, (first, second) = plan(ledger, 1, 1)
    for partition_id in (second, first):
        assert state(ledger, job_id) is JobState.RUNNING
        claims(ledger, partition_id, "a")
        ledger.finish_partition(partition_id, "a", chunks=1, truncated=0)
    clock.advance(50)
    assert (state(ledger, job_id), ledger.progress(job_id).elapsed_s) == (JobState.SUCCEEDED, 0.0)


def test_one_job_does_not_end_another(ledger: Ledger) -> None:
    """The last partition of one job leaves the others running."""
    one, (partition_id,) = plan(ledger, 1)
    other, _ = plan(ledger, 1)
    claims(ledger, partition_id, "a")
    ledger.finish_partition(partition_id, "a", chunks=1, truncated=0)
    assert (state(ledger, one), state(ledger, other)) == (JobState.SUCCEEDED, JobState.RUNNING)


def test_waiting_for_a_neighbour_is_no_try_to_index(ledger: Ledger) -> None:
    """Partitions given back again and again do not make the job fail; it says what it waits for."""
    job_id, (only,) = plan(ledger, 1)
    for _ in range(MAX_ATTEMPTS * 3):
        assert claims(ledger, only, "a")
        ledger.release_partition(only, "a", "the encoder does not answer")
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.RUNNING, "the encoder does not answer")


def test_a_success_ends_the_complaint(ledger: Ledger) -> None:
    """When a neighbour answers again, the job no longer says that it waits for it."""
    job_id, (first, second) = plan(ledger, 1, 1)
    claims(ledger, first, "a")
    ledger.release_partition(first, "a", "the encoder does not answer")
    claims(ledger, second, "a")
    ledger.finish_partition(second, "a", chunks=1, truncated=0)
    assert ledger.progress(job_id).error == ""


def test_only_the_holder_gives_a_partition_back(ledger: Ledger, clock: Clock) -> None:
    """A worker that lost its lease cannot take the partition away from its successor."""
    _, (only,) = plan(ledger, 1)
    claims(ledger, only, "a")
    clock.advance(LEASE_S + 1)
    claims(ledger, only, "b")
    ledger.release_partition(only, "a", "late")
    assert not claims(ledger, only, "c")


def test_a_partition_that_kills_its_workers_fails_the_job(ledger: Ledger, clock: Clock) -> None:
    """After `max_attempts` dead workers the job fails and names file and line."""
    job_id, (_, second) = plan(ledger, 1, 1)
    for _ in range(MAX_ATTEMPTS):
        assert claims(ledger, second, "a")
        clock.advance(LEASE_S + 1)
    assert not claims(ledger, second, "a")
    progress = ledger.progress(job_id)
    assert progress.state is JobState.FAILED
    assert "/data/laws.jsonl, lines from 11: 3 workers died" in progress.error


def test_nothing_of_a_failed_job_is_claimed(ledger: Ledger) -> None:
    """Tasks of a failed job that still lie in the broker do nothing."""
    job_id, (only,) = plan(ledger, 1)
    ledger.fail_job(job_id, "the file is gone")
    assert not claims(ledger, only, "a")
    assert ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS) is None


def test_a_failed_job_stays_failed(ledger: Ledger) -> None:
    """A partition that was in hand may still be recorded, the job keeps its first error."""
    job_id, (only,) = plan(ledger, 1)
    claims(ledger, only, "a")
    ledger.fail_job(job_id, "first")
    ledger.fail_job(job_id, "second")
    ledger.finish_partition(only, "a", chunks=1, truncated=0)
    progress = ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.FAILED, "first")


def test_a_succeeded_job_does_not_fail_later(ledger: Ledger) -> None:
    """An ended job has ended."""
    job_id, _ = plan(ledger)
    ledger.fail_job(job_id, "too late")
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_an_unknown_partition_is_not_claimed(ledger: Ledger) -> None:
    """A task for a partition of another ledger does nothing."""
    assert not claims(ledger, 4711, "a")


# Rejections


def test_rejections_come_in_order_and_whole(ledger: Ledger) -> None:
    """Every rejection is listed as it was planned, across the ledger's own batches."""
    planned = tuple(map(rejection, range(1, 12_001)))
    job_id, _ = plan(ledger, 1, rejections=planned)
    assert tuple(ledger.rejections(job_id)) == planned


def test_each_job_lists_its_own_rejections(ledger: Ledger) -> None:
    """Two jobs on one file keep their lists apart."""
    one, _ = plan(ledger, 1, rejections=(rejection(1),))
    other, _ = plan(ledger, 1, rejections=(rejection(2),))
    assert [row.line for row in ledger.rejections(one)] == [1]
    assert [row.line for row in ledger.rejections(other)] == [2]


@pytest.mark.parametrize(
    "ask", [lambda ledger: ledger.progress("nonsense"), lambda ledger: list(ledger.rejections("nonsense"))]
)
def test_an_unknown_job_is_named(ask: Callable[[Ledger], object], ledger: Ledger) -> None:
    """Asking for a job that does not exist says so."""
    with pytest.raises(NotFoundError, match="nonsense"):
        ask(ledger)


# Dispatching


def test_a_job_is_due_after_its_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """A job just submitted is on its way; unclaimed after the quiet period it is sent again, once."""
    job_id = submit(ledger)
    clock.advance(5)
    assert ledger.due_jobs(quiet_s=5) == []
    clock.advance(0.1)
    assert ledger.due_jobs(quiet_s=5) == [job_id]
    assert ledger.due_jobs(quiet_s=5) == []


def test_a_job_in_planning_is_due_when_its_lease_has_run_out(ledger: Ledger, clock: Clock) -> None:
    """A living planner is left alone, a dead one's job is sent again."""
    job_id = submit(ledger)
    ledger.claim_job(job_id, "a", LEASE_S, MAX_ATTEMPTS)
    clock.advance(LEASE_S - 1)
    assert ledger.due_jobs(quiet_s=5) == []
    clock.advance(2)
    assert ledger.due_jobs(quiet_s=5) == [job_id]


def test_partitions_are_due_after_their_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """Partitions that no worker took are sent again in order, as many as asked for, each once."""
    _, partitions = plan(ledger, 1, 1, 1)
    assert ledger.due_partitions(quiet_s=5, limit=10) == []
    clock.advance(6)
    assert ledger.due_partitions(quiet_s=5, limit=2) == partitions[:2]
    assert ledger.due_partitions(quiet_s=5, limit=2) == partitions[2:]
    assert ledger.due_partitions(quiet_s=5, limit=2) == []


def test_leased_and_done_partitions_are_not_due(ledger: Ledger, clock: Clock) -> None:
    """Only what nobody works on is sent again."""
    _, (first, second, third) = plan(ledger, 1, 1, 1)
    claims(ledger, first, "a")
    ledger.finish_partition(first, "a", chunks=1, truncated=0)
    clock.advance(6)
    claims(ledger, second, "a")
    assert ledger.due_partitions(quiet_s=5, limit=10) == [third]
    clock.advance(LEASE_S + 1)
    assert ledger.due_partitions(quiet_s=5, limit=10) == [second, third]


def test_a_partition_given_back_is_due_after_the_quiet_period(ledger: Ledger, clock: Clock) -> None:
    """A partition whose neighbour was away is tried again, not at once."""
    _, (only,) = plan(ledger, 1)
    clock.advance(6)
    assert ledger.due_partitions(quiet_s=5, limit=10) == [only]
    claims(ledger, only, "a")
    ledger.release_partition(only, "a", "away")
    assert ledger.due_partitions(quiet_s=5, limit=10) == []
    clock.advance(6)
    assert ledger.due_partitions(quiet_s=5, limit=10) == [only]


def test_nothing_of_an_ended_job_is_due(ledger: Ledger, clock: Clock) -> None:
    """A failed job rests."""
    job_id, _ = plan(ledger, 1)
    waiting = submit(ledger)
    ledger.fail_job(job_id, "gone")
    ledger.fail_job(waiting, "gone")
    clock.advance(1000)
    assert ledger.due_partitions(quiet_s=5, limit=10) == []
    assert ledger.due_jobs(quiet_s=5) == []


# The database


def test_a_second_process_sees_the_same_jobs(ledger: Ledger, url: str) -> None:
    """Everything is in the database, nothing in the object."""
    job_id, _ = plan(ledger, 3)
    other = Ledger(url)
    assert other.progress(job_id).documents_total == 3
    other.close()


def test_two_threads_get_disjoint_partitions(url: str) -> None:
    """Workers that claim at the same moment never share a partition, and leave none out."""
    ledgers = [Ledger(url), Ledger(url)]
    _, partitions = plan(ledgers[0], *[1] * 40)
    barrier = Barrier(len(ledgers))

    def claim_all(number: int) -> list[int]:
        barrier.wait()
        return [each for each in partitions if claims(ledgers[number], each, f"worker {number}")]

    with ThreadPoolExecutor(len(ledgers)) as pool:
        taken = list(pool.map(claim_all, range(len(ledgers))))
    for each in ledgers:
        each.close()
    assert sorted(taken[0] + taken[1]) == partitions


def test_one_ledger_serves_several_threads(url: str) -> None:
    """The service asks one ledger from many threads at once."""
    ledger = Ledger(url)
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda _: submit(ledger), range(24)))
    assert {state(ledger, job_id) for job_id in jobs} == {JobState.PENDING}
    ledger.close()


def test_another_schema_is_refused(url: str) -> None:
    """A ledger that another version wrote is not misread."""
    Ledger(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE meta SET value = '99' WHERE key = 'schema_version'"))
    engine.dispose()
    with pytest.raises(ConflictError, match="schema 99"):
        Ledger(url)


def test_the_directory_is_made(tmp_path: Path) -> None:
    """The first start on a fresh machine needs no preparation."""
    Ledger(f"sqlite:///{tmp_path / 'a' / 'b' / 'ledger.db'}").close()
    assert (tmp_path / "a" / "b" / "ledger.db").exists()


def test_a_path_that_cannot_be_a_directory_is_unavailable(tmp_path: Path) -> None:
    """A file where the directory should be is a clear message, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="ledger"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A foreign file is not overwritten, and the message names it."""
    (tmp_path / "ledger.db").write_text("이것은 데이터베이스가 아니다. " * 100)
    with pytest.raises(UnavailableError, match=r"ledger\.db"):
        Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


@pytest.mark.parametrize("bad", ["nonsense", "nonsense://x", "postgresql+nonsense://h/x", "sqlite+pysqlcipher:///x"])
def test_a_bad_url_names_the_setting(bad: str) -> None:
    """A mistyped URL or a missing driver is a setting to correct."""
    with pytest.raises(SettingsError, match="KOSEARCH_LEDGER__URL"):
        Ledger(bad)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    """An error about the database does not bring its password into a log."""
    (tmp_path / "file").touch()
    with pytest.raises((UnavailableError, SettingsError)) as caught:
        Ledger("postgresql+nonsense://user:s3cret@h/x")
    assert "s3cret" not in str(caught.value)
