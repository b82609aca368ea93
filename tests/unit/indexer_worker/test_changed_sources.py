"""A job on sources that an earlier job has read: what is read, encoded and removed."""

import gzip
import io
import os
import shutil
from pathlib import Path
from typing import IO, Any

import orjson
import pytest

from indexer_worker import planner
from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers import byte_streams
from kosearch.jobs import JobState, SourceFields
from tests.unit.indexer_worker.bench import FINGERPRINT, Bench

TWO = {"1": "하나", "2": "둘"}


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that planners read, as they are read."""
    names: list[str] = []
    open_bytes = planner.open_bytes

    def open_and_note(path: Path) -> IO[bytes]:
        names.append(path.name)
        return open_bytes(path)

    monkeypatch.setattr(planner, "open_bytes", open_and_note)
    return names


# What is read and encoded


def test_unchanged_files_are_neither_read_nor_encoded(bench: Bench, opened: list[str]) -> None:
    """The second job knows from size and time that there is nothing to do, and counts what is stored."""
    bench.write("a.jsonl", TWO)
    bench.write("b.jsonl", {"3": "셋"})
    bench.index()
    opened.clear()
    bench.encoder.calls.clear()
    progress = bench.index()
    assert (opened, bench.encoder.calls) == ([], [])
    assert (progress.documents_total, progress.documents_unchanged, progress.documents_indexed) == (3, 3, 0)


def test_what_is_wrong_with_an_unchanged_file_is_said_again(bench: Bench, opened: list[str]) -> None:
    """Each job has the whole list of what is left out, however often the file was passed over."""
    bench.write("a.jsonl", TWO, "{", '{"id": "4", "text": ""}')
    first = bench.submit()
    bench.run(first)
    again = [bench.submit() for _ in range(3)]
    for job_id in again:
        bench.run(job_id)
        assert bench.rejections(job_id) == bench.rejections(first)
    assert opened == ["a.jsonl"]


def test_the_faults_of_an_unchanged_file_outlive_a_planner(bench: Bench) -> None:
    """A planner that died after it had passed the file over takes nothing along."""
    bench.write("a.jsonl", TWO, "{")
    first = bench.submit()
    bench.run(first)
    second = bench.submit()
    job = bench.ledger.claim_job(second, "dies", 1, 3)
    assert job is not None
    writer = bench.ledger.plan_writer(job, "dies")
    writer.begin()
    planner.plan_job(job, bench.settings, writer, bench.served.signature, None, int)
    bench.run(second)
    assert bench.rejections(second) == bench.rejections(first)


def test_a_touched_file_is_read_and_nothing_encoded(bench: Bench, opened: list[str]) -> None:
    """Another time of change alone costs a look at the file."""
    path = bench.write("a.jsonl", TWO)
    bench.index()
    bench.encoder.calls.clear()
    bench.touch(path)
    progress = bench.index()
    assert (opened, bench.encoder.calls) == (["a.jsonl"] * 2, [])
    assert progress.documents_unchanged == 2


def test_files_can_be_read_all_the_same(bench: Bench, opened: list[str]) -> None:
    """`--reread` is for whoever does not trust the time of change; nothing is encoded for it."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.encoder.calls.clear()
    assert bench.index(rereads=True).documents_unchanged == 2
    assert (opened, bench.encoder.calls) == (["a.jsonl"] * 2, [])


def test_only_changed_documents_are_encoded(bench: Bench) -> None:
    """New ones and those with another text, title or field; the others of the file stay as they are."""
    bench.write("a.jsonl", {str(n): f"글 {n}" for n in range(10)})
    bench.index()
    bench.encoder.calls.clear()
    bench.write("a.jsonl", {str(n): f"글 {n}" if n != 5 else "새 글" for n in range(11)})
    progress = bench.index()
    assert sorted(bench.encoder.texts) == ["글 10", "새 글"]
    assert (progress.documents_total, progress.documents_indexed, progress.documents_unchanged) == (11, 2, 9)
    assert bench.texts()["5"] == "새 글"


def test_other_fields_make_another_document(bench: Bench) -> None:
    """What filters reach is stored anew when it changes."""
    bench.write("a.jsonl", {}, '{"id": "1", "text": "하나", "year": 2023}')
    bench.index()
    bench.write("a.jsonl", {}, '{"id": "1", "text": "하나", "year": 2024}')
    assert bench.index().documents_indexed == 1
    ((chunk, _),) = bench.store.points.values()
    assert chunk.document.fields == {"year": 2024}


def test_another_model_or_chunking_makes_everything_new(bench: Bench) -> None:
    """What was stored with another signature is stale."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.change_model("another way of chunking")
    assert bench.index().documents_indexed == 2
    assert bench.encoder.fingerprint == FINGERPRINT


def test_other_field_names_have_the_file_read_again(bench: Bench) -> None:
    """They decide what a document is."""
    bench.write("a.jsonl", {}, '{"id": "1", "text": "하나", "내용": "다른 글"}')
    bench.index()
    bench.index(fields=SourceFields("id", "내용", "title"))
    assert bench.texts() == {"1": "다른 글"}


@pytest.mark.parametrize("lost", [1, 2])
def test_a_store_that_lost_points_gets_everything_anew(lost: int, bench: Bench) -> None:
    """The ledger is not believed when the store has less than it says: deleted, or put back from an older copy."""
    bench.write("a.jsonl", TWO)
    bench.index()
    for point in list(bench.store.points)[:lost]:
        del bench.store.points[point]
    assert bench.index().documents_indexed == 2
    assert bench.texts() == TWO


# What is removed


def test_vanished_documents_are_removed_after_the_new_ones_are_in(bench: Bench) -> None:
    """Whoever searches meanwhile finds the one or the other."""
    bench.write("a.jsonl", {"old": "옛 글"})
    bench.index()
    bench.store.calls.clear()
    bench.write("a.jsonl", {"new": "새 글"})
    progress = bench.index()
    assert bench.store.asked("upsert", "delete") == ["upsert", "delete"]
    assert (bench.texts(), progress.documents_removed) == ({"new": "새 글"}, 1)


@pytest.mark.parametrize("root", ["", "**/*.jsonl"])
def test_documents_of_a_vanished_file_are_removed(root: str, bench: Bench) -> None:
    """From a folder, or a pattern, that was listed completely."""
    bench.write("a.jsonl", {"1": "하나"})
    gone = bench.write("sub/b.jsonl", {"2": "둘"})
    bench.index(bench.folder / root)
    gone.unlink()
    progress = bench.index(bench.folder / root)
    assert (bench.texts(), progress.documents_removed) == ({"1": "하나"}, 1)


def test_a_file_that_comes_back_as_it_was_is_indexed_again(bench: Bench) -> None:
    """Size and time are those of before, and yet its documents are gone."""
    gone = bench.write("a.jsonl", {"1": "하나"})
    bench.write("b.jsonl", {"2": "둘"})
    bench.index()
    away = bench.folder.parent / "a.jsonl"
    gone.rename(away)
    bench.index()
    away.rename(gone)
    assert bench.index().documents_indexed == 1
    assert set(bench.texts()) == {"1", "2"}


def test_a_removal_outlives_its_planner(bench: Bench) -> None:
    """Planned, and begun anew after the planner died: the documents of the vanished file go all the same."""
    bench.write("a.jsonl", {"1": "하나"})
    gone = bench.write("b.jsonl", {"2": "둘"})
    bench.index()
    gone.unlink()
    job_id = bench.submit()
    job = bench.ledger.claim_job(job_id, "dies", 1, 3)
    assert job is not None
    writer = bench.ledger.plan_writer(job, "dies")
    writer.begin()
    planner.plan_job(job, bench.settings, writer, bench.served.signature, None, int)
    bench.run(job_id)
    assert set(bench.texts()) == {"1"}


def test_a_removal_outlives_its_job(bench: Bench) -> None:
    """A job that was cancelled before it removed anything leaves that to the next one."""
    bench.write("a.jsonl", {"1": "하나"})
    gone = bench.write("b.jsonl", {"2": "둘"})
    bench.index()
    gone.unlink()
    job_id = bench.submit()
    bench.worker.advance(bench.queue.jobs.pop())
    bench.ledger.cancel_job(job_id)
    bench.index()
    assert set(bench.texts()) == {"1"}


def test_a_folder_that_is_gone_takes_nothing_along(bench: Bench) -> None:
    """Its disk may only be missing for a while."""
    bench.write("sub/a.jsonl", TWO)
    bench.index(bench.folder / "sub")
    shutil.rmtree(bench.folder / "sub")
    job_id = bench.submit(bench.folder / "sub")
    assert bench.run(job_id).documents_removed == 0
    assert (bench.texts(), bench.dead_letters(job_id)) == (TWO, [("sub", "no_such_path")])


def test_an_empty_folder_takes_nothing_along(bench: Bench) -> None:
    """It is what a disk that is not there leaves behind."""
    bench.write("sub/a.jsonl", TWO)
    bench.index(bench.folder / "sub")
    (bench.folder / "sub/a.jsonl").unlink()
    job_id = bench.submit(bench.folder / "sub")
    bench.run(job_id)
    assert (bench.texts(), bench.dead_letters(job_id)) == (TWO, [("sub", "empty_folder")])


def test_a_folder_that_cannot_be_read_takes_nothing_along(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does what lies beside it: the list of the files is not complete."""
    bench.write("sub/a.jsonl", TWO)
    gone = bench.write("b.jsonl", {"3": "셋"})
    bench.index()
    gone.unlink()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if Path(path).name == "sub":
            raise PermissionError(13, "not yours")
        return scandir(path)

    with monkeypatch.context() as patched:
        patched.setattr("indexer_worker.sources.os.scandir", refuse)
        job_id = bench.submit()
        bench.run(job_id)
    assert (set(bench.texts()), bench.dead_letters(job_id)) == ({"1", "2", "3"}, [("sub", "no_permission")])


def test_a_nameless_fault_may_be_any_document(bench: Bench) -> None:
    """A line that cannot be read may be the document that is missing: nothing of the file is removed."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.write("a.jsonl", {"1": "하나"}, '{"id": "2", "text"')
    bench.index()
    assert bench.texts() == TWO


def test_a_document_that_became_faulty_stays_as_it_was(bench: Bench) -> None:
    """It stands in its source, and its earlier version is better than none."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.write("a.jsonl", {"1": "하나", "2": ""})
    bench.index()
    assert bench.texts() == TWO


def test_a_damaged_file_takes_nothing_along(bench: Bench) -> None:
    """Half an archive says nothing about the other half."""
    path = bench.folder / "a.jsonl.gz"
    content = gzip.compress("".join(f'{{"id": {n}, "text": "글 {n}"}}\n' for n in range(50)).encode())
    path.write_bytes(content)
    bench.index()
    path.write_bytes(content[:-20])
    job_id = bench.submit()
    bench.run(job_id)
    assert (len(bench.texts()), bench.dead_letters(job_id)) == (50, [("a.jsonl.gz", "unreadable_file")])


def test_files_of_other_jobs_are_left_alone(bench: Bench) -> None:
    """A job removes what its own paths would have found."""
    bench.write("a/1.jsonl", {"1": "하나"})
    bench.write("b/2.jsonl", {"2": "둘"})
    bench.index()
    (bench.folder / "b/2.jsonl").unlink()
    bench.index(bench.folder / "a")
    assert bench.texts() == TWO


# The same document in several files


def test_a_document_that_moved_to_another_file_stays(bench: Bench) -> None:
    """It is neither encoded nor removed, and belongs to its new file from then on."""
    bench.write("a.jsonl", TWO)
    bench.write("b.jsonl", {"3": "셋"})
    bench.index()
    bench.encoder.calls.clear()
    bench.write("a.jsonl", {"1": "하나"})
    bench.write("b.jsonl", {"3": "셋", "2": "둘"})
    progress = bench.index()
    assert (bench.encoder.calls, progress.documents_unchanged, progress.documents_removed) == ([], 3, 0)
    (bench.folder / "a.jsonl").unlink()
    bench.index()
    assert set(bench.texts()) == {"2", "3"}


def test_a_file_that_was_renamed_is_read_and_nothing_encoded(bench: Bench) -> None:
    """Its documents are those of the file that is gone."""
    path = bench.write("a.jsonl", TWO)
    bench.index()
    bench.encoder.calls.clear()
    path.rename(bench.folder / "b.jsonl")
    progress = bench.index()
    assert (bench.encoder.calls, progress.documents_removed, bench.texts()) == ([], 0, TWO)


def test_a_document_of_an_unchanged_file_is_no_other_file_s(bench: Bench) -> None:
    """The second place of an identifier is a duplicate, also when the first one was not read."""
    bench.write("a.jsonl", TWO)
    bench.index()
    bench.write("b.jsonl", {"2": "다른 글", "3": "셋"})
    job_id = bench.submit()
    bench.run(job_id)
    assert (bench.texts()["2"], bench.dead_letters(job_id)) == ("둘", [("2", "duplicate_id")])
    assert "a.jsonl already" in bench.rejections(job_id)[0].detail


# Equal content


def test_equal_content_is_stored_once_when_that_is_wanted(bench: Bench) -> None:
    """Title and text decide; the first one is stored, and the others name it."""
    bench.write("a.jsonl", {"1": "같은 글", "2": "같은 글", "3": "다른 글"})
    bench.write("b.jsonl", {"4": "같은 글"})
    job_id = bench.submit(drops_duplicates=True)
    bench.run(job_id)
    assert set(bench.texts()) == {"1", "3"}
    assert bench.dead_letters(job_id) == [("2", "duplicate_content"), ("4", "duplicate_content")]
    assert all("'1'" in each.detail for each in bench.rejections(job_id))


def test_content_of_earlier_jobs_counts(bench: Bench) -> None:
    """Also when those jobs did not look at it."""
    bench.write("a.jsonl", {"1": "같은 글"})
    bench.index()
    bench.write("b.jsonl", {"2": "같은 글"})
    job_id = bench.submit(drops_duplicates=True)
    assert bench.run(job_id).documents_unchanged == 1
    assert (set(bench.texts()), bench.dead_letters(job_id)) == ({"1"}, [("2", "duplicate_content")])


def test_content_that_was_given_up_is_free(bench: Bench) -> None:
    """When the first one says something else, the second one is stored."""
    bench.write("a.jsonl", {"1": "같은 글"})
    bench.write("b.jsonl", {"2": "같은 글"})
    bench.index(drops_duplicates=True)
    bench.write("a.jsonl", {"1": "다른 글"})
    bench.index(drops_duplicates=True)
    assert bench.texts() == {"1": "다른 글", "2": "같은 글"}


def test_equal_content_is_stored_as_often_as_it_comes_otherwise(bench: Bench) -> None:
    """Two documents may say the same."""
    bench.write("a.jsonl", {"1": "같은 글", "2": "같은 글"})
    bench.index()
    assert set(bench.texts()) == {"1", "2"}


# Files of other programs


class Converter:
    """Converts a file to its own content, and counts."""

    def __init__(self) -> None:
        self.converted: list[str] = []

    def __call__(self, path: Path) -> IO[bytes]:
        self.converted.append(path.name)
        text = path.read_text(encoding="utf-8")
        if text == "damaged":
            raise ConversionError(Reason.DAMAGED, f"{path.name} is damaged")
        return io.BytesIO(orjson.dumps({"title": path.stem, "text": text}) + b"\n")


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Converter:
    made = Converter()
    monkeypatch.setattr(byte_streams, "open_converted", made)
    return made


def write_foreign(bench: Bench, name: str, content: str) -> Path:
    path = bench.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content, encoding="utf-8")
    bench.touch(path)
    return path


def test_a_foreign_file_is_converted_once(bench: Bench, converter: Converter) -> None:
    """By the worker that indexes it, not by the planner, and not again while it is as it was."""
    write_foreign(bench, "공고.hwp", "입법예고")
    first, second = bench.index(), bench.index()
    assert (bench.texts(), converter.converted) == ({"공고.hwp": "입법예고"}, ["공고.hwp"])
    assert (first.documents_total, first.documents_indexed, second.documents_unchanged) == (1, 1, 1)


def test_a_touched_foreign_file_is_converted_and_not_encoded(bench: Bench, converter: Converter) -> None:
    """Its text is the same."""
    path = write_foreign(bench, "공고.hwp", "입법예고")
    bench.index()
    bench.encoder.calls.clear()
    bench.touch(path)
    progress = bench.index()
    assert (len(converter.converted), bench.encoder.calls) == (2, [])
    assert (progress.documents_total, progress.documents_unchanged, progress.documents_indexed) == (1, 1, 0)


@pytest.mark.usefixtures("converter")
def test_a_foreign_file_that_cannot_be_converted_says_why(bench: Bench) -> None:
    """One dead letter with the converter's word; what was stored of it stays."""
    write_foreign(bench, "공고.hwp", "입법예고")
    bench.index()
    write_foreign(bench, "공고.hwp", "damaged")
    job_id = bench.submit()
    assert bench.run(job_id).state is JobState.SUCCEEDED
    assert (bench.texts(), bench.dead_letters(job_id)) == ({"공고.hwp": "입법예고"}, [("공고.hwp", "damaged")])


def test_a_foreign_file_that_stays_damaged_is_not_converted_again(bench: Bench, converter: Converter) -> None:
    """Its fault is repeated from the ledger."""
    write_foreign(bench, "공고.hwp", "damaged")
    first, second = bench.submit(), bench.submit()
    bench.run(second)
    assert converter.converted == ["공고.hwp"]
    assert bench.dead_letters(first) == bench.dead_letters(second) == [("공고.hwp", "damaged")]


@pytest.mark.usefixtures("converter")
def test_a_foreign_file_s_name_may_be_taken_by_an_unchanged_one(bench: Bench) -> None:
    """Two folders with a file of one name: the first one is indexed, whether it was read or not."""
    one = write_foreign(bench, "a/공고.hwp", "입법예고")
    bench.index(one.parent)
    two = write_foreign(bench, "b/공고.hwp", "다른 글")
    job_id = bench.submit(one.parent, two.parent)
    bench.run(job_id)
    assert (bench.texts(), bench.dead_letters(job_id)) == ({"공고.hwp": "입법예고"}, [("공고.hwp", "duplicate_id")])


@pytest.mark.usefixtures("converter")
def test_equal_foreign_files_are_stored_once_when_that_is_wanted(bench: Bench) -> None:
    """What they hold is known to the worker alone."""
    write_foreign(bench, "a/공고.hwp", "입법예고")
    write_foreign(bench, "b/공고.hwp", "입법예고")
    job_id = bench.submit(drops_duplicates=True)
    bench.run(job_id)
    assert list(bench.texts()) == ["a/공고.hwp"]
    assert bench.dead_letters(job_id) == [("b/공고.hwp", "duplicate_content")]
