"""Indexes one partition: read -> chunk -> encode -> upsert. The next batches are encoded while the last one is written.

What cannot be stored is left out with its reason, and the rest goes on.
"""

import io
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer_worker.conversion.failure import ConversionError
from indexer_worker.digests import content_digest, document_digest
from indexer_worker.readers.byte_streams import READ_ERRORS, ForwardReader, open_bytes
from indexer_worker.readers.documents import JsonlFormat, RecordError, RecordFormat, record_format
from indexer_worker.readers.records import iterate_records
from indexer_worker.sources import fault_of, fault_of_change, name_of
from kosearch.client import Encoded
from kosearch.documents import Chunk, Document
from kosearch.errors import ConflictError, InvalidRequestError
from kosearch.jobs import WHOLE_FILE, Job, Partition, Rejection
from kosearch.ledger import DocumentVersion, KnownDocument, PartitionResult
from kosearch.settings import WorkerSettings
from kosearch.sparse_vectors import SparseVector

# Texts in one call to the encoder and points in one call to Qdrant: enough to fill the encoder's batches, few enough
# that the lease is checked often and an answer is soon there.
_BATCH_CHUNKS = 256
_BATCH_BYTES = 1 << 20
# Calls that wait at the encoder, so that it always has the next one at hand.
_BATCHES_AHEAD = 2
# Documents that are looked up in the ledger at once.
_DOCUMENTS_AT_ONCE = 256


class Encoder(Protocol):
    """Turns texts into embeddings."""

    def encode(self, texts: Sequence[str], *, is_bulk: bool) -> Encoded:
        """Return one row a text, in order. Raises InvalidRequestError for a text that it refuses."""


class ChunkStore(Protocol):
    """Where chunks are written."""

    def upsert_chunks(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        embeddings: NDArray[np.float32],
        words: Sequence[SparseVector],
        *,
        wait: bool,
    ) -> None:
        """Write chunks with embeddings and vectors of their words; durable on return when `wait` is set."""

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Delete what earlier versions of these chunks' documents left."""

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> int:
        """Delete documents with all their chunks."""


class DocumentBook(Protocol):
    """What is known of documents; see `kosearch.ledger.Ledger`."""

    def known_documents(self, job: Job, document_ids: Sequence[str]) -> dict[str, KnownDocument]:
        """Return what is known of these documents, by identifier."""

    def begin_documents(self, partition: Partition, document_ids: Sequence[str]) -> None:
        """Write down what is about to be stored, before it is."""

    def claim_contents(self, job: Job, wanted: Sequence[tuple[bytes, str]]) -> dict[str, str]:
        """Give contents to documents; return those that come too late with the one that has theirs."""


class Chunks(Protocol):
    """Cuts documents."""

    def chunks(self, document: Document) -> Iterator[Chunk]:
        """Yield the chunks of a document in order."""


class Words(Protocol):
    """Finds the words of chunks; see `indexer_worker.words.CurrentWords`."""

    def vectors(self, chunks: Sequence[Chunk]) -> list[SparseVector]:
        """Return the weights of each chunk's words."""

    def settle(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Correct the words of chunks that were just written if the dictionary has changed meanwhile."""


class Indexer:
    """Indexes partitions with one model; one instance a worker process.

    signature: of all that, beside a document itself, decides about its points
    """

    def __init__(
        self,
        encoder: Encoder,
        store: ChunkStore,
        book: DocumentBook,
        chunker: Chunks,
        words: Words,
        model_fingerprint: str,
        signature: str,
        settings: WorkerSettings,
        ahead: Executor,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._book = book
        self._chunker = chunker
        self._words = words
        self._model_fingerprint = model_fingerprint
        self._signature = signature
        self._settings = settings
        self._ahead = ahead
        self._reader = ForwardReader()

    def close(self) -> None:
        """Close the source that is open."""
        self._reader.close()

    def index(self, partition: Partition, check_lease: Callable[[], None], written: set[str]) -> PartitionResult:
        """Store every document of the partition that is not stored as it is.

        check_lease: called for each batch; what it raises ends the work
        written: gets the identifiers of documents before the first of their points is written
        Raises ConflictError when the encoder serves another model.
        """
        work = _Work(partition)
        collection = partition.job.collection
        documents = self._due_documents(partition, work)
        is_bulk = partition.content is None
        for chunks, encoding in self._encoded_ahead(self._batches(documents, work), is_bulk=is_bulk):
            for encoded_chunks, encoded in self._encoded_singly(chunks, encoding, work, is_bulk=is_bulk):
                self._check_model(encoded)
                # The encoder has the next batches meanwhile.
                words = self._words.vectors(encoded_chunks)
                check_lease()
                written.update(chunk.document.id for chunk in encoded_chunks)
                self._upsert(collection, encoded_chunks, encoded, words, work)
                self._words.settle(collection, encoded_chunks)
        check_lease()
        if partition.job.replaces and work.stored:
            self._store.delete_stale_chunks(collection, work.stored)
        if work.refused:
            # A part of it, or an earlier version, may be there.
            self._store.delete_documents(collection, sorted(work.refused))
        return work.result()

    def _upsert(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        encoded: Encoded,
        words: Sequence[SparseVector],
        work: "_Work",
    ) -> None:
        """Write chunks; documents that the store refuses are found one by one."""
        try:
            # Durable batch by batch: nothing is left to be lost when the ledger calls the partition done.
            self._store.upsert_chunks(collection, chunks, encoded.embeddings, words, wait=True)
        except InvalidRequestError as error:
            groups = _by_document(chunks)
            if len(groups) == 1:
                work.refuse(chunks[0].document, "refused_by_store", str(error))
                return
            for places in groups.values():
                some = [chunks[place] for place in places]
                self._upsert(collection, some, _rows(encoded, places), [words[place] for place in places], work)
        else:
            work.add(chunks, encoded)

    def _encoded_ahead(
        self, batches: Iterator[list[Chunk]], *, is_bulk: bool
    ) -> Iterator[tuple[list[Chunk], Future[Encoded]]]:
        """Yield batches with their embeddings, encoding the next ones meanwhile."""
        waiting: deque[tuple[list[Chunk], Future[Encoded]]] = deque()
        for chunks in batches:
            texts = [chunk.encoded_text for chunk in chunks]
            waiting.append((chunks, self._ahead.submit(self._encoder.encode, texts, is_bulk=is_bulk)))
            if len(waiting) > _BATCHES_AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _encoded_singly(
        self, chunks: list[Chunk], encoding: Future[Encoded], work: "_Work", *, is_bulk: bool
    ) -> Iterator[tuple[list[Chunk], Encoded]]:
        """Yield a batch with its embeddings; when the encoder refuses it, those of its documents that it takes."""
        try:
            yield chunks, encoding.result()
            return
        except InvalidRequestError as error:
            groups = _by_document(chunks)
            if len(groups) == 1:
                work.refuse(chunks[0].document, "refused_by_encoder", str(error))
                return
        for places in groups.values():
            some = [chunks[place] for place in places]
            again = self._ahead.submit(self._encoder.encode, [chunk.encoded_text for chunk in some], is_bulk=is_bulk)
            yield from self._encoded_singly(some, again, work, is_bulk=is_bulk)

    def _batches(self, documents: Iterator[Document], work: "_Work") -> Iterator[list[Chunk]]:
        batch: list[Chunk] = []
        size = 0
        for document in documents:
            for chunk in self._chunker.chunks(document):
                if document.id in work.refused:
                    break
                batch.append(chunk)
                size += len(chunk.encoded_text.encode())
                if len(batch) == _BATCH_CHUNKS or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch

    def _due_documents(self, partition: Partition, work: "_Work") -> Iterator[Document]:
        """Yield the documents that are not stored as they are."""
        documents = self._documents(partition, work)
        while some := list(islice(documents, _DOCUMENTS_AT_ONCE)):
            known = self._book.known_documents(partition.job, [document.id for document in some])
            taken = self._taken_contents(partition, some)
            due: list[Document] = []
            for document in some:
                before = known.get(document.id)
                digest = document_digest(document, self._signature)
                if before and before.job_number > partition.job.number:
                    work.leave_to_newer(document)
                elif before and before.chunks and before.digest == digest:
                    self._keep(partition, document, before, work)
                elif document.id in taken:
                    detail = f"title and text are those of {taken[document.id]!r}, which is stored"
                    work.reject(Rejection(work.path, 0, document.id, "duplicate_content", detail))
                else:
                    work.begin(document, digest)
                    due.append(document)
            if due:
                self._book.begin_documents(partition, [document.id for document in due])
            yield from due

    def _keep(self, partition: Partition, document: Document, before: KnownDocument, work: "_Work") -> None:
        """Leave a document as it is stored. It may come from another file now."""
        is_of_this_file = before.file_id == partition.file_id
        # The planner counted those that it found unchanged; it does not look into files that are converted.
        was_counted = is_of_this_file and partition.content is None and partition.span.end != WHOLE_FILE
        work.skip(counts=not was_counted)
        if not is_of_this_file:
            work.versions[document.id] = DocumentVersion(document.id, before.digest, before.chunks)

    def _taken_contents(self, partition: Partition, documents: Sequence[Document]) -> dict[str, str]:
        """Return what has its content already; the planner found that out for all but converted files."""
        if not partition.job.options.drops_duplicates or partition.span.end != WHOLE_FILE:
            return {}
        wanted = [(content_digest(document), document.id) for document in documents]
        return self._book.claim_contents(partition.job, wanted)

    def _documents(self, partition: Partition, work: "_Work") -> Iterator[Document]:
        """Yield the documents of the partition, without the rejected ones."""
        span = partition.span
        try:
            record_reader = self._record_reader(partition)
            content = self._content(partition)
        except ConversionError as error:
            work.reject_all(error.reason, str(error))
            return
        except OSError as error:
            fault = fault_of(span.source.path, error)
            work.reject_all(fault.reason, fault.detail)
            return
        except READ_ERRORS + (InvalidRequestError,) as error:  # noqa: RUF005 - as mypy understands it
            work.reject_all("changed_while_read", f"can no longer be read: {error}")
            return
        change = None if partition.content is not None else fault_of_change(span.source)
        if change:
            work.reject_all(change.reason, "changed since the job was planned; submit the job again")
            return
        records = iterate_records(
            io.BytesIO(content),
            is_quoted=record_reader.is_quoted,
            max_bytes=max(self._settings.max_line_bytes, len(content)),
            first_line=span.first_line,
            start=span.start,
        )
        first, last = partition.lines
        for record in records:
            if record.line in partition.rejected_lines or not first <= record.line <= last:
                continue
            try:
                document = record_reader.document(record)
            except RecordError as error:
                work.reject(Rejection(work.path, record.line, error.document_id, error.reason, str(error)))
                continue
            if document is not None:
                yield document

    def _content(self, partition: Partition) -> bytes:
        """Return the bytes of the partition's records. Raises READ_ERRORS, InvalidRequestError."""
        span = partition.span
        if partition.content is not None:
            return partition.content
        if span.end == WHOLE_FILE:
            with open_bytes(span.source.path) as stream:
                return stream.read()
        return self._reader.read(span.source, span.start, span.end)

    def _record_reader(self, partition: Partition) -> RecordFormat:
        if partition.content is not None:
            return JsonlFormat(partition.job.fields)
        path = partition.span.source.path
        record_reader = record_format(path, partition.job.fields, name_of(path, partition.job.paths))
        if record_reader.needs_header:
            with open_bytes(path) as stream:
                limit = self._settings.max_line_bytes
                record_reader.takes_header(
                    next(iterate_records(stream, is_quoted=record_reader.is_quoted, max_bytes=limit))
                )
        return record_reader

    def _check_model(self, encoded: Encoded) -> None:
        if encoded.model_fingerprint != self._model_fingerprint:
            raise ConflictError(
                f"the encoder service serves model {encoded.model_fingerprint[:12]} since now, this job was begun with "
                f"{self._model_fingerprint[:12]}; submit it again to index everything with the new model"
            )


@dataclass(slots=True)
class _Work:
    """What has become of a partition so far."""

    partition: Partition
    stored: list[Chunk] = field(default_factory=list)
    versions: dict[str, DocumentVersion] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    _digests: dict[str, bytes] = field(default_factory=dict)
    _rejections: list[Rejection] = field(default_factory=list)
    _doubtful: list[str] = field(default_factory=list)
    _truncated: set[str] = field(default_factory=set)
    _documents: int = 0
    _unchanged: int = 0
    _tokens: int = 0
    _tokens_embedded: int = 0

    @property
    def path(self) -> str:
        """Return the file's path as the ledger names it."""
        return str(self.partition.span.source.path)

    def begin(self, document: Document, digest: bytes) -> None:
        """Count a document that is to be stored."""
        self._documents += 1
        self._digests[document.id] = digest

    def skip(self, *, counts: bool) -> None:
        """Pass over a document that needs nothing; `counts`: whether nobody has counted it yet."""
        self._documents += counts
        self._unchanged += counts

    def leave_to_newer(self, document: Document) -> None:
        """Pass over a document that a newer job has stored or deleted."""
        self.skip(counts=True)
        if not self.partition.is_first_try:
            self._doubtful.append(document.id)

    def reject(self, rejection: Rejection) -> None:
        """Leave a document out that was not begun."""
        self._documents += 1
        self._rejections.append(rejection)

    def reject_all(self, reason: str, detail: str) -> None:
        """Leave all documents of the partition out."""
        count = self.partition.span.documents
        self._documents += count
        self._rejections.append(Rejection(self.path, 0, "", reason, detail, count))

    def refuse(self, document: Document, reason: str, detail: str) -> None:
        """Leave out a document that a neighbour does not take, with all its chunks."""
        if document.id not in self.refused:
            self.refused.add(document.id)
            self._rejections.append(Rejection(self.path, 0, document.id, reason, detail))

    def add(self, chunks: Sequence[Chunk], encoded: Encoded) -> None:
        """Take chunks that are stored."""
        self.stored += chunks
        for chunk, is_cut, tokens in zip(chunks, encoded.truncated, encoded.token_counts, strict=True):
            self._tokens += chunk.tokens
            self._tokens_embedded += min(chunk.tokens, tokens) if is_cut else chunk.tokens
            if is_cut:
                self._truncated.add(chunk.document.id)

    def result(self) -> PartitionResult:
        """Return what became of the partition."""
        chunks: dict[str, int] = dict.fromkeys(self._digests, 0)
        for chunk in self.stored:
            chunks[chunk.document.id] += 1
        written = {
            name: DocumentVersion(name, b"", 0) if name in self.refused else DocumentVersion(name, digest, chunks[name])
            for name, digest in self._digests.items()
        }
        return PartitionResult(
            documents=self._documents,
            versions=[*(self.versions | written).values()],
            rejections=self._rejections,
            doubtful=self._doubtful,
            unchanged=self._unchanged,
            truncated=len(self._truncated - self.refused),
            tokens=self._tokens,
            tokens_embedded=self._tokens_embedded,
        )


def _by_document(chunks: Sequence[Chunk]) -> dict[str, list[int]]:
    """Return the places of each document's chunks."""
    groups: dict[str, list[int]] = {}
    for place, chunk in enumerate(chunks):
        groups.setdefault(chunk.document.id, []).append(place)
    return groups


def _rows(encoded: Encoded, places: Sequence[int]) -> Encoded:
    return Encoded(
        encoded.embeddings[list(places)],
        tuple(encoded.token_counts[place] for place in places),
        tuple(encoded.truncated[place] for place in places),
        encoded.model_fingerprint,
    )
