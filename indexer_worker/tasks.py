"""What a worker does with a task: claim the work in the ledger, do it, write down what became of it.

A task delivered twice does its work once, and one that is lost is sent again: the ledger decides, not the broker.
"""

import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import stamina
import structlog
from numpy.typing import NDArray

from indexer_worker.chunking import Chunker
from indexer_worker.indexer import Indexer
from indexer_worker.lease import LeaseKeeper
from indexer_worker.planner import plan_job
from kosearch.client import Client, Encoded
from kosearch.documents import Chunk
from kosearch.errors import ConflictError, KosearchError, LeaseLostError, OverloadedError, UnavailableError
from kosearch.jobs import Job
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings
from kosearch.task_queue import TaskQueue
from kosearch.vector_store import VectorStore

_log = structlog.get_logger()

# A neighbour that restarts is back within seconds. After these the work is given back, to be sent again later.
_patiently = stamina.RetryingCaller(timeout=15.0, attempts=None, wait_initial=0.2, wait_max=2.0).on(
    (UnavailableError, OverloadedError)
)


class _PatientEncoder:
    """The encoder service, with its short absences waited out."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return one row a text, in order."""
        return _patiently(self._client.encode, texts, "document", is_bulk=True)


class _PatientStore:
    """Qdrant, with its short absences waited out. Writing the same points twice changes nothing."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    def upsert_chunks(
        self, collection: str, chunks: Sequence[Chunk], embeddings: NDArray[np.float32], *, wait: bool
    ) -> None:
        """Write chunks with their embeddings."""
        _patiently(self._store.upsert_chunks, collection, chunks, embeddings, wait=wait)

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Delete what earlier versions of these chunks' documents left."""
        _patiently(self._store.delete_stale_chunks, collection, chunks)


class Workplace:
    """A worker process with its connections. Made after the fork: neither gRPC channels nor databases survive one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.worker
        self._model_path = settings.encoder.model
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._ledger = Ledger(settings.ledger_url)
        self._client = Client(settings.encoder)
        self._store = VectorStore(settings.qdrant)
        self._queue = TaskQueue(settings)
        self._ahead = ThreadPoolExecutor(max_workers=1, thread_name_prefix="encode-ahead")
        self._indexer: Indexer | None = None
        self._model: ModelDirectory | None = None

    def plan(self, job_id: str) -> None:
        """Plan a job and send its partitions."""
        lease_s = self._settings.lease_s
        job = self._ledger.claim_job(job_id, self._owner, lease_s, self._settings.max_attempts)
        if job is None:
            return
        log = _log.bind(job=job_id, collection=job.collection)
        try:
            with LeaseKeeper(partial(self._ledger.renew_job, job_id, self._owner, lease_s), lease_s) as lease:
                partitions = self._plan(job, lease)
        except LeaseLostError:
            log.info("plan.left_to_another_worker")
        except (UnavailableError, OverloadedError) as error:
            log.warning("plan.postponed", error=str(error))
            self._ledger.release_job(job_id, self._owner, str(error))
        except KosearchError as error:
            log.error("job.failed", error=str(error))
            self._ledger.fail_job(job_id, str(error))
        else:
            log.info("job.planned", partitions=len(partitions))
            self._send(partitions)

    def index(self, partition_id: int) -> None:
        """Index a partition."""
        lease_s = self._settings.lease_s
        partition = self._ledger.claim_partition(partition_id, self._owner, lease_s, self._settings.max_attempts)
        if partition is None:
            return
        log = _log.bind(job=partition.job.id, partition=partition_id)
        renew = partial(self._ledger.renew_partition, partition_id, self._owner, lease_s)
        try:
            with LeaseKeeper(renew, lease_s) as lease:
                indexed = self._current_indexer().index(partition, lease.check)
            self._ledger.finish_partition(partition_id, self._owner, indexed.chunks, indexed.truncated)
        except LeaseLostError:
            log.info("partition.left_to_another_worker")
        except (UnavailableError, OverloadedError) as error:
            log.warning("partition.postponed", error=str(error))
            self._ledger.release_partition(partition_id, self._owner, str(error))
        except KosearchError as error:
            log.error("job.failed", error=str(error))
            self._ledger.fail_job(partition.job.id, str(error))
        else:
            log.info("partition.indexed", documents=partition.span.documents, chunks=indexed.chunks)

    def _plan(self, job: Job, lease: LeaseKeeper) -> list[int]:
        model = self._served_model()
        self._store.check_version()
        exists = self._store.check_collection(job.collection, model.dim, model.name, model.fingerprint)
        replaces = exists and self._store.count(job.collection) > 0
        plan = plan_job(job, self._settings, lease.check)
        # A job without a single sound document leaves no empty collection behind.
        if plan.spans:
            self._store.ensure_collection(job.collection, model.dim, model.name, model.fingerprint, plan.field_types)
        return self._ledger.save_plan(job.id, self._owner, plan.spans, plan.rejections, replaces=replaces)

    def _send(self, partition_ids: Sequence[int]) -> None:
        try:
            self._queue.send_partitions(partition_ids)
        except UnavailableError as error:
            _log.warning("partitions.not_sent", error=str(error))  # the dispatcher sends them when the broker is back

    def _served_model(self) -> ModelDirectory:
        """Return the model the encoder serves. Raises ConflictError when this worker has another one on disk."""
        served = self._client.info()
        if self._model is None or self._model.fingerprint != served.fingerprint:
            model = ModelDirectory.open(self._model_path)
            if model.fingerprint != served.fingerprint:
                raise ConflictError(
                    f"the encoder service serves {served.name} ({served.fingerprint[:12]}), this worker has "
                    f"{model.name} ({model.fingerprint[:12]}) at {model.path}; "
                    "set KOSEARCH_ENCODER__MODEL to the model that is served"
                )
            if self._indexer:
                self._indexer.close()
            self._model, self._indexer = model, None
        return self._model

    def _current_indexer(self) -> Indexer:
        model = self._served_model()
        if self._indexer is None:
            self._indexer = Indexer(
                _PatientEncoder(self._client),
                _PatientStore(self._store),
                Chunker(model.path, model.max_tokens),
                model.fingerprint,
                self._settings,
                self._ahead,
            )
        return self._indexer
