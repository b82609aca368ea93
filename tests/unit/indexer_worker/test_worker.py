"""What a worker does with its tasks, and what becomes of documents on the way."""

from typing import Any

import pytest

from indexer_worker import indexer
from kosearch.errors import ConflictError, InvalidRequestError, UnavailableError
from kosearch.jobs import JobState
from tests.unit.indexer_worker.bench import POISON, UNENCODABLE, UNSTORABLE, Bench

TWO = {"1": "하나", "2": "둘"}


def many(count: int, text: str = "글") -> dict[str, str]:
    return {str(number): f"{text} {number}" for number in range(count)}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One chunk in each call to the store, so that something can happen between two documents."""
    monkeypatch.setattr(indexer, "_BATCH_CHUNKS", 1)


# Jobs


def test_a_job_is_planned_indexed_and_ended(bench: Bench) -> None:
    """From the files to the store, over several partitions; counts in the ledger."""
    bench.write("a.jsonl", many(10), '{"id": "x", "text": "글", "year": 1}')
    progress = bench.index()
    assert (progress.state, progress.documents_indexed, progress.chunks_indexed) == (JobState.SUCCEEDED, 11, 11)
    assert bench.texts() == {**many(10), "x": "글"}
    assert bench.served.field_types == {"year": "integer"}


def test_a_task_delivered_twice_does_its_work_once(bench: Bench) -> None:
    """The second delivery of a plan or a partition finds nothing to do."""
    bench.write("a.jsonl", TWO)
    job_id = bench.submit()
    bench.worker.advance(job_id)
    bench.worker.advance(job_id)
    (only,) = bench.queue.partitions
    bench.worker.index(only)
    bench.worker.index(only)
    assert bench.ledger.progress(job_id).chunks_indexed == 2
    assert bench.store.asked("upsert") == ["upsert"]


def test_a_job_without_a_sound_document_makes_no_collection(bench: Bench) -> None:
    """Nothing but faults leaves nothing behind."""
    bench.write("a.jsonl", {})
    progress = bench.index()
    assert (progress.state, progress.documents_rejected) == (JobState.SUCCEEDED, 1)
    assert not bench.store.exists


def test_jobs_on_one_collection_wait_for_each_other(bench: Bench) -> None:
    """The second one is planned when the first one has ended, whatever order the tasks come in."""
    bench.write("a.jsonl", TWO)
    first, second = bench.submit(), bench.submit()
    bench.worker.advance(second)
    assert bench.ledger.progress(second).state is JobState.PENDING
    assert bench.run(second).documents_unchanged == 2
    assert bench.ledger.progress(first).documents_indexed == 2


# The vector index


@pytest.mark.parametrize(("partitions", "expected"), [(19, []), (20, ["defer index", "build index"])])
def test_only_a_big_first_job_builds_the_index_at_its_end(partitions: int, expected: list[str], bench: Bench) -> None:
    """A small one leaves that to the store; a later one finds the index and adds to it."""
    bench.write("a.jsonl", many(4 * partitions))
    bench.index()
    assert bench.store.asked("defer index", "build index") == expected
    bench.write("b.jsonl", many(200, "neu"), '{"id": "new", "text": "글"}')
    bench.index()
    assert bench.store.asked("defer index", "build index") == expected


def test_an_index_that_a_cancelled_job_left_unbuilt_is_built_by_the_next_one(bench: Bench) -> None:
    """However small that is."""
    bench.write("a.jsonl", many(80))
    cancelled = bench.submit()
    bench.worker.advance(cancelled)
    bench.ledger.cancel_job(cancelled)
    bench.store.exists = True
    assert bench.store.is_deferred
    bench.write("a.jsonl", TWO)
    bench.index()
    assert not bench.store.is_deferred


def test_the_index_is_built_when_everything_is_in(bench: Bench) -> None:
    """After the last point, before the job has ended."""
    bench.write("a.jsonl", many(80))
    job_id = bench.submit()
    states: list[JobState] = []
    build = bench.store.build_index

    def build_and_note(collection: str, check: Any) -> None:
        states.append(bench.ledger.progress(job_id).state)
        build(collection, check)

    bench.store.build_index = build_and_note  # type: ignore[method-assign]
    bench.run(job_id)
    assert states == [JobState.FINISHING]
    assert bench.store.calls[-1][0] == "build index"


def test_a_finisher_that_loses_the_store_is_sent_again(bench: Bench) -> None:
    """Removals that were begun are ended by the next one."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.write("a.jsonl", {"1": "하나"})
    delete, failures = bench.store.delete_documents, [UnavailableError("Qdrant is away")]

    def fail_once(collection: str, document_ids: Any) -> int:
        if failures:
            raise failures.pop()
        return delete(collection, document_ids)

    bench.store.delete_documents = fail_once  # type: ignore[method-assign]
    progress = bench.index()
    assert (progress.state, progress.documents_removed, set(bench.texts())) == (JobState.SUCCEEDED, 1, {"1"})


# Dead letters


@pytest.mark.parametrize(("word", "reason"), [(UNENCODABLE, "refused_by_encoder"), (UNSTORABLE, "refused_by_store")])
def test_a_refused_document_is_a_dead_letter_and_tried_again(word: str, reason: str, bench: Bench) -> None:
    """The job succeeds; the next one reads its file again, for the refusal may pass."""
    bench.write("a.jsonl", {"1": "하나", "2": word, "3": "셋"})
    job_id = bench.submit()
    progress = bench.run(job_id)
    assert (progress.state, progress.documents_indexed, progress.documents_rejected) == (JobState.SUCCEEDED, 2, 1)
    assert (set(bench.texts()), bench.dead_letters(job_id)) == ({"1", "3"}, [("2", reason)])
    again = bench.submit()
    progress = bench.run(again)
    assert (bench.dead_letters(again), progress.documents_unchanged) == ([("2", reason)], 2)


def test_an_earlier_version_of_a_refused_document_goes(bench: Bench) -> None:
    """What is found is what stands in the source, or nothing."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.write("a.jsonl", {"1": "하나", "2": UNSTORABLE})
    bench.index()
    assert bench.texts() == {"1": "하나"}


def test_a_file_that_changed_since_the_plan_is_a_dead_letter(bench: Bench) -> None:
    """One for all documents of the partition; the job goes on, and the next one finds the new version."""
    bench.write("a.jsonl", many(6))
    bench.write("b.jsonl", {"x": "글"})
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    bench.write("a.jsonl", many(6, "새 글"))
    progress = bench.run(job_id)
    assert (progress.state, progress.documents_indexed, progress.documents_rejected) == (JobState.SUCCEEDED, 1, 6)
    assert [(each.reason, each.documents) for each in bench.rejections(job_id)] == [
        ("changed_while_read", 4),
        ("changed_while_read", 2),
    ]
    assert bench.index().documents_indexed == 6


def test_a_file_that_vanished_since_the_plan_is_a_dead_letter(bench: Bench) -> None:
    """It is said to be gone."""
    path = bench.write("a.jsonl", TWO)
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    path.unlink()
    assert bench.run(job_id).state is JobState.SUCCEEDED
    assert bench.dead_letters(job_id) == [("a.jsonl", "vanished")]


def test_a_poisonous_document_is_found_by_halving(bench: Bench) -> None:
    """Workers die on it; it stands alone in the end and is left out, and all its neighbours are stored."""
    documents = {**many(7), "5": POISON}
    bench.write("a.jsonl", documents)
    job_id = bench.submit()
    progress = bench.run(job_id)
    assert (progress.state, progress.documents_indexed, progress.documents_rejected) == (JobState.SUCCEEDED, 6, 1)
    assert set(bench.texts()) == set(documents) - {"5"}
    (rejection,) = bench.rejections(job_id)
    assert (rejection.reason, rejection.line) == ("worker_died", 6)


# Retrying


def test_a_retry_reads_only_what_was_left_out(bench: Bench) -> None:
    """Files of which nothing was left out are passed over, even those that are new."""
    bench.write("a.jsonl", {"1": "하나"})
    bench.write("b.jsonl", {"2": UNENCODABLE})
    job_id = bench.submit()
    bench.run(job_id)
    bench.write("a.jsonl", {"1": "새 글"})
    bench.write("b.jsonl", {"2": "둘"})
    bench.write("c.jsonl", {"3": "셋"})
    retry = bench.ledger.retry_job(job_id, "")
    bench.queue.send_job(retry)
    assert bench.run(retry).documents_total == 1
    assert bench.texts() == TWO


def test_a_retry_can_be_for_one_reason(bench: Bench) -> None:
    """Files with other faults are passed over."""
    bench.write("a.jsonl", {"1": UNSTORABLE})
    bench.write("b.jsonl", {"2": UNENCODABLE})
    job_id = bench.submit()
    bench.run(job_id)
    bench.write("a.jsonl", {"1": "하나"})
    bench.write("b.jsonl", {"2": "둘"})
    retry = bench.ledger.retry_job(job_id, "refused_by_encoder")
    bench.queue.send_job(retry)
    bench.run(retry)
    assert bench.texts() == {"2": "둘"}


def test_a_retry_takes_no_document_away_from_a_file_that_it_passes_over(bench: Bench) -> None:
    """A duplicate stays one when its first place is not read."""
    bench.write("a.jsonl", TWO)
    bench.write("b.jsonl", {"2": "zweimal", "3": "셋"})
    job_id = bench.submit()
    bench.run(job_id)
    retry = bench.ledger.retry_job(job_id, "")
    bench.queue.send_job(retry)
    bench.run(retry)
    assert bench.texts() == {**TWO, "3": "셋"}
    assert bench.dead_letters(retry) == [("2", "duplicate_id")]


def test_a_cancelled_job_is_begun_anew_and_skips_what_is_stored(bench: Bench) -> None:
    """Retrying one that did not come to its end is the same job again."""
    bench.write("a.jsonl", many(8))
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    bench.worker.index(bench.queue.partitions.pop(0))
    bench.ledger.cancel_job(job_id)
    retry = bench.ledger.retry_job(job_id, "")
    bench.queue.send_job(retry)
    progress = bench.run(retry)
    assert (progress.documents_unchanged, progress.documents_indexed) == (4, 4)
    assert bench.texts() == many(8)


# Cancelling


@pytest.mark.usefixtures("small_batches")
def test_a_worker_leaves_a_job_that_was_cancelled(bench: Bench) -> None:
    """Between two batches; what it has written stays, and the job stays cancelled."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()
    bench.store.before_upsert = lambda: bench.ledger.cancel_job(job_id)
    assert bench.run(job_id).state is JobState.CANCELLED
    assert bench.texts() == {"0": "글 0"}


@pytest.mark.usefixtures("small_batches")
def test_what_a_cancelled_job_left_half_done_is_not_believed(bench: Bench) -> None:
    """The next job stores all of it, for nobody knows what is there."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()
    bench.store.before_upsert = lambda: bench.ledger.cancel_job(job_id)
    bench.run(job_id)
    assert bench.index().documents_indexed == 4
    assert bench.texts() == many(4)


def test_a_planner_leaves_a_job_that_was_cancelled(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes no plan, and no partition is sent."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()
    monkeypatch.setattr(bench.store, "check_version", lambda: bench.ledger.cancel_job(job_id))
    assert bench.run(job_id).state is JobState.CANCELLED
    assert (bench.queue.partitions, bench.texts()) == ([], {})


# Pushed and deleted documents beside a running job


def test_pushed_documents_are_stored(bench: Bench) -> None:
    """In place of older versions, with nothing left of them."""
    bench.write("a.jsonl", {"1": "하나\n둘\n셋"})
    bench.index()
    progress = bench.run(bench.push({"1": "새 글", "p": "민 글"}))
    assert (progress.state, progress.documents_indexed) == (JobState.SUCCEEDED, 2)
    assert bench.texts() == {"1": "새 글", "p": "민 글"}


def test_a_document_pushed_again_as_it_is_costs_nothing(bench: Bench) -> None:
    """It is not encoded."""
    bench.run(bench.push({"p": "민 글"}))
    bench.encoder.calls.clear()
    assert bench.run(bench.push({"p": "민 글"})).documents_unchanged == 1
    assert bench.encoder.calls == []


def test_a_pushed_document_does_not_wait_for_a_job(bench: Bench) -> None:
    """It is stored while the job on the same collection goes on."""
    bench.write("a.jsonl", many(8))
    bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    push = bench.push({"p": "민 글"})
    bench.worker.index(bench.queue.partitions.pop())
    assert bench.ledger.progress(push).state is JobState.SUCCEEDED
    assert bench.texts() == {"p": "민 글"}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("document_id", ["0", "1", "3"])
def test_a_document_pushed_during_a_job_is_the_newer_one(document_id: str, bench: Bench) -> None:
    """Whether the job has written its own version already, or is about to."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()

    def push() -> None:
        bench.push({document_id: "민 글"})
        bench.worker.index(bench.queue.partitions.pop())

    bench.store.before_upsert = lambda: setattr(bench.store, "before_upsert", push)
    bench.run(job_id)
    assert bench.texts() == {**many(4), document_id: "민 글"}


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("document_id", ["0", "1", "3"])
def test_a_document_deleted_during_a_job_stays_deleted(document_id: str, bench: Bench) -> None:
    """Whether the job has written it already, or is about to."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()
    bench.store.before_upsert = lambda: setattr(bench.store, "before_upsert", lambda: bench.delete(document_id))
    bench.run(job_id)
    assert set(bench.texts()) == {"0", "1", "2", "3"} - {document_id}


def test_a_document_deleted_before_its_partition_is_not_stored(bench: Bench) -> None:
    """A deletion is newer than every job that began before it."""
    bench.write("a.jsonl", many(8))
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    bench.delete("7")
    progress = bench.run(job_id)
    assert (set(bench.texts()), progress.documents_unchanged) == (set(many(7)), 1)


@pytest.mark.usefixtures("small_batches")
def test_a_job_that_fails_hides_nothing_newer(bench: Bench) -> None:
    """Its worker wrote an older version over a pushed one before the error; the pushed one is stored again."""
    bench.write("a.jsonl", many(4))
    job_id = bench.submit()

    def push_and_fail() -> None:
        bench.push({"0": "민 글"})
        bench.worker.index(bench.queue.partitions.pop())
        # As if the job's version had come a moment later.
        bench.store.points |= stored_by_job
        bench.store.errors = [ConflictError("Qdrant is too old")]

    stored_by_job: dict[str, Any] = {}

    def remember() -> None:
        stored_by_job.update(bench.store.points)
        push_and_fail()

    bench.store.before_upsert = lambda: setattr(bench.store, "before_upsert", remember)
    assert bench.run(job_id).state is JobState.FAILED
    assert bench.texts()["0"] == "민 글"


def test_a_deleted_document_comes_back_with_its_next_version(bench: Bench) -> None:
    """An unchanged file leaves it deleted; a changed one has it stored."""
    path = bench.write("a.jsonl", TWO)
    bench.index()
    bench.delete("2")
    bench.index()
    assert set(bench.texts()) == {"1"}
    bench.touch(path)
    bench.index()
    assert bench.texts() == TWO


def test_deletions_are_forgotten_when_no_job_is_old_enough(bench: Bench) -> None:
    """A day later, nothing that began before the deletion can store the document any more."""
    bench.write("a.jsonl", TWO)
    older = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    bench.delete("2", "elsewhere")
    job = bench.ledger.claim_partition(bench.queue.partitions[0], "looks", 1, 3)
    assert job is not None
    assert set(bench.ledger.known_documents(job.job, ["2", "elsewhere"])) == {"2", "elsewhere"}
    bench.run(older)
    bench.write("b.jsonl", {"3": "셋"})
    bench.index()
    assert set(bench.ledger.known_documents(job.job, ["2", "elsewhere"])) == {"2", "elsewhere"}
    bench.now += 86_400
    bench.index()
    assert bench.ledger.known_documents(job.job, ["2", "elsewhere"]) == {}


# Neighbours that are away


def test_a_store_that_is_away_postpones_the_partition(bench: Bench) -> None:
    """It is given back with the reason, does not count as a death, and is finished when it is sent again."""
    bench.write("a.jsonl", TWO)
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    (only,) = bench.queue.partitions
    for _ in range(10):
        bench.store.errors = [UnavailableError("Qdrant is away")]
        bench.worker.index(only)
    progress = bench.ledger.progress(job_id)
    assert (progress.state, progress.error) == (JobState.RUNNING, "Qdrant is away")
    assert bench.run(job_id).state is JobState.SUCCEEDED


def test_an_error_that_time_does_not_heal_fails_the_job(bench: Bench) -> None:
    """The reason is in the ledger, for the user to read."""
    bench.write("a.jsonl", TWO)
    bench.store.errors = [ConflictError("Qdrant is too old")]
    progress = bench.index()
    assert (progress.state, progress.error) == (JobState.FAILED, "Qdrant is too old")


def test_a_pushed_document_that_cannot_be_stored_is_a_dead_letter(bench: Bench) -> None:
    """Whoever pushed it finds it by its job."""
    job_id = bench.push({"p": UNSTORABLE, "q": "민 글"})
    assert bench.run(job_id).state is JobState.SUCCEEDED
    assert (set(bench.texts()), bench.dead_letters(job_id)) == ({"q"}, [("p", "refused_by_store")])


def test_a_pushed_job_cannot_be_retried(bench: Bench) -> None:
    """Its documents may be gone; they are pushed again."""
    job_id = bench.push({"p": UNSTORABLE})
    bench.run(job_id)
    with pytest.raises(InvalidRequestError, match="push them again"):
        bench.ledger.retry_job(job_id, "")
