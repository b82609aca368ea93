"""Documents that left their source are removed at the end of the job."""

import pytest

from kosearch.errors import LeaseLostError
from kosearch.jobs import Job, JobState
from kosearch.ledger import Ledger, PlannedSpan
from tests.contract.ledger.steps import (
    CASES,
    LAWS,
    LEASE_S,
    SIGNATURE,
    Clock,
    claim,
    index,
    known,
    plan,
    push,
    spans,
    stored,
    submit,
    take,
    version,
    writer_of,
)


def finishing(ledger: Ledger, *removed: str, owner: str = "b") -> Job:
    """Run a job up to the removal of documents."""
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    writer.remove(writer.open_file(LAWS, SIGNATURE), removed)
    assert writer.finish(replaces=True, builds_index=False) == []
    job = claim(ledger, job_id, owner)
    assert job is not None
    assert job.state is JobState.FINISHING
    return job


def test_removals_are_written_down_before_they_are_done(ledger: Ledger) -> None:
    """They are named until they are called removed, and only then the job ends."""
    index(ledger, version("가"), version("나"), version("다"))
    job = finishing(ledger, "나", "다")
    assert not ledger.finish_job(job, "b")
    assert ledger.next_removals(job, "b", 10) == ["나", "다"]
    document = known(ledger, job, "나")
    assert document is not None
    assert (document.is_deleted, document.chunks) == (True, 0)
    assert ledger.next_removals(job, "b", 10) == ["나", "다"]
    ledger.drop_removals(job, "b", ["나", "다"])
    assert ledger.next_removals(job, "b", 10) == []
    assert ledger.finish_job(job, "b")
    progress = ledger.progress(job.id)
    assert (progress.state, progress.documents_removed) == (JobState.SUCCEEDED, 2)
    stays = known(ledger, job, "가")
    assert stays is not None
    assert not stays.is_deleted


def test_removals_come_in_portions(ledger: Ledger) -> None:
    """As many as were asked for."""
    index(ledger, *(version(f"글{number}") for number in range(5)))
    job = finishing(ledger, *(f"글{number}" for number in range(5)))
    removed = []
    while not ledger.finish_job(job, "b"):
        some = ledger.next_removals(job, "b", 2)
        assert 1 <= len(some) <= 2
        ledger.drop_removals(job, "b", some)
        removed += some
    assert removed == [f"글{number}" for number in range(5)]


def test_another_finisher_goes_on(ledger: Ledger, clock: Clock) -> None:
    """What the dead one may not have removed is named again, and the dead one has no more to say."""
    index(ledger, version("가"))
    job = finishing(ledger, "가", owner="b")
    ledger.next_removals(job, "b", 10)
    clock.advance(LEASE_S + 1)
    assert claim(ledger, job.id, "c") is not None
    with pytest.raises(LeaseLostError):
        ledger.next_removals(job, "b", 10)
    with pytest.raises(LeaseLostError):
        ledger.drop_removals(job, "b", ["가"])
    assert ledger.next_removals(job, "c", 10) == ["가"]


def test_a_cancelled_job_removes_nothing_more(ledger: Ledger) -> None:
    """What it has not removed is found by the next job on its file."""
    index(ledger, version("가"))
    job = finishing(ledger, "가")
    ledger.cancel_job(job.id)
    with pytest.raises(LeaseLostError):
        ledger.next_removals(job, "b", 10)
    writer = writer_of(ledger, submit(ledger))
    file = writer.known_file(str(LAWS.path))
    assert file is not None
    assert list(writer.documents_of_file(file.id)) == ["가"]


@pytest.mark.parametrize("how", ["cancelled", "failed"])
def test_what_a_job_had_named_when_it_ended_early_is_removed_by_the_next_one(ledger: Ledger, how: str) -> None:
    """Nobody knows whether its points went; what it had called removed did go, and what was pushed since stays."""
    index(ledger, version("가"), version("나"), version("다"))
    job = finishing(ledger, "가", "나", "다")
    assert ledger.next_removals(job, "b", 3) == ["가", "나", "다"]
    ledger.drop_removals(job, "b", ["나"])
    stored(ledger, take(ledger, push(ledger, "다")[1]), version("다"))
    if how == "cancelled":
        ledger.cancel_job(job.id)
    else:
        ledger.fail_job(job.id, "the encoder serves another model")
    writer = writer_of(ledger, submit(ledger))
    file = writer.known_file(str(LAWS.path))
    assert file is not None
    assert list(writer.documents_of_file(file.id)) == ["가"]
    gone = known(ledger, job, "나")
    assert gone is not None
    assert gone.is_deleted


def test_a_document_that_was_pushed_meanwhile_stays(ledger: Ledger) -> None:
    """From the moment in which it is about to be stored."""
    index(ledger, version("가"))
    job = finishing(ledger, "가")
    _, number = push(ledger, "가")
    ledger.begin_documents(take(ledger, number), ["가"])
    assert ledger.next_removals(job, "b", 10) == []
    assert ledger.finish_job(job, "b")
    assert ledger.progress(job.id).documents_removed == 0


def test_a_document_that_was_pushed_after_its_removal_stays(ledger: Ledger) -> None:
    """The removal is not named again, and the push is the newer version."""
    index(ledger, version("가"))
    job = finishing(ledger, "가")
    assert ledger.next_removals(job, "b", 10) == ["가"]
    _, number = push(ledger, "가")
    stored(ledger, take(ledger, number), version("가", "2"))
    assert ledger.next_removals(job, "b", 10) == []
    assert ledger.finish_job(job, "b")
    document = known(ledger, job, "가")
    assert document is not None
    assert document.digest == b"2"


def test_a_document_that_came_into_another_file_stays(ledger: Ledger) -> None:
    """The job itself stored it from there."""
    index(ledger, version("가"))
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    writer.remove(writer.open_file(LAWS, SIGNATURE), ["가"])
    file_id = writer.open_file(CASES, SIGNATURE)
    writer.add([PlannedSpan(span, file_id) for span in spans(1, source=CASES)], [], 0)
    (number,) = writer.finish(replaces=True, builds_index=False)
    assert stored(ledger, take(ledger, number), version("가")) is JobState.FINISHING
    job = claim(ledger, job_id, "b")
    assert job is not None
    assert ledger.next_removals(job, "b", 10) == []
    assert ledger.finish_job(job, "b")


def test_a_document_that_a_client_deleted_meanwhile_is_not_removed_again(ledger: Ledger) -> None:
    """Its points are the client's to delete."""
    index(ledger, version("가"))
    job = finishing(ledger, "가")
    ledger.delete_documents("laws", ["가"])
    assert ledger.next_removals(job, "b", 10) == []
    assert ledger.finish_job(job, "b")


def test_what_never_was_stored_is_removed(ledger: Ledger) -> None:
    """A worker that died may have written something of what it began."""
    failed, (number,) = plan(ledger, 1)
    ledger.begin_documents(take(ledger, number), ["가"])
    ledger.fail_job(failed, "gone")
    job = finishing(ledger, "가")
    assert ledger.next_removals(job, "b", 10) == ["가"]
