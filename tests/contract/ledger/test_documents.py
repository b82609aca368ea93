"""Documents: which version is stored, which is newer, which is not to be believed."""

import pytest

from kosearch.errors import OutdatedError
from kosearch.jobs import Job, JobState
from kosearch.ledger import Ledger, NewerDocument
from tests.contract.ledger.steps import (
    LAWS,
    Clock,
    claim,
    index,
    known,
    plan,
    push,
    result,
    spans,
    stored,
    submit,
    take,
    version,
    write_plan,
    writer_of,
)

DAY_S = 86_400.0


def told(ledger: Ledger, job: Job, document_id: str) -> tuple[bytes, int, int] | None:
    """Return digest, chunks and number of the job of a document."""
    found = known(ledger, job, document_id)
    return None if found is None else (found.digest, found.chunks, found.job_number)


def test_a_document_is_known_before_it_is_stored(ledger: Ledger) -> None:
    """Something of it may be there from then on, and no digest says that it is what it should be."""
    _, (number,) = plan(ledger, 1)
    partition = take(ledger, number)
    ledger.begin_documents(partition, ["가"])
    found = known(ledger, partition.job, "가")
    assert found is not None
    assert (found.chunks, found.file_id, found.is_deleted) == (0, partition.file_id, False)
    assert found.digest not in (b"", b"1")


def test_chunks_count_when_they_are_certainly_stored(ledger: Ledger) -> None:
    """Those of the former version may be gone from the moment in which the next one is begun."""
    index(ledger, version("가", "1", chunks=5))
    _, (number,) = plan(ledger, 1)
    partition = take(ledger, number)
    ledger.begin_documents(partition, ["가"])
    begun = told(ledger, partition.job, "가")
    assert begun is not None
    assert (begun[0] != b"1", begun[1], begun[2]) == (True, 0, partition.job.number)
    stored(ledger, partition, version("가", "2", chunks=3))
    assert told(ledger, partition.job, "가") == (b"2", 3, partition.job.number)


def test_documents_of_several_collections_are_kept_apart(ledger: Ledger) -> None:
    """The same identifier in each."""
    laws = index(ledger, version("가", "1"), collection="laws")
    cases = index(ledger, version("가", "2"), collection="cases")
    assert told(ledger, laws, "가") == (b"1", 2, laws.number)
    assert told(ledger, cases, "가") == (b"2", 2, cases.number)


@pytest.mark.parametrize("document_id", ["가" * 5000, "a b\n", "\u00e9", "e\u0301", "🙂"])
def test_identifiers_of_all_kinds(document_id: str, ledger: Ledger) -> None:
    """They are told apart by their characters, however long they are."""
    job = index(ledger, version(document_id), version("E\u0301"))
    assert list(ledger.known_documents(job, [document_id, "e"])) == [document_id]


def test_a_newer_version_stays(ledger: Ledger) -> None:
    """An older job that begins and records the document after it is not believed, and nor is the newer one."""
    _, (old,) = plan(ledger, 1)
    partition = take(ledger, old)
    pusher, number = push(ledger, "가")
    newer = take(ledger, number)
    stored(ledger, newer, version("가", "2"))
    ledger.begin_documents(partition, ["가"])
    assert told(ledger, newer.job, "가") == (b"2", 2, newer.job.number)
    ledger.finish_partition(
        old, "a", result(version("가", "1")), frozenset({NewerDocument("가", newer.job.number, is_deleted=False)})
    )
    found = told(ledger, newer.job, "가")
    assert found is not None
    assert found[1:] == (0, newer.job.number)
    assert pusher == newer.job.id


def test_a_job_is_told_what_is_newer(ledger: Ledger) -> None:
    """Versions that were stored, begun or deleted after it was submitted, and no others."""
    index(ledger, version("옛"))
    _, (old,) = plan(ledger, 1)
    partition = take(ledger, old)
    _, first = push(ledger, "가")
    pushed = take(ledger, first)
    stored(ledger, pushed, version("가"))
    _, second = push(ledger, "나")
    begun = take(ledger, second)
    ledger.begin_documents(begun, ["나"])
    ledger.delete_documents("laws", ["다"])
    ledger.begin_documents(partition, ["라"])
    assert ledger.newer_documents(partition.job, ["옛", "가", "나", "다", "라"]) == {
        NewerDocument("가", pushed.job.number, is_deleted=False),
        NewerDocument("나", begun.job.number, is_deleted=False),
        NewerDocument("다", begun.job.number + 1, is_deleted=True),
    }


def test_a_worker_must_know_what_is_newer(ledger: Ledger) -> None:
    """One that is told later than it asked is asked to look again, and nothing of it is recorded."""
    job_id, (old,) = plan(ledger, 1)
    partition = take(ledger, old)
    ledger.begin_documents(partition, ["가"])
    newer = ledger.newer_documents(partition.job, ["가"])
    ledger.delete_documents("laws", ["가"])
    with pytest.raises(OutdatedError):
        ledger.finish_partition(old, "a", result(version("가")), newer)
    assert ledger.progress(job_id).chunks_indexed == 0
    newer = ledger.newer_documents(partition.job, ["가"])
    assert ledger.finish_partition(old, "a", result(version("가")), newer) is JobState.SUCCEEDED


# Deletions


def test_a_deleted_document_is_not_brought_back(ledger: Ledger) -> None:
    """By a job that began before it was deleted."""
    _, (old,) = plan(ledger, 1)
    partition = take(ledger, old)
    ledger.begin_documents(partition, ["가"])
    ledger.delete_documents("laws", ["가"])
    assert stored(ledger, partition, version("가")) is JobState.SUCCEEDED
    found = known(ledger, partition.job, "가")
    assert found is not None
    assert (found.is_deleted, found.chunks, found.file_id) == (True, 0, None)


def test_a_deleted_document_may_be_stored_anew(ledger: Ledger) -> None:
    """By a job that began afterwards."""
    index(ledger, version("가"))
    ledger.delete_documents("laws", ["가"])
    job = index(ledger, version("가", "2"))
    assert told(ledger, job, "가") == (b"2", 2, job.number)


def test_a_deletion_is_a_job_that_has_succeeded(ledger: Ledger) -> None:
    """It counts what it removed; a document that it names twice is deleted once."""
    ledger.delete_documents("laws", ["가", "나", "가"])
    (deletion,) = ledger.jobs(10)
    assert deletion.progress.state is JobState.SUCCEEDED
    assert deletion.progress.documents_removed == 3
    assert ledger.open_jobs() == 0


def test_a_deletion_is_forgotten_after_a_day_when_no_older_job_is_open(ledger: Ledger, clock: Clock) -> None:
    """Nobody is left who could bring the document back, nor a push that may have to be stored again."""
    ledger.delete_documents("laws", ["가"])
    job = index(ledger, version("나"))
    found = known(ledger, job, "가")
    assert found is not None
    assert found.is_deleted
    clock.advance(DAY_S + 1)
    job = index(ledger, version("나"))
    assert known(ledger, job, "가") is None


def test_a_deletion_is_remembered_while_an_older_job_is_open(ledger: Ledger, clock: Clock) -> None:
    """Whatever other jobs come to their end meanwhile."""
    _, number = push(ledger, "가")
    older = take(ledger, number, "slow")
    ledger.delete_documents("laws", ["가"])
    clock.advance(DAY_S + 1)
    index(ledger, version("나"))
    found = known(ledger, older.job, "가")
    assert found is not None
    assert found.is_deleted
    stored(ledger, older, version("가"), owner="slow")
    index(ledger, version("나"))
    assert known(ledger, older.job, "가") is None


def test_jobs_of_another_collection_forget_nothing(ledger: Ledger) -> None:
    """They know nothing of who is at work here."""
    ledger.delete_documents("laws", ["가"])
    index(ledger, version("나"), collection="cases")
    job = claim(ledger, submit(ledger))
    assert job is not None
    found = known(ledger, job, "가")
    assert found is not None
    assert found.is_deleted


def test_what_was_begun_and_is_not_known_any_more_was_deleted(ledger: Ledger, clock: Clock) -> None:
    """A worker that was away for long learns that its document went, and when is not known any more."""
    old, (number,) = plan(ledger, 1)
    partition = take(ledger, number)
    ledger.begin_documents(partition, ["가"])
    ledger.cancel_job(old)
    ledger.delete_documents("laws", ["가"])
    clock.advance(DAY_S + 1)
    index(ledger, version("나"))
    assert ledger.newer_documents(partition.job, ["가"]) == {NewerDocument("가", 0, is_deleted=True)}


# Versions over which an older one may have been written


def zombie_writes_over(ledger: Ledger, *, ends_before: bool) -> Job:
    """Let a worker of a cancelled job write over what the next job stored. Returns that job."""
    cancelled, (number,) = plan(ledger, 1)
    zombie = take(ledger, number)
    ledger.begin_documents(zombie, ["가"])
    ledger.cancel_job(cancelled)
    _, (first, second) = plan(ledger, 1, 1)
    partition = take(ledger, first, "b")
    take(ledger, second, "b")
    stored(ledger, partition, version("가", "2"), owner="b")
    if ends_before:
        ledger.finish_partition(second, "b", result())
    newer = ledger.newer_documents(zombie.job, ["가"])
    assert newer == {NewerDocument("가", partition.job.number, is_deleted=False)}
    ledger.repair(zombie.job, newer)
    if not ends_before:
        ledger.finish_partition(second, "b", result())
    return partition.job


@pytest.mark.parametrize("ends_before", [True, False])
def test_a_version_that_may_be_damaged_is_stored_by_the_next_job(ends_before: bool, ledger: Ledger) -> None:
    """Its digest is not believed, and its file is read, even when its own job ends afterwards."""
    job = zombie_writes_over(ledger, ends_before=ends_before)
    found = told(ledger, job, "가")
    assert found is not None
    assert (found[0] != b"2", found[1:]) == (True, (0, job.number))
    file = writer_of(ledger, submit(ledger)).known_file(str(LAWS.path))
    assert file is not None
    assert not file.is_complete


def test_its_file_is_complete_when_it_was_stored_again(ledger: Ledger) -> None:
    """The next job puts it right."""
    zombie_writes_over(ledger, ends_before=True)
    index(ledger, version("가", "2"))
    file = writer_of(ledger, submit(ledger)).known_file(str(LAWS.path))
    assert file is not None
    assert file.is_complete


# Contents that are stored once


def test_a_content_is_the_first_documents(ledger: Ledger) -> None:
    """Others are told whose it is; the owner may ask again."""
    writer = writer_of(ledger, submit(ledger))
    assert writer.claim_contents([(b"x", "가"), (b"y", "나"), (b"x", "다")]) == {"다": "가"}
    assert writer.claim_contents([(b"x", "가"), (b"y", "라")]) == {"라": "나"}


def test_the_content_of_a_stored_document_is_its_own(ledger: Ledger) -> None:
    """Also for later jobs and pushes; another collection may have it, too."""
    job = owner_of_content(ledger)
    _, number = push(ledger, "나")
    pushed = take(ledger, number).job
    assert ledger.claim_contents(pushed, [(b"x", "나")]) == {"나": "가"}
    other = claim(ledger, submit(ledger, "cases"))
    assert other is not None
    assert ledger.claim_contents(other, [(b"x", "나")]) == {}
    assert ledger.claim_contents(job, [(b"x", "가")]) == {}


def test_a_document_that_changed_gives_its_content_up(ledger: Ledger) -> None:
    """Another one may have it then."""
    owner_of_content(ledger)
    writer = writer_of(ledger, submit(ledger))
    assert writer.claim_contents([(b"y", "가"), (b"x", "나")]) == {}


def test_a_document_that_was_deleted_gives_its_content_up(ledger: Ledger) -> None:
    """As one that is not stored."""
    owner_of_content(ledger)
    ledger.delete_documents("laws", ["가"])
    assert writer_of(ledger, submit(ledger)).claim_contents([(b"x", "나")]) == {}


def test_a_document_that_never_was_stored_gives_its_content_up(ledger: Ledger) -> None:
    """Its job came to nothing."""
    job_id = submit(ledger)
    writer_of(ledger, job_id).claim_contents([(b"x", "가")])
    ledger.cancel_job(job_id)
    assert writer_of(ledger, submit(ledger)).claim_contents([(b"x", "나")]) == {}


def owner_of_content(ledger: Ledger) -> Job:
    """Store a document with a content of its own."""
    writer = writer_of(ledger, submit(ledger))
    writer.claim_contents([(b"x", "가")])
    (number,) = write_plan(writer, spans(1))
    partition = take(ledger, number)
    stored(ledger, partition, version("가"))
    return partition.job
