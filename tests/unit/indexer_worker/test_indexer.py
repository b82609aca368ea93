"""Indexing one partition, with fakes for the encoder and the store."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer_worker.indexer import Indexed, Indexer
from kosearch.client import Encoded
from kosearch.documents import Chunk, Document
from kosearch.errors import ConflictError, KosearchError, LeaseLostError, UnavailableError
from kosearch.jobs import Partition, SourceFields
from tests.unit.indexer_worker.sources import make_job, plan, worker_settings

FINGERPRINT = "f" * 64


@dataclass
class FakeEncoder:
    """Encodes a text to its length; cuts texts that hold 긴."""

    fingerprint: str = FINGERPRINT
    calls: list[list[str]] = field(default_factory=list)

    def encode(self, texts: Sequence[str]) -> Encoded:
        self.calls.append(list(texts))
        rows = np.array([[len(text), 1.0] for text in texts], dtype=np.float32)
        return Encoded(rows, tuple(map(len, texts)), tuple("긴" in text for text in texts), self.fingerprint)


@dataclass
class FakeStore:
    """Remembers what was asked of it, in order."""

    calls: list[tuple[str, Any]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    embeddings: list[list[float]] = field(default_factory=list)
    error: KosearchError | None = None

    def upsert_chunks(
        self, collection: str, chunks: Sequence[Chunk], embeddings: NDArray[np.float32], *, wait: bool
    ) -> None:
        if self.error:
            raise self.error
        self.calls.append(("upsert", (collection, len(chunks), wait)))
        self.chunks += chunks
        self.embeddings += embeddings.tolist()

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        self.calls.append(("delete stale", (collection, [chunk.point_id for chunk in chunks])))


class LineChunker:
    """Makes a chunk of each line."""

    def chunks(self, document: Document) -> Iterator[Chunk]:
        for index, text in enumerate(document.text.splitlines()):
            yield Chunk(document, index, text, f"{document.title} {text}".strip())


@dataclass
class Workbench:
    """An indexer between its fakes."""

    encoder: FakeEncoder
    store: FakeStore
    indexer: Indexer

    def index(self, partition: Partition, check_lease: Callable[[], None] = int) -> Indexed:
        return self.indexer.index(partition, check_lease)


@pytest.fixture
def workbench() -> Iterator[Workbench]:
    encoder, store = FakeEncoder(), FakeStore()
    with ThreadPoolExecutor(1) as ahead:
        chunker: Any = LineChunker()
        indexer = Indexer(encoder, store, chunker, FINGERPRINT, worker_settings(), ahead)
        yield Workbench(encoder, store, indexer)
        indexer.close()


def write(path: Path, texts: Sequence[str]) -> Path:
    lines = (json.dumps({"id": n, "text": text, "title": "제목"}, ensure_ascii=False) for n, text in enumerate(texts))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def partitions(
    path: Path, *, replaces: bool = False, fields: SourceFields | None = None, **cut: Any
) -> list[Partition]:
    """Return the partitions of a job on this file."""
    planned = plan(path, fields=fields, **cut)
    job = make_job([path], fields, replaces=replaces)
    rejected = frozenset(each.line for each in planned.rejections)
    return [
        Partition(number, job, span, frozenset(line for line in rejected if span.first_line <= line <= span.last_line))
        for number, span in enumerate(planned.spans)
    ]


def test_every_chunk_is_stored_with_its_own_embedding(workbench: Workbench, tmp_path: Path) -> None:
    """Over several batches, chunks and rows stay together and in order."""
    texts = [f"{'가' * (n % 7)}글\n둘째 {n}" for n in range(400)]
    (only,) = partitions(write(tmp_path / "a.jsonl", texts))
    assert workbench.index(only) == Indexed(chunks=800, truncated=0)
    expected = [line for text in texts for line in text.splitlines()]
    assert [chunk.text for chunk in workbench.store.chunks] == expected
    assert workbench.store.embeddings == [[len(f"제목 {line}"), 1.0] for line in expected]


def test_the_title_is_encoded_with_the_text(workbench: Workbench, tmp_path: Path) -> None:
    """What the chunker wants encoded is what the encoder gets."""
    workbench.index(partitions(write(tmp_path / "a.jsonl", ["글"]))[0])
    assert workbench.encoder.calls == [["제목 글"]]


def test_chunks_go_out_in_batches_that_are_durable(workbench: Workbench, tmp_path: Path) -> None:
    """Each batch is waited for, so that a partition called done is on disk."""
    workbench.index(partitions(write(tmp_path / "a.jsonl", ["글"] * 600))[0])
    assert workbench.store.calls == [("upsert", ("laws", size, True)) for size in (256, 256, 88)]
    assert [len(texts) for texts in workbench.encoder.calls] == [256, 256, 88]


def test_stale_chunks_are_deleted_last_when_the_job_replaces(workbench: Workbench, tmp_path: Path) -> None:
    """What earlier versions of exactly these documents left goes, after the new chunks are in."""
    (only,) = partitions(write(tmp_path / "a.jsonl", ["하나\n둘", "셋"]), replaces=True)
    workbench.index(only)
    kept = [chunk.point_id for chunk in workbench.store.chunks]
    assert workbench.store.calls == [("upsert", ("laws", 3, True)), ("delete stale", ("laws", kept))]


def test_nothing_is_deleted_in_a_new_collection(workbench: Workbench, tmp_path: Path) -> None:
    """A job on an empty collection has nothing to replace."""
    workbench.index(partitions(write(tmp_path / "a.jsonl", ["하나"]), replaces=False)[0])
    assert [name for name, _ in workbench.store.calls] == ["upsert"]


def test_truncated_documents_are_counted_once(workbench: Workbench, tmp_path: Path) -> None:
    """A document of which two chunks were cut is one truncated document."""
    (only,) = partitions(write(tmp_path / "a.jsonl", ["긴 하나\n긴 둘", "셋", "넷\n긴 다섯"]))
    assert workbench.index(only) == Indexed(chunks=5, truncated=2)


def test_rejected_lines_are_passed_over(workbench: Workbench, tmp_path: Path) -> None:
    """What the planner rejected, a duplicate for example, is not indexed."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1, "text": "처음"}\n{"id": 1, "text": "다시"}\n{\n\n{"id": 2, "text": "끝"}\n')
    workbench.index(partitions(path)[0])
    assert [chunk.text for chunk in workbench.store.chunks] == ["처음", "끝"]


def test_partitions_of_a_table_know_its_header(workbench: Workbench, tmp_path: Path) -> None:
    """A partition from the middle of a CSV file has the column names of the first line."""
    path = tmp_path / "a.csv"
    path.write_text("번호,내용,법\n" + "".join(f'{n},"글 {n}",민법\n' for n in range(10)))
    fields = SourceFields("번호", "내용", "제목")
    for partition in partitions(path, fields=fields, partition_documents=3):
        workbench.index(partition)
    documents = [chunk.document for chunk in workbench.store.chunks]
    assert documents == [Document(str(n), f"글 {n}", "", {"법": "민법"}) for n in range(10)]


def test_partitions_may_come_in_any_order(workbench: Workbench, tmp_path: Path) -> None:
    """A retried first partition after a later one is read all the same."""
    cut = partitions(write(tmp_path / "a.jsonl", list(map(str, range(10)))), partition_documents=2)
    for partition in (cut[3], cut[0], cut[4], cut[2], cut[1]):
        workbench.index(partition)
    assert [chunk.text for chunk in workbench.store.chunks] == list("6701894523")


def test_the_lease_is_checked_before_each_batch_is_written(workbench: Workbench, tmp_path: Path) -> None:
    """A worker that lost its lease writes nothing more."""
    checks = 0

    def check_lease() -> None:
        nonlocal checks
        checks += 1
        if checks == 2:
            raise LeaseLostError("lost")

    (only,) = partitions(write(tmp_path / "a.jsonl", ["글"] * 600))
    with pytest.raises(LeaseLostError):
        workbench.index(only, check_lease)
    assert workbench.store.calls == [("upsert", ("laws", 256, True))]


def test_the_next_batch_is_encoded_ahead(workbench: Workbench, tmp_path: Path) -> None:
    """When the first batch is written, the second one has been given to the encoder."""
    given: list[int] = []
    workbench.index(partitions(write(tmp_path / "a.jsonl", ["글"] * 300))[0], lambda: given.append(1))
    assert (len(given), len(workbench.encoder.calls)) == (2, 2)


@pytest.mark.parametrize("change", ["longer", "shorter", "touched", "gone"])
def test_a_source_that_changed_is_refused(change: str, workbench: Workbench, tmp_path: Path) -> None:
    """Spans of an old version would cut lines of the new one in two."""
    path = write(tmp_path / "a.jsonl", ["글"] * 10)
    (only,) = partitions(path)
    match change:
        case "longer":
            path.write_text(path.read_text() + "\n{}")
        case "shorter":
            os.truncate(path, 100)
        case "touched":
            os.utime(path, ns=(0, 0))
        case _:
            path.unlink()
    with pytest.raises(ConflictError, match=r"a\.jsonl"):
        workbench.index(only)
    assert workbench.store.calls == []


def test_another_model_is_refused_before_anything_is_written(workbench: Workbench, tmp_path: Path) -> None:
    """Embeddings of two models in one collection cannot be compared."""
    workbench.encoder.fingerprint = "0" * 64
    with pytest.raises(ConflictError, match=r"0{12}.*f{12}"):
        workbench.index(partitions(write(tmp_path / "a.jsonl", ["글"]))[0])
    assert workbench.store.calls == []


def test_an_error_of_the_store_ends_the_partition(workbench: Workbench, tmp_path: Path) -> None:
    """The caller hears of it, and the next partition is indexed as usual."""
    first, second = partitions(write(tmp_path / "a.jsonl", ["하나", "둘"]), partition_documents=1)
    workbench.store.error = UnavailableError("away")
    with pytest.raises(UnavailableError):
        workbench.index(first)
    workbench.store.error = None
    assert workbench.index(second).chunks == 1
    assert workbench.index(first).chunks == 1
