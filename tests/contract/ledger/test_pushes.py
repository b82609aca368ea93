"""Pushed documents, and what becomes of them beside older jobs that have not ended."""

import json

import sqlalchemy as sa

from kosearch.errors import OutdatedError
from kosearch.jobs import Job, JobState, Partition
from kosearch.ledger import Ledger, NewerDocument
from tests.contract.ledger.steps import (
    LEASE_S,
    MAX_ATTEMPTS,
    Clock,
    claims,
    index,
    known,
    plan,
    push,
    rejection,
    result,
    state,
    stored,
    take,
    version,
)

DAY_S = 86_400.0


def overtaken(ledger: Ledger, *pushed: str) -> tuple[Partition, str, int]:
    """Push documents while an older job is at them.

    Returns (the older job's partition, held by `a`; the push's job id; the number of its partition, which is done).
    """
    _, (number,) = plan(ledger, 1)
    older = take(ledger, number)
    ledger.begin_documents(older, pushed)
    job_id, pushed_number = push(ledger, *pushed)
    newer = take(ledger, pushed_number, "b")
    assert stored(ledger, newer, *(version(each, "2") for each in pushed), owner="b") is JobState.SUCCEEDED
    return older, job_id, pushed_number


def test_a_push_runs_at_once(ledger: Ledger) -> None:
    """It has one partition, with its documents in it, which replace what is there."""
    job_id, number = push(ledger, "가", "나")
    assert (state(ledger, job_id), ledger.progress(job_id).documents_total) == (JobState.RUNNING, 2)
    partition = take(ledger, number)
    assert partition.content is not None
    assert [json.loads(line)["id"] for line in partition.content.splitlines()] == ["가", "나"]
    assert (partition.lines, partition.file_id, partition.job.replaces) == ((1, 2), None, True)
    assert stored(ledger, partition, version("가"), version("나")) is JobState.SUCCEEDED
    document = known(ledger, partition.job, "가")
    assert document is not None
    assert (document.file_id, document.digest) == (None, b"1")


def test_the_later_of_two_pushes_is_the_newer_version(ledger: Ledger) -> None:
    """Whichever is done first."""
    (_, first), (_, second) = push(ledger, "가"), push(ledger, "가")
    older, newer = take(ledger, first, "a"), take(ledger, second, "b")
    stored(ledger, newer, version("가", "2"), owner="b")
    stored(ledger, older, version("가", "1"), owner="a")
    document = known(ledger, older.job, "가")
    assert document is not None
    assert document.job_number == newer.job.number


def test_a_push_is_stored_again_after_an_older_job_wrote_over_it(ledger: Ledger, clock: Clock) -> None:
    """It is sent, claimed and done once more; then it is as it was."""
    older, job_id, number = overtaken(ledger, "가")
    assert stored(ledger, older, version("가", "1")) is JobState.SUCCEEDED
    assert (state(ledger, job_id), ledger.open_jobs()) == (JobState.RUNNING, 1)
    document = known(ledger, older.job, "가")
    assert document is not None
    assert document.digest != b"2"
    assert ledger.due_partitions(5, 10, is_push=True) == [number]
    again = take(ledger, number, "c")
    assert (again.content is not None, again.is_first_try) == (True, False)
    assert stored(ledger, again, version("가", "2"), owner="c") is JobState.SUCCEEDED
    document = known(ledger, older.job, "가")
    assert document is not None
    assert (document.digest, document.job_number) == (b"2", again.job.number)


def test_an_older_job_that_touched_nothing_newer_reopens_nothing(ledger: Ledger) -> None:
    """Pushes of other documents rest."""
    older, job_id, _ = overtaken(ledger, "가")
    stored(ledger, older, version("나"))
    assert state(ledger, job_id) is JobState.SUCCEEDED


def test_a_reopened_push_leaves_later_ones_alone(ledger: Ledger) -> None:
    """It keeps its number: what was pushed or deleted after it stays the newer version."""
    older, _, number = overtaken(ledger, "가", "나", "다")
    stored(ledger, older, version("가", "1"))
    _, later = push(ledger, "나")
    newest = take(ledger, later, "d")
    stored(ledger, newest, version("나", "3"), owner="d")
    ledger.delete_documents("laws", ["다"])
    again = take(ledger, number, "c")
    assert ledger.newer_documents(again.job, ["가", "나", "다"]) == {
        NewerDocument("나", newest.job.number, is_deleted=False),
        NewerDocument("다", newest.job.number + 1, is_deleted=True),
    }


def test_a_push_that_is_at_work_begins_anew(ledger: Ledger) -> None:
    """It may have stored the document before the older job did."""
    _, (number,) = plan(ledger, 1)
    older = take(ledger, number)
    ledger.begin_documents(older, ["가"])
    _, pushed = push(ledger, "가")
    ledger.begin_documents(take(ledger, pushed, "b"), ["가"])
    stored(ledger, older, version("가"))
    assert claims(ledger, pushed, "c")


def test_what_a_push_left_out_is_listed_once(ledger: Ledger) -> None:
    """Also when it was done twice."""
    _, (number,) = plan(ledger, 1)
    older = take(ledger, number)
    ledger.begin_documents(older, ["가"])
    job_id, pushed = push(ledger, "가", "나")
    refused = rejection(2, "refused_by_encoder")
    for owner in ("b", "c"):
        newer = take(ledger, pushed, owner)
        ledger.begin_documents(newer, ["가"])
        ledger.finish_partition(pushed, owner, result(version("가", "2"), rejections=[refused]))
        if owner == "b":
            stored(ledger, older, version("가", "1"))
            assert ledger.progress(job_id).documents_total == 2
    assert list(ledger.rejections(job_id)) == [refused]
    progress = ledger.progress(job_id)
    assert (progress.documents_total, progress.documents_indexed, progress.documents_rejected) == (2, 1, 1)


def test_a_worker_without_a_lease_has_its_harm_repaired(ledger: Ledger, clock: Clock) -> None:
    """The push is stored again, although the older job is another worker's now."""
    older, job_id, number = overtaken(ledger, "가")
    clock.advance(LEASE_S + 1)
    assert claims(ledger, older.id, "successor")
    ledger.repair(older.job, ledger.newer_documents(older.job, ["가"]))
    assert state(ledger, job_id) is JobState.RUNNING
    assert claims(ledger, number, "c")


def test_repair_leaves_deleted_documents_deleted(ledger: Ledger) -> None:
    """Their points are gone already."""
    index(ledger, version("가"))
    _, (number,) = plan(ledger, 1)
    older = take(ledger, number)
    ledger.delete_documents("laws", ["가"])
    ledger.repair(older.job, ledger.newer_documents(older.job, ["가"]))
    document = known(ledger, older.job, "가")
    assert document is not None
    assert document.is_deleted
    assert ledger.open_jobs() == 1


def test_a_finish_that_was_overtaken_reopens_nothing(ledger: Ledger) -> None:
    """It is done as a whole or not at all."""
    older, job_id, _ = overtaken(ledger, "가")
    known_late = frozenset({NewerDocument("가", 4711, is_deleted=False)})
    try:
        ledger.finish_partition(older.id, "a", result(version("가")), known_late)
    except OutdatedError:
        assert state(ledger, job_id) is JobState.SUCCEEDED
    else:
        raise AssertionError("nothing was said about the newer version")


def killed(ledger: Ledger, clock: Clock, number: int) -> None:
    """Let so many workers die on a pushed document, when they have written it, that it is given up."""
    for _ in range(MAX_ATTEMPTS):
        partition = take(ledger, number)
        ledger.begin_documents(partition, ["가"])
        clock.advance(LEASE_S + 1)
    assert not claims(ledger, number, "z")


def claim_finish(ledger: Ledger, job_id: str) -> Job:
    job = ledger.claim_job(job_id, "z", LEASE_S, MAX_ATTEMPTS)
    assert job is not None
    assert job.state is JobState.FINISHING
    return job


def test_what_was_deleted_is_deleted_again_when_its_push_is_given_up(ledger: Ledger, clock: Clock) -> None:
    """The last worker may have written it behind the deletion, and died before it could look."""
    job_id, number = push(ledger, "가")
    take(ledger, number)
    clock.advance(LEASE_S + 1)
    ledger.delete_documents("laws", ["가"])
    for _ in range(MAX_ATTEMPTS - 1):
        take(ledger, number)
        clock.advance(LEASE_S + 1)
    assert not claims(ledger, number, "z")
    job = claim_finish(ledger, job_id)
    assert ledger.next_removals(job, "z", 10) == ["가"]
    assert not ledger.finish_job(job, "z")
    ledger.drop_removals(job, "z", ["가"])
    assert ledger.finish_job(job, "z")
    assert [each.reason for each in ledger.rejections(job_id)] == ["worker_died"]
    document = known(ledger, job, "가")
    assert document is not None
    assert document.is_deleted


def test_what_is_pushed_again_is_not_deleted_for_a_push_that_was_given_up(ledger: Ledger, clock: Clock) -> None:
    job_id, number = push(ledger, "가")
    ledger.delete_documents("laws", ["가"])
    killed(ledger, clock, number)
    job = claim_finish(ledger, job_id)
    _, again = push(ledger, "가")
    stored(ledger, take(ledger, again), version("가", "2"))
    assert ledger.next_removals(job, "z", 10) == []
    assert ledger.finish_job(job, "z")


def test_what_is_pushed_while_it_is_deleted_again_is_stored_again(ledger: Ledger, clock: Clock) -> None:
    """Its points may have gone with those of the version before."""
    job_id, number = push(ledger, "가")
    ledger.delete_documents("laws", ["가"])
    killed(ledger, clock, number)
    job = claim_finish(ledger, job_id)
    assert ledger.next_removals(job, "z", 10) == ["가"]
    again_id, again = push(ledger, "가")
    assert stored(ledger, take(ledger, again), version("가", "2")) is JobState.SUCCEEDED
    ledger.drop_removals(job, "z", ["가"])
    assert ledger.finish_job(job, "z")
    assert state(ledger, again_id) is JobState.RUNNING
    assert claims(ledger, again, "b")


def test_a_newer_push_is_stored_again_when_an_older_one_is_given_up(ledger: Ledger, clock: Clock) -> None:
    """The dead may have written the older version over it."""
    job_id, number = push(ledger, "가")
    again_id, again = push(ledger, "가")
    assert stored(ledger, take(ledger, again), version("가", "2")) is JobState.SUCCEEDED
    killed(ledger, clock, number)
    assert (state(ledger, job_id), state(ledger, again_id)) == (JobState.SUCCEEDED, JobState.RUNNING)
    assert claims(ledger, again, "b")


def test_pushed_documents_are_kept_for_a_day(ledger: Ledger, ledger_url: str, clock: Clock) -> None:
    """Then the next push drops them; those that wait for a worker stay."""
    older, _, number = overtaken(ledger, "가")
    push(ledger, "기다림")
    clock.advance(DAY_S - 60)
    push(ledger, "나")
    stored(ledger, older, version("가", "1"))
    again = take(ledger, number, "c")
    assert again.content is not None
    stored(ledger, again, version("가", "2"), owner="c")
    clock.advance(DAY_S + 60)
    push(ledger, "다")
    engine = sa.create_engine(ledger_url)
    with engine.connect() as connection:
        kept = connection.scalars(sa.text("SELECT content FROM partitions WHERE content IS NOT NULL")).all()
    engine.dispose()
    assert sorted(json.loads(bytes(content))["id"] for content in kept) == ["기다림", "나", "다"]
