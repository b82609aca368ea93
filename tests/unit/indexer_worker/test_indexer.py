"""Indexing one partition, with a real ledger and fakes for the encoder and the store."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from indexer_worker.indexer import Indexer
from kosearch.documents import Chunk, Document
from kosearch.errors import ConflictError, LeaseLostError, UnavailableError
from kosearch.jobs import Partition, Rejection, SourceFields
from kosearch.ledger import Ledger, PartitionResult
from tests.unit.indexer_worker.bench import (
    COLLECTION,
    FINGERPRINT,
    LONG,
    UNENCODABLE,
    UNSTORABLE,
    AtOnce,
    FakeEncoder,
    FakeStore,
    LineChunker,
    SplitWords,
)
from tests.unit.indexer_worker.sources import SIGNATURE, plan_in, worker_settings


class WatchedWords(SplitWords):
    """Remembers which chunks were settled, and whether they were stored by then."""

    def __init__(self, store: FakeStore) -> None:
        self.settled: list[tuple[str, bool]] = []
        self._store = store

    def settle(self, collection: str, chunks: Sequence[Chunk]) -> None:
        assert collection == COLLECTION
        self.settled += [(chunk.text, chunk.point_id in self._store.points) for chunk in chunks]


class Workbench:
    """An indexer between its neighbours."""

    def __init__(self) -> None:
        self.encoder, self.store = FakeEncoder(), FakeStore()
        self.words = WatchedWords(self.store)
        self.ledger = Ledger("sqlite://")
        self.written: set[str] = set()
        self._indexer = Indexer(
            self.encoder,
            self.store,
            self.ledger,
            LineChunker(),
            self.words,
            FINGERPRINT,
            SIGNATURE,
            worker_settings(),
            AtOnce(),
        )

    def close(self) -> None:
        self._indexer.close()
        self.ledger.close()

    def partitions(self, path: Path, *, fields: SourceFields | None = None, **options: Any) -> list[Partition]:
        """Return the partitions of a job on this file."""
        return plan_in(self.ledger, [path], fields, **options).partitions

    def index(self, partition: Partition, check_lease: Callable[[], None] = int) -> PartitionResult:
        return self._indexer.index(partition, check_lease, self.written)

    def texts(self) -> list[str]:
        """Return the texts that are stored, in the order in which they were first."""
        return [chunk.text for chunk, _ in self.store.points.values()]


@pytest.fixture
def workbench() -> Iterator[Workbench]:
    made = Workbench()
    yield made
    made.close()


def write(path: Path, texts: Sequence[str]) -> Path:
    lines = (json.dumps({"id": n, "text": text, "title": "제목"}, ensure_ascii=False) for n, text in enumerate(texts))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_chunk_is_stored_with_its_own_embedding(workbench: Workbench, tmp_path: Path) -> None:
    """Over several batches, chunks and rows stay together and in order."""
    texts = [f"{'가' * (n % 7)}글\n둘째 {n}" for n in range(400)]
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", texts))
    result = workbench.index(only)
    assert (result.documents, result.chunks, result.truncated) == (400, 800, 0)
    expected = [line for text in texts for line in text.splitlines()]
    assert workbench.texts() == expected
    rows = [row for _, row in workbench.store.points.values()]
    assert rows == [[len(f"제목 {line}"), 1.0] for line in expected]


def test_every_chunk_is_stored_with_its_own_words(workbench: Workbench, tmp_path: Path) -> None:
    """Also those of the batches that were divided because of a document that nobody takes."""
    texts = [f"글 {n}\n둘째 {n}" for n in range(300)]
    texts[5], texts[7] = f"{UNENCODABLE} 5", f"{UNSTORABLE} 7"
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", texts))[0])
    stored = {chunk.text: workbench.store.words[chunk.point_id] for chunk, _ in workbench.store.points.values()}
    assert len(stored) == 2 * 298
    for text, words in stored.items():
        (expected,) = SplitWords().vectors([Chunk(Document("d", text, "제목"), 0, text, text)])
        assert words.indices.tolist() == expected.indices.tolist()
        assert words.values.tolist() == expected.values.tolist()


def test_the_words_of_each_chunk_are_settled_once_it_is_stored(workbench: Workbench, tmp_path: Path) -> None:
    """The dictionary may have changed meanwhile; of what was refused there is nothing to settle."""
    texts = [f"글 {n}\n둘째 {n}" for n in range(300)]
    texts[7] = f"{UNSTORABLE} 7"
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", texts))[0])
    stored = [text for text, was_stored in workbench.words.settled if was_stored]
    assert sorted(stored) == sorted(workbench.texts())
    assert [text for text, was_stored in workbench.words.settled if not was_stored] == [texts[7]]


def test_the_title_is_encoded_with_the_text(workbench: Workbench, tmp_path: Path) -> None:
    """What the chunker wants encoded is what the encoder gets."""
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", ["글"]))[0])
    assert workbench.encoder.calls == [["제목 글"]]


def test_chunks_go_out_in_batches_that_are_durable(workbench: Workbench, tmp_path: Path) -> None:
    """Each batch is waited for, so that a partition called done is on disk."""
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", ["글"] * 600))[0])
    assert workbench.store.calls == [("upsert", ("laws", size, True)) for size in (256, 256, 88)]
    assert [len(texts) for texts in workbench.encoder.calls] == [256, 256, 88]


def test_a_batch_has_a_limit_of_bytes(workbench: Workbench, tmp_path: Path) -> None:
    """Long chunks make small batches."""
    texts = ["가" * 100_000] * 9
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", texts), max_line_bytes=1 << 20)
    workbench.index(only)
    assert [len(texts) for texts in workbench.encoder.calls] == [4, 4, 1]


def test_documents_of_files_are_bulk_and_pushed_ones_are_not(workbench: Workbench, tmp_path: Path) -> None:
    """Queries go before the former; somebody waits for the latter."""
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", ["글"]))[0])
    _, number = workbench.ledger.push_documents("laws", '{"id": "p", "text": "민 글", "title": ""}'.encode(), 1)
    pushed = workbench.ledger.claim_partition(number, "w", 10, 3)
    assert pushed is not None
    workbench.index(pushed)
    assert workbench.encoder.was_bulk == [True, False]


def test_stale_chunks_are_deleted_last_when_the_job_replaces(workbench: Workbench, tmp_path: Path) -> None:
    """What earlier versions of exactly these documents left goes, after the new chunks are in."""
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", ["하나\n둘", "셋"]), replaces=True)
    workbench.index(only)
    kept = list(workbench.store.points)
    assert workbench.store.calls == [("upsert", ("laws", 3, True)), ("delete stale", ("laws", kept))]


def test_nothing_is_deleted_in_a_new_collection(workbench: Workbench, tmp_path: Path) -> None:
    """A job on an empty collection has nothing to replace."""
    workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", ["하나"]), replaces=False)[0])
    assert [name for name, _ in workbench.store.calls] == ["upsert"]


def test_truncated_documents_are_counted_once(workbench: Workbench, tmp_path: Path) -> None:
    """A document of which two chunks were cut is one truncated document."""
    texts = [f"{LONG} 하나\n{LONG} 둘", "셋", f"넷\n{LONG} 다섯"]
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", texts))
    result = workbench.index(only)
    assert (result.chunks, result.truncated) == (5, 2)


def test_the_share_of_embedded_tokens_is_known(workbench: Workbench, tmp_path: Path) -> None:
    """Of a chunk that the encoder cut, what it read; of all others everything."""
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", ["셋 넷 다섯", f"{LONG} 하나 둘"]))
    result = workbench.index(only)
    assert (result.tokens, result.tokens_embedded) == (4 + 4, 4 + 2)


def test_rejected_lines_are_passed_over(workbench: Workbench, tmp_path: Path) -> None:
    """What the planner rejected, a duplicate for example, is not indexed."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "처음"}\n{"id": 1, "text": "다시"}\n{\n\n{"id": 2, "text": "끝"}\n')
    workbench.index(workbench.partitions(path)[0])
    assert workbench.texts() == ["처음", "끝"]


def test_partitions_of_a_table_know_its_header(workbench: Workbench, tmp_path: Path) -> None:
    """A partition from the middle of a CSV file has the column names of the first line."""
    path = tmp_path / "a.csv"
    path.write_text("번호,내용,법\n" + "".join(f'{n},"글 {n}",민법\n' for n in range(10)))
    fields = SourceFields("번호", "내용", "제목")
    for partition in workbench.partitions(path, fields=fields, partition_documents=3):
        workbench.index(partition)
    documents = [chunk.document for chunk, _ in workbench.store.points.values()]
    assert documents == [Document(str(n), f"글 {n}", "", {"법": "민법"}) for n in range(10)]


def test_partitions_may_come_in_any_order(workbench: Workbench, tmp_path: Path) -> None:
    """A retried first partition after a later one is read all the same."""
    cut = workbench.partitions(write(tmp_path / "a.jsonl", list(map(str, range(10)))), partition_documents=2)
    for partition in (cut[3], cut[0], cut[4], cut[2], cut[1]):
        workbench.index(partition)
    assert workbench.texts() == list("6701894523")


def test_the_lease_is_checked_before_each_batch_is_written(workbench: Workbench, tmp_path: Path) -> None:
    """A worker that lost its lease writes nothing more, and knows what it has written."""
    checks = 0

    def check_lease() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise LeaseLostError("lost")

    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", ["글"] * 600))
    with pytest.raises(LeaseLostError):
        workbench.index(only, check_lease)
    assert workbench.store.calls == [("upsert", ("laws", 256, True))]
    assert workbench.written == {str(n) for n in range(256)}


def test_the_next_batches_are_encoded_ahead(workbench: Workbench, tmp_path: Path) -> None:
    """When the first batch is written, the next two have been given to the encoder."""
    given: list[int] = []
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", ["글"] * 1000))
    workbench.index(only, lambda: given.append(len(workbench.encoder.calls)))
    assert given == [3, 4, 4, 4, 4]  # the last one after the last batch


def test_nothing_is_written_that_the_ledger_does_not_know_of(workbench: Workbench, tmp_path: Path) -> None:
    """Before its first point is written, a document stands in the ledger: whatever happens, it is not forgotten."""
    (only,) = workbench.partitions(write(tmp_path / "a.jsonl", ["하나", "둘"]))
    known: list[str] = []
    workbench.store.before_upsert = lambda: known.extend(workbench.ledger.known_documents(only.job, ["0", "1", "2"]))
    workbench.index(only)
    assert sorted(known) == ["0", "1"]


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "gone"])
def test_a_source_that_changed_is_left_out(change: str, workbench: Workbench, tmp_path: Path) -> None:
    """Spans of an old version would cut lines of the new one in two: one dead letter stands for the documents."""
    path = write(tmp_path / "a.jsonl", ["글"] * 10)
    (only,) = workbench.partitions(path)
    match change:
        case "longer":
            path.write_text(path.read_text() + "\n{}")
        case "shorter":
            os.truncate(path, 100)
        case "touched":
            os.utime(path, ns=(0, 0))
        case _:
            path.unlink()
    result = workbench.index(only)
    (rejection,) = result.rejections
    assert (rejection.path, rejection.line, rejection.documents) == (str(path), 0, 10)
    assert rejection.reason == ("vanished" if change == "gone" else "changed_while_read")
    assert (result.documents, workbench.store.calls) == (10, [])


def test_another_model_is_refused_before_anything_is_written(workbench: Workbench, tmp_path: Path) -> None:
    """Embeddings of two models in one collection cannot be compared."""
    workbench.encoder.fingerprint = "0" * 64
    with pytest.raises(ConflictError, match=r"0{12}.*f{12}"):
        workbench.index(workbench.partitions(write(tmp_path / "a.jsonl", ["글"]))[0])
    assert workbench.store.calls == []


def test_an_error_of_the_store_ends_the_partition(workbench: Workbench, tmp_path: Path) -> None:
    """The caller hears of it, and the next partition is indexed as usual."""
    first, second = workbench.partitions(write(tmp_path / "a.jsonl", ["하나", "둘"]), partition_documents=1)
    workbench.store.errors = [UnavailableError("away")]
    with pytest.raises(UnavailableError):
        workbench.index(first)
    assert workbench.index(second).chunks == 1
    assert workbench.index(first).chunks == 1


@pytest.mark.parametrize(("word", "reason"), [(UNENCODABLE, "refused_by_encoder"), (UNSTORABLE, "refused_by_store")])
def test_a_refused_document_costs_nobody_but_itself(
    word: str, reason: str, workbench: Workbench, tmp_path: Path
) -> None:
    """Its neighbours in the batch are stored with their own embeddings; of itself nothing stays, and it is told why."""
    texts = ["하나", f"둘\n{word}\n끝", "셋셋"]
    path = write(tmp_path / "a.jsonl", texts)
    (only,) = workbench.partitions(path)
    result = workbench.index(only)
    assert {chunk.text: row[0] for chunk, row in workbench.store.points.values()} == {"하나": 5.0, "셋셋": 5.0}
    (rejection,) = result.rejections
    assert isinstance(rejection, Rejection)
    assert (rejection.path, rejection.document_id, rejection.reason) == (str(path), "1", reason)
    assert "cannot be" in rejection.detail
    assert {each.document_id: each.chunks for each in result.versions} == {"0": 1, "1": 0, "2": 1}


def test_of_a_document_that_is_refused_late_nothing_stays(workbench: Workbench, tmp_path: Path) -> None:
    """Its first batches are written when the store refuses a later one; they go again."""
    (only,) = workbench.partitions(
        write(tmp_path / "a.jsonl", ["하나", "\n".join(["둘"] * 300 + [UNSTORABLE] + ["둘"] * 300)]),
        max_line_bytes=1 << 20,
    )
    result = workbench.index(only)
    assert workbench.texts() == ["하나"]
    assert (result.chunks, len(result.rejections)) == (1, 1)
