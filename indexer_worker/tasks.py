"""A worker process with its connections: real neighbours for `worker.Worker`, their short absences waited out."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import stamina
from numpy.typing import NDArray

from indexer_worker.chunking import Chunker
from indexer_worker.digests import signature_of
from indexer_worker.indexer import Indexer
from indexer_worker.lease import LeaseKeeper
from indexer_worker.reanalysis import Reanalyser
from indexer_worker.words import CurrentWords
from indexer_worker.worker import Worker
from kosearch.client import Client, Encoded
from kosearch.documents import Chunk
from kosearch.errors import ConflictError, OverloadedError, UnavailableError
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings
from kosearch.sparse_vectors import SparseVector
from kosearch.task_queue import TaskQueue
from kosearch.vector_store import FieldType, PointText, TextPage, VectorStore

_ENCODE_CALLS_AT_ONCE = 2


def _pause(error: Exception) -> bool | float:
    """Tell whether to try again, and when: as the neighbour advises, or by and by."""
    if isinstance(error, OverloadedError):
        return error.retry_after_s
    return isinstance(error, UnavailableError)


# A neighbour that restarts is back within seconds. After these the work is given back, to be sent again later.
_patiently = stamina.RetryingCaller(timeout=15.0, attempts=None, wait_initial=0.2, wait_max=2.0).on(_pause)


class _PatientEncoder:
    """The encoder service."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def encode(self, texts: Sequence[str], *, is_bulk: bool) -> Encoded:
        """Return one row a text, in order."""
        return _patiently(self._client.encode, texts, "document", is_bulk=is_bulk)


class _PatientStore:
    """Qdrant. Writing the same points twice changes nothing."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def check_version(self) -> str:
        """Return the server's version. Raises ConflictError when it is too old."""
        return self._store.check_version()

    def count(self, collection: str) -> int:
        """Return the exact number of points."""
        return _patiently(self._store.count, collection)

    def upsert_chunks(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        embeddings: NDArray[np.float32],
        words: Sequence[SparseVector],
        *,
        wait: bool,
    ) -> None:
        """Write chunks with embeddings and vectors of their words."""
        _patiently(self._store.upsert_chunks, collection, chunks, embeddings, words, wait=wait)

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Delete what earlier versions of these chunks' documents left."""
        _patiently(self._store.delete_stale_chunks, collection, chunks)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> int:
        """Delete documents with all their chunks."""
        return _patiently(self._store.delete_documents, collection, document_ids)

    def texts_from(self, collection: str, first: str, limit: int) -> TextPage:
        """Return points and their texts from a point id on."""
        return _patiently(self._store.texts_from, collection, first, limit)

    def texts_of(self, collection: str, point_ids: Sequence[str]) -> tuple[PointText, ...]:
        """Return the texts of those of the points that are there."""
        return _patiently(self._store.texts_of, collection, point_ids)

    def update_words(self, collection: str, point_ids: Sequence[str], vectors: Sequence[SparseVector]) -> None:
        """Replace the vectors of points' words."""
        _patiently(self._store.update_words, collection, point_ids, vectors)

    def defer_index_building(self, collection: str) -> None:
        """Let nobody build the vector index while many points come."""
        _patiently(self._store.defer_index_building, collection)

    def is_index_deferred(self, collection: str) -> bool:
        """Tell whether a deferral was begun and not ended."""
        return _patiently(self._store.is_index_deferred, collection)

    def build_index(self, collection: str, check: Callable[[], None]) -> None:
        """Build the vector index and wait for it."""
        _patiently(self._store.build_index, collection, check)


class ServedModel:
    """The model that the encoder serves, as the worker has it on disk."""

    def __init__(self, model: ModelDirectory, indexer: Indexer, signature: str, store: VectorStore) -> None:
        self.model = model
        self.indexer = indexer
        self.signature = signature
        self._store = store

    def has_collection(self, collection: str) -> bool:
        """Tell whether the collection exists. Raises ConflictError when it holds another model's embeddings."""
        model = self.model
        return _patiently(self._store.check_collection, collection, model.dim, model.name, model.fingerprint)

    def make_collection(self, collection: str, field_types: Mapping[str, FieldType]) -> None:
        """Make the collection and its payload indexes where they are missing."""
        model = self.model
        _patiently(self._store.ensure_collection, collection, model.dim, model.name, model.fingerprint, field_types)


class Workplace:
    """A worker process with its connections. Made after the fork: neither gRPC channels nor databases survive one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger = Ledger(settings.ledger_url)
        self._client = Client(settings.encoder)
        self._store = VectorStore(settings.qdrant)
        self._queue = TaskQueue(settings)
        self._ahead = ThreadPoolExecutor(max_workers=_ENCODE_CALLS_AT_ONCE, thread_name_prefix="encode-ahead")
        self._model: ServedModel | None = None
        store, name = _PatientStore(self._store), f"{socket.gethostname()}:{os.getpid()}"
        self._words = CurrentWords(self._ledger.dictionary, store)
        self.worker = Worker(self._ledger, store, self._queue, self._served_model, LeaseKeeper, settings.worker, name)
        self.reanalyser = Reanalyser(self._ledger.dictionary, store, self._words, LeaseKeeper, settings.worker, name)

    def close(self) -> None:
        """Close the connections."""
        self._ahead.shutdown()
        if self._model:
            self._model.indexer.close()
        for neighbour in (self._queue, self._store, self._client, self._ledger):
            neighbour.close()

    def _served_model(self) -> ServedModel:
        """Return the model the encoder serves. Raises ConflictError when this worker has another one on disk."""
        served = self._client.info()
        if self._model is None or self._model.model.fingerprint != served.fingerprint:
            model = ModelDirectory.open(self._settings.encoder.model)
            if model.fingerprint != served.fingerprint:
                raise ConflictError(
                    f"the encoder service serves {served.name} ({served.fingerprint[:12]}), this worker has "
                    f"{model.name} ({model.fingerprint[:12]}) at {model.path}; "
                    "set KOSEARCH_ENCODER__MODEL to the model that is served"
                )
            if self._model:
                self._model.indexer.close()
            self._model = self._with_model(model)
        return self._model

    def _with_model(self, model: ModelDirectory) -> ServedModel:
        chunker = Chunker(model.path, model.max_tokens, self._settings.worker.chunk_overlap_tokens)
        signature = signature_of(model.fingerprint, chunker.signature, self._words.signature)
        indexer = Indexer(
            _PatientEncoder(self._client),
            _PatientStore(self._store),
            self._ledger,
            chunker,
            self._words,
            model.fingerprint,
            signature,
            self._settings.worker,
            self._ahead,
        )
        return ServedModel(model, indexer, signature, self._store)
