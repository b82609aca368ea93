"""Plans: what a planner finds in the ledger, and what becomes of the plan of one that died."""

from dataclasses import replace

import pytest

from kosearch.jobs import JobState, Rejection
from kosearch.ledger import KnownFile, Ledger, PlannedSpan, PlanWriter
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
    rejection,
    result,
    spans,
    stored,
    submit,
    take,
    version,
    write_plan,
    writer_of,
)


def file_of(writer: PlanWriter) -> KnownFile:
    """Return what is known of the laws' file."""
    found = writer.known_file(str(LAWS.path))
    assert found is not None
    return found


def index_with(ledger: Ledger, *rejections: Rejection) -> None:
    """Index a document, beside what cannot be indexed."""
    _, (number,) = plan(ledger, 1, rejections=rejections)
    stored(ledger, take(ledger, number), version("가"))


def test_partitions_come_in_the_order_of_the_plan(ledger: Ledger) -> None:
    """Also when it was written in parts."""
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    file_id = writer.open_file(LAWS, SIGNATURE)
    first, second, third = spans(5, 6, 7)
    writer.add([PlannedSpan(first, file_id)], [rejection(31)], unchanged=2)
    writer.add([PlannedSpan(second, file_id), PlannedSpan(third, file_id)], [rejection(32)], unchanged=3)
    partitions = [take(ledger, number) for number in writer.finish(replaces=True, builds_index=True)]
    assert [partition.span for partition in partitions] == [first, second, third]
    assert {partition.file_id for partition in partitions} == {file_id}
    assert {(partition.job.replaces, partition.job.builds_index) for partition in partitions} == {(True, True)}
    progress = ledger.progress(job_id)
    assert (progress.documents_total, progress.documents_unchanged, progress.documents_rejected) == (25, 5, 2)


def test_a_planner_drops_what_another_one_left(ledger: Ledger, clock: Clock) -> None:
    """Neither partitions nor rejections, removals or counts of the dead one's plan remain."""
    job_id = submit(ledger)
    dead = writer_of(ledger, job_id, "a")
    file_id = dead.open_file(LAWS, SIGNATURE)
    dead.add([PlannedSpan(span, file_id) for span in spans(5, 6)], [rejection(1)], unchanged=3)
    dead.remove(file_id, ["가"])
    clock.advance(LEASE_S + 1)
    writer = writer_of(ledger, job_id, "b")
    writer.begin()
    assert len(write_plan(writer, spans(4), [rejection(2)])) == 1
    progress = ledger.progress(job_id)
    assert (progress.state, progress.documents_total, progress.documents_unchanged) == (JobState.RUNNING, 5, 0)
    assert [each.line for each in ledger.rejections(job_id)] == [2]


# Files


def test_a_file_is_known_once_it_was_opened(ledger: Ledger) -> None:
    """With size, time and signature; whole when the job has succeeded."""
    writer = writer_of(ledger, submit(ledger))
    assert writer.known_file(str(LAWS.path)) is None
    file_id = writer.open_file(LAWS, SIGNATURE)
    opened = file_of(writer)
    assert (opened.id, opened.path, opened.is_complete) == (file_id, str(LAWS.path), False)
    assert (opened.size, opened.mtime_ns, opened.signature) == (LAWS.size, LAWS.mtime_ns, SIGNATURE)
    writer.finish(replaces=False, builds_index=False)
    assert file_of(writer) == replace(opened, is_complete=True)


def test_a_file_that_is_opened_again_keeps_its_number(ledger: Ledger) -> None:
    """It is not complete until the job that reads it has succeeded."""
    index_with(ledger)
    writer = writer_of(ledger, submit(ledger))
    before = file_of(writer)
    changed = replace(LAWS, size=2000, mtime_ns=5)
    assert writer.open_file(changed, "another model") == before.id
    opened = file_of(writer)
    assert (opened.size, opened.mtime_ns, opened.signature) == (2000, 5, "another model")
    assert (before.is_complete, opened.is_complete, opened.job_number) == (True, False, before.job_number + 1)


def test_files_of_another_collection_are_not_known(ledger: Ledger) -> None:
    """Each collection reads its sources itself."""
    index_with(ledger)
    writer = writer_of(ledger, submit(ledger, "cases"))
    assert writer.known_file(str(LAWS.path)) is None
    assert list(writer.known_files()) == []


def test_all_files_of_a_collection_are_known(ledger: Ledger) -> None:
    """In the order in which they were found first."""
    writer = writer_of(ledger, submit(ledger))
    numbers = [writer.open_file(replace(LAWS, path=LAWS.path.with_name(name)), "") for name in ("b", "a", "한글")]
    assert [(each.id, each.path) for each in writer.known_files()] == [
        (number, str(LAWS.path.with_name(name))) for number, name in zip(numbers, ("b", "a", "한글"), strict=True)
    ]


def test_files_of_a_job_that_failed_are_read_again(ledger: Ledger) -> None:
    """Nobody knows how much of them is stored."""
    job_id, _ = plan(ledger, 1)
    ledger.fail_job(job_id, "gone")
    assert not file_of(writer_of(ledger, submit(ledger))).is_complete


def test_a_file_is_complete_although_some_of_it_is_wrong(ledger: Ledger) -> None:
    """The same line would be refused again."""
    index_with(ledger, rejection(3, "malformed_json"))
    assert file_of(writer_of(ledger, submit(ledger))).is_complete


def test_a_file_is_read_again_when_what_was_wrong_may_pass(ledger: Ledger) -> None:
    """Because of one such fault among others."""
    index_with(ledger, rejection(3, "malformed_json"), rejection(4, "unreadable_file"))
    assert not file_of(writer_of(ledger, submit(ledger))).is_complete


def test_faults_of_other_files_do_not_matter(ledger: Ledger) -> None:
    """A file is judged by its own."""
    index_with(ledger, rejection(0, "unreadable_file", path="/data/other.jsonl"))
    assert file_of(writer_of(ledger, submit(ledger))).is_complete


def test_what_is_rejected_while_it_is_indexed_counts_for_its_file(ledger: Ledger) -> None:
    """A document on which workers died is tried by the next job."""
    _, (number,) = plan(ledger, 1)
    take(ledger, number)
    ledger.finish_partition(number, "a", result(rejections=[rejection(1, "refused_by_encoder")]))
    assert not file_of(writer_of(ledger, submit(ledger))).is_complete


# Files that are as they were


def test_a_kept_file_counts_its_documents(ledger: Ledger) -> None:
    """They are unchanged, and in the total."""
    index(ledger, version("가"), version("나"))
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    assert writer.keep_file(file_of(writer)) == 2
    writer.finish(replaces=True, builds_index=False)
    progress = ledger.progress(job_id)
    assert (progress.state, progress.documents_total, progress.documents_unchanged) == (JobState.SUCCEEDED, 2, 2)


def test_a_kept_file_repeats_what_was_wrong_with_it(ledger: Ledger) -> None:
    """However many jobs keep it; the faults of other files are their own."""
    index_with(ledger, rejection(3), rejection(4), rejection(1, path="/data/other.jsonl"))
    for _ in range(3):
        job_id = submit(ledger)
        writer = writer_of(ledger, job_id)
        writer.keep_file(file_of(writer))
        writer.finish(replaces=True, builds_index=False)
        assert list(ledger.rejections(job_id)) == [rejection(3), rejection(4)]
        assert file_of(writer).is_complete


def test_a_kept_file_repeats_it_when_its_first_planner_died(ledger: Ledger, clock: Clock) -> None:
    """What the dead one repeated is dropped, and not lost."""
    index_with(ledger, rejection(3))
    job_id = submit(ledger)
    dead = writer_of(ledger, job_id, "a")
    dead.keep_file(file_of(dead))
    clock.advance(LEASE_S + 1)
    writer = writer_of(ledger, job_id, "b")
    writer.begin()
    writer.keep_file(file_of(writer))
    writer.finish(replaces=True, builds_index=False)
    assert list(ledger.rejections(job_id)) == [rejection(3)]
    assert ledger.progress(job_id).documents_unchanged == 1


def test_a_kept_file_repeats_it_after_a_job_that_was_cancelled(ledger: Ledger) -> None:
    """The next job finds it all the same."""
    index_with(ledger, rejection(3))
    cancelled = submit(ledger)
    writer = writer_of(ledger, cancelled)
    writer.keep_file(file_of(writer))
    ledger.cancel_job(cancelled)
    job_id = submit(ledger)
    again = writer_of(ledger, job_id)
    again.keep_file(file_of(again))
    again.finish(replaces=True, builds_index=False)
    assert list(ledger.rejections(job_id)) == [rejection(3)]


# Files that are gone


def test_a_file_that_is_gone_is_forgotten_with_its_documents(ledger: Ledger) -> None:
    """When the job that removes them has succeeded."""
    index(ledger, version("가"))
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    file = file_of(writer)
    writer.remove(file.id, ["가"])
    writer.call_gone(file.id)
    writer.finish(replaces=True, builds_index=False)
    assert not file_of(writer).is_complete
    job = claim(ledger, job_id, "b")
    assert job is not None
    ledger.drop_removals(job, "b", ledger.next_removals(job, "b", 10))
    assert ledger.finish_job(job, "b")
    assert writer.known_file(str(LAWS.path)) is None


def test_a_file_without_documents_is_forgotten_at_once(ledger: Ledger) -> None:
    """Nothing of it is left to remove."""
    index(ledger)
    writer = writer_of(ledger, submit(ledger))
    writer.call_gone(file_of(writer).id)
    writer.finish(replaces=True, builds_index=False)
    assert writer.known_file(str(LAWS.path)) is None


@pytest.mark.parametrize("end", ["died", "cancelled"])
def test_a_file_is_known_until_its_documents_are_removed(end: str, ledger: Ledger, clock: Clock) -> None:
    """The plan may come to nothing, and the next one must find them."""
    index(ledger, version("가"))
    job_id = submit(ledger)
    former = writer_of(ledger, job_id, "a")
    file = file_of(former)
    former.remove(file.id, ["가"])
    former.call_gone(file.id)
    if end == "died":
        clock.advance(LEASE_S + 1)
    else:
        ledger.cancel_job(job_id)
        job_id = submit(ledger)
    writer = writer_of(ledger, job_id, "b")
    writer.begin()
    assert [each.id for each in writer.known_files()] == [file.id]
    assert list(writer.documents_of_file(file.id)) == ["가"]


def test_a_file_that_is_back_is_read(ledger: Ledger) -> None:
    """With the size and time that it had before it was gone."""
    index(ledger, version("가"))
    gone = submit(ledger)
    writer = writer_of(ledger, gone)
    file = file_of(writer)
    writer.call_gone(file.id)
    ledger.cancel_job(gone)
    again = writer_of(ledger, submit(ledger))
    assert not file_of(again).is_complete
    assert again.open_file(LAWS, SIGNATURE) == file.id
    again.finish(replaces=True, builds_index=False)
    assert file_of(again).is_complete


def test_a_forgotten_file_leaves_the_next_one_alone(ledger: Ledger) -> None:
    """A file that was renamed: its documents are removed from the old name, and belong to the new one."""
    index(ledger, version("가"), version("나"))
    job_id = submit(ledger)
    writer = writer_of(ledger, job_id)
    old = file_of(writer).id
    writer.remove(old, ["가", "나"])
    writer.call_gone(old)
    file_id = writer.open_file(CASES, SIGNATURE)
    writer.add([PlannedSpan(spans(1, source=CASES)[0], file_id)], [], 0)
    (number,) = writer.finish(replaces=True, builds_index=False)
    assert stored(ledger, take(ledger, number), version("가")) is JobState.FINISHING
    job = claim(ledger, job_id, "b")
    assert job is not None
    assert ledger.next_removals(job, "b", 10) == ["나"]


# Documents


def test_documents_of_a_file_are_those_that_may_be_there(ledger: Ledger) -> None:
    """Stored ones and begun ones; none that was deleted, pushed, or comes from another file."""
    index(ledger, version("가"), version("나"), version("다"))
    index(ledger, version("나"), source=CASES)
    ledger.delete_documents("laws", ["다"])
    _, (number,) = plan(ledger, 1)
    ledger.begin_documents(take(ledger, number), ["라"])
    ledger.fail_job(ledger.jobs(1)[0].id, "gone")
    writer = writer_of(ledger, submit(ledger))
    assert sorted(writer.documents_of_file(file_of(writer).id)) == ["가", "라"]


def test_what_is_known_of_documents(ledger: Ledger) -> None:
    """By identifier; those of which nothing is known are left out."""
    job = index(ledger, version("가", "1", chunks=3))
    writer = writer_of(ledger, submit(ledger))
    found = writer.known_documents(["가", "나"])
    assert list(found) == ["가"]
    assert (found["가"].digest, found["가"].chunks, found["가"].job_number) == (b"1", 3, job.number)


def test_more_documents_than_a_statement_takes(ledger: Ledger) -> None:
    """SQLite of old takes 999 variables."""
    versions = [version(f"글{number}") for number in range(2000)]
    job = index(ledger, *versions)
    names = [each.document_id for each in versions]
    assert len(ledger.known_documents(job, [*names, "없음"])) == 2000
    writer = writer_of(ledger, submit(ledger))
    assert set(writer.documents_of_file(file_of(writer).id)) == set(names)


def test_the_chunks_that_should_be_stored_are_counted(ledger: Ledger) -> None:
    """Those of one collection, without deleted documents."""
    index(ledger, version("가", chunks=3), version("나", chunks=4), version("다", chunks=5))
    index(ledger, version("가", chunks=100), collection="cases")
    ledger.delete_documents("laws", ["다"])
    assert writer_of(ledger, submit(ledger)).stored_chunks() == 7


def test_a_collection_that_was_lost_is_not_believed(ledger: Ledger) -> None:
    """Its documents and files are read again, deleted ones stay deleted; other collections are as they were."""
    lost = index(ledger, version("가"))
    other = index(ledger, version("가"), collection="cases")
    ledger.delete_documents("laws", ["나"])
    writer = writer_of(ledger, submit(ledger))
    writer.forget_documents()
    assert writer.stored_chunks() == 0
    document, deleted = known(ledger, lost, "가"), known(ledger, lost, "나")
    assert document is not None
    assert (document.digest != b"1", document.chunks, document.is_deleted) == (True, 0, False)
    assert deleted is not None
    assert deleted.is_deleted
    assert not file_of(writer).is_complete
    kept = known(ledger, other, "가")
    assert kept is not None
    assert (kept.digest, kept.chunks) == (b"1", 2)
    assert file_of(writer_of(ledger, submit(ledger, "cases"))).is_complete
