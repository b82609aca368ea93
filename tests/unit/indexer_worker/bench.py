"""A worker between its neighbours: a real ledger, real files; fakes for encoder, store and broker, in one thread."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder_service.dispatcher import Dispatcher
from indexer_worker.indexer import Indexer
from indexer_worker.worker import Worker
from kosearch.client import Encoded
from kosearch.documents import Chunk, Document
from kosearch.errors import InvalidRequestError
from kosearch.jobs import JobOptions, JobProgress, Rejection, SourceFields
from kosearch.ledger import Ledger
from kosearch.sparse_vectors import SparseVector, sparse_vector
from tests.unit.indexer_worker.sources import SIGNATURE, worker_settings

COLLECTION = "laws"
FINGERPRINT = "f" * 64
# In the text of a document: the encoder cuts it, encoder or store refuse it, a worker dies of it.
LONG, UNENCODABLE, UNSTORABLE, POISON = "긴", "인코더거절", "저장소거절", "독"


class CrashError(BaseException):
    """Kill -9."""


@dataclass
class FakeEncoder:
    """Encodes a text to its length, and reads half of the words of a long one."""

    fingerprint: str = FINGERPRINT
    calls: list[list[str]] = field(default_factory=list)
    was_bulk: list[bool] = field(default_factory=list)

    def encode(self, texts: Sequence[str], *, is_bulk: bool) -> Encoded:
        self.calls.append(list(texts))
        self.was_bulk.append(is_bulk)
        if any(UNENCODABLE in text for text in texts):
            raise InvalidRequestError("a text that cannot be encoded")
        rows = np.array([[len(text), 1.0] for text in texts], dtype=np.float32)
        is_cut = tuple(LONG in text for text in texts)
        tokens = tuple(len(text.split()) // (2 if cut else 1) for text, cut in zip(texts, is_cut, strict=True))
        return Encoded(rows, tokens, is_cut, self.fingerprint)

    @property
    def texts(self) -> list[str]:
        """Return all that was encoded, in order."""
        return [text for call in self.calls for text in call]


@dataclass
class FakeStore:
    """Points by id, and what was asked, in order."""

    points: dict[str, tuple[Chunk, list[float]]] = field(default_factory=dict)
    words: dict[str, SparseVector] = field(default_factory=dict)
    calls: list[tuple[str, Any]] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    exists: bool = False
    is_deferred: bool = False
    # Done once, before the next points are written.
    before_upsert: Callable[[], object] | None = None

    def check_version(self) -> str:
        return "1.20.0"

    def count(self, _: str) -> int:
        return len(self.points)

    def upsert_chunks(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        embeddings: NDArray[np.float32],
        words: Sequence[SparseVector],
        *,
        wait: bool,
    ) -> None:
        hook, self.before_upsert = self.before_upsert, None
        if hook:
            hook()
        if self.errors:
            raise self.errors.pop(0)
        if any(UNSTORABLE in chunk.text for chunk in chunks):
            raise InvalidRequestError("a document that cannot be stored")
        self.calls.append(("upsert", (collection, len(chunks), wait)))
        self.points |= {each.point_id: (each, row.tolist()) for each, row in zip(chunks, embeddings, strict=True)}
        self.words |= {each.point_id: vector for each, vector in zip(chunks, words, strict=True)}

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        kept = [chunk.point_id for chunk in chunks]
        self.calls.append(("delete stale", (collection, kept)))
        names = {chunk.document.id for chunk in chunks}
        self._keep(lambda point, chunk: chunk.document.id not in names or point in kept)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> int:
        self.calls.append(("delete", (collection, list(document_ids))))
        return self._keep(lambda _, chunk: chunk.document.id not in document_ids)

    def defer_index_building(self, collection: str) -> None:
        self.is_deferred = True
        self.calls.append(("defer index", collection))

    def is_index_deferred(self, _: str) -> bool:
        return self.is_deferred

    def build_index(self, collection: str, check: Callable[[], None]) -> None:
        check()
        self.is_deferred = False
        self.calls.append(("build index", collection))

    def asked(self, *names: str) -> list[str]:
        """Return the calls of these names, in order."""
        return [name for name, _ in self.calls if name in names]

    def _keep(self, is_kept: Callable[[str, Chunk], bool]) -> int:
        before = len(self.points)
        self.points = {point: each for point, each in self.points.items() if is_kept(point, each[0])}
        return before - len(self.points)


@dataclass
class FakeQueue:
    """The broker: what was sent, in order."""

    jobs: list[str] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)

    def send_job(self, job_id: str) -> None:
        self.jobs.append(job_id)

    def send_partitions(self, partition_ids: Iterable[int], *, is_online: bool = False) -> None:
        del is_online
        self.partitions += partition_ids

    def send_reanalyses(self, reanalysis_ids: Iterable[int]) -> None:
        assert not list(reanalysis_ids), "no dictionary here"

    def waiting(self) -> int:
        return len(self.jobs) + len(self.partitions)


class SplitWords:
    """What stands between spaces is a word; no dictionary changes that."""

    def vectors(self, chunks: Sequence[Chunk]) -> list[SparseVector]:
        return [sparse_vector(Counter(f"{chunk.document.title} {chunk.text}".split())) for chunk in chunks]

    def settle(self, collection: str, chunks: Sequence[Chunk]) -> None: ...


class LineChunker:
    """Makes a chunk of each line."""

    def chunks(self, document: Document) -> Iterator[Chunk]:
        if POISON in document.text:
            raise CrashError
        for index, text in enumerate(document.text.splitlines()):
            encoded = f"{document.title} {text}".strip()
            yield Chunk(document, index, text, encoded, tokens=len(encoded.split()))


class AtOnce(Executor):
    """Does what is submitted before it returns."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@dataclass
class Lease:
    """A lease that is renewed whenever it is looked at."""

    check: Callable[[], None]


@contextmanager
def keep_lease(renew: Callable[[], None], _: float) -> Iterator[Lease]:
    """Keep a lease without a thread."""
    yield Lease(renew)


@dataclass
class Served:
    """The model, and what indexes with it."""

    indexer: Indexer
    store: FakeStore
    signature: str = SIGNATURE
    field_types: dict[str, str] = field(default_factory=dict)

    def has_collection(self, _: str) -> bool:
        return self.store.exists

    def make_collection(self, _: str, field_types: Mapping[str, Any]) -> None:
        self.store.exists = True
        self.field_types |= field_types


class Bench:
    """All of them; time passes when nothing is left to do."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.folder = folder / "sources"
        self.folder.mkdir()
        self.now = 1_700_000_000.0
        self.ledger = Ledger("sqlite://", lambda: self.now)
        self.encoder, self.store, self.queue = FakeEncoder(), FakeStore(), FakeQueue()
        self.settings = worker_settings(**changes)
        self.served = Served(self._indexer(SIGNATURE), self.store)
        self.worker = Worker(
            self.ledger, self.store, self.queue, lambda: self.served, keep_lease, self.settings, "worker"
        )
        fake: Any = self.queue
        self._dispatcher = Dispatcher(self.ledger, fake)
        self._stamp = 0

    def close(self) -> None:
        """Close files and ledger."""
        self.served.indexer.close()
        self.ledger.close()

    def change_model(self, signature: str) -> None:
        """Let another model, or way of chunking, be served."""
        self.served.indexer.close()
        self.served = Served(self._indexer(signature), self.store, signature)

    def write(self, name: str, documents: Mapping[str, str], *lines: str) -> Path:
        """Write a file of documents (text by identifier), and other lines behind them; each time it is another one."""
        written = [json.dumps({"id": key, "text": text}, ensure_ascii=False) for key, text in documents.items()]
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in (*written, *lines)), encoding="utf-8")
        self.touch(path)
        return path

    def touch(self, path: Path) -> None:
        """Give a file another time of change."""
        self._stamp += 1
        os.utime(path, ns=(self._stamp, self._stamp))

    def submit(
        self, *paths: Path, fields: SourceFields | None = None, drops_duplicates: bool = False, rereads: bool = False
    ) -> str:
        """Submit a job for files, or the whole folder."""
        options = JobOptions(drops_duplicates=drops_duplicates, rereads=rereads)
        job_id = self.ledger.create_job(COLLECTION, paths or [self.folder], fields or SourceFields(), options)
        self.queue.send_job(job_id)
        return job_id

    def push(self, documents: Mapping[str, str]) -> str:
        """Push documents, as the service does."""
        lines = [json.dumps({"id": key, "text": text, "title": ""}) for key, text in documents.items()]
        job_id, partition = self.ledger.push_documents(COLLECTION, "\n".join(lines).encode(), len(lines))
        self.queue.send_partitions([partition], is_online=True)
        self.store.exists = True
        return job_id

    def delete(self, *document_ids: str) -> None:
        """Delete documents, as the service does."""
        self.ledger.delete_documents(COLLECTION, document_ids)
        self.store.delete_documents(COLLECTION, document_ids)

    def index(self, *paths: Path, **options: Any) -> JobProgress:
        """Run a job to its end."""
        return self.run(self.submit(*paths, **options))

    def run(self, job_id: str) -> JobProgress:
        """Do all there is to do, tasks of dead workers included."""
        for _ in range(200):
            self.work()
            if not self.ledger.open_jobs():
                return self.ledger.progress(job_id)
            self.now += 2 * self.settings.lease_s
            self._dispatcher.dispatch()
        raise AssertionError("the job does not come to its end")

    def work(self) -> None:
        """Do all that was sent; what kills its worker is left behind."""
        while self.queue.waiting():
            try:
                if self.queue.jobs:
                    self.worker.advance(self.queue.jobs.pop(0))
                else:
                    self.worker.index(self.queue.partitions.pop(0))
            except CrashError:
                continue

    def texts(self) -> dict[str, str]:
        """Return what is stored: the text of each document."""
        chunks = sorted((chunk for chunk, _ in self.store.points.values()), key=lambda each: each.index)
        found: dict[str, list[str]] = {}
        for chunk in chunks:
            found.setdefault(chunk.document.id, []).append(chunk.text)
        return {name: "\n".join(parts) for name, parts in found.items()}

    def dead_letters(self, job_id: str) -> list[tuple[str, str]]:
        """Return (identifier or file name, reason) of what a job left out."""
        return [(each.document_id or Path(each.path).name, each.reason) for each in self.rejections(job_id)]

    def rejections(self, job_id: str) -> list[Rejection]:
        """Return what a job left out."""
        return list(self.ledger.rejections(job_id))

    def _indexer(self, signature: str) -> Indexer:
        return Indexer(
            self.encoder,
            self.store,
            self.ledger,
            LineChunker(),
            SplitWords(),
            FINGERPRINT,
            signature,
            self.settings,
            AtOnce(),
        )
