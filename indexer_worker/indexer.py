"""Indexes one partition: read -> chunk -> encode -> upsert. The next batch is encoded while the last one is written."""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexer_worker.chunking import Chunker
from indexer_worker.planner import source_of
from indexer_worker.readers.byte_streams import READ_ERRORS, ForwardReader, open_bytes
from indexer_worker.readers.documents import RecordError, RecordFormat, record_format
from indexer_worker.readers.records import iterate_records
from indexer_worker.sources import name_of
from kosearch.client import Encoded
from kosearch.documents import Chunk, Document
from kosearch.errors import ConflictError
from kosearch.jobs import Partition
from kosearch.settings import WorkerSettings

# Texts in one call to the encoder and points in one call to Qdrant: enough to fill the encoder's batches, few enough
# that the lease is renewed often.
_BATCH_CHUNKS = 256


class Encoder(Protocol):
    """Turns texts into embeddings."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return one row a text, in order."""


class ChunkStore(Protocol):
    """Where chunks are written."""

    def upsert_chunks(
        self, collection: str, chunks: Sequence[Chunk], embeddings: NDArray[np.float32], *, wait: bool
    ) -> None:
        """Write chunks with their embeddings; durable on return when `wait` is set."""

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Delete what earlier versions of these chunks' documents left."""


@dataclass(frozen=True, slots=True)
class Indexed:
    """What became of a partition: chunks stored, documents of which the encoder left out a tail."""

    chunks: int
    truncated: int


class Indexer:
    """Indexes partitions with one model; one instance a worker process."""

    def __init__(
        self,
        encoder: Encoder,
        store: ChunkStore,
        chunker: Chunker,
        model_fingerprint: str,
        settings: WorkerSettings,
        ahead: Executor,
    ) -> None:
        self._encoder = encoder
        self._store = store
        self._chunker = chunker
        self._model_fingerprint = model_fingerprint
        self._settings = settings
        self._ahead = ahead
        self._reader = ForwardReader()

    def close(self) -> None:
        """Close the source that is open."""
        self._reader.close()

    def index(self, partition: Partition, check_lease: Callable[[], None]) -> Indexed:
        """Store every document of the partition. `check_lease` is called for each batch; what it raises ends the work.

        Raises ConflictError when the source has changed since it was planned, or the encoder serves another model.
        """
        stored: list[Chunk] = []
        truncated: set[str] = set()
        for chunks, encoded in self._encoded_ahead(self._batches(partition)):
            check_lease()
            self._check_model(encoded)
            # Durable batch by batch: nothing is left to be lost when the ledger calls the partition done.
            self._store.upsert_chunks(partition.job.collection, chunks, encoded.embeddings, wait=True)
            truncated |= {chunk.document.id for chunk, is_cut in zip(chunks, encoded.truncated, strict=True) if is_cut}
            stored += chunks
        if partition.job.replaces:
            self._store.delete_stale_chunks(partition.job.collection, stored)
        return Indexed(len(stored), len(truncated))

    def _encoded_ahead(self, batches: Iterator[list[Chunk]]) -> Iterator[tuple[list[Chunk], Encoded]]:
        """Yield batches with their embeddings, encoding the next one meanwhile."""
        waiting: tuple[list[Chunk], Future[Encoded]] | None = None
        for chunks in batches:
            following = (chunks, self._ahead.submit(self._encoder.encode, [chunk.encoded_text for chunk in chunks]))
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = following
        if waiting:
            yield waiting[0], waiting[1].result()

    def _batches(self, partition: Partition) -> Iterator[list[Chunk]]:
        chunks = (chunk for document in self._documents(partition) for chunk in self._chunker.chunks(document))
        while batch := list(islice(chunks, _BATCH_CHUNKS)):
            yield batch

    def _documents(self, partition: Partition) -> Iterator[Document]:
        """Yield the documents of the partition, without the rejected ones."""
        span = partition.span
        changed = ConflictError(
            f"{span.source.path} has changed since the job was planned; submit the job again to index it as it is now"
        )
        try:
            if source_of(span.source.path) != span.source:
                raise changed
            record_reader = self._record_reader(partition)
            content = self._reader.read(span.source, span.start, span.end)
        except READ_ERRORS as error:
            raise ConflictError(f"{span.source.path} can no longer be read: {error}") from error
        records = iterate_records(
            io.BytesIO(content),
            is_quoted=record_reader.is_quoted,
            max_bytes=self._settings.max_line_bytes,
            first_line=span.first_line,
            start=span.start,
        )
        for record in records:
            if record.line in partition.rejected_lines:
                continue
            try:
                document = record_reader.document(record)
            except RecordError as error:  # it was sound when the job was planned
                raise changed from error
            if document is not None:
                yield document

    def _record_reader(self, partition: Partition) -> RecordFormat:
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
