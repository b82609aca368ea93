"""What a worker does with a task: claim the work in the ledger, do it, write down what became of it.

A task delivered twice does its work once, and one that is lost is sent again: the ledger decides, not the broker. A
worker that lost its lease, because it was held up or the clock jumped, may have written older versions of documents
over newer ones; it sees that, and has the newer ones stored again.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

import structlog

from indexer_worker.indexer import ChunkStore, Indexer
from indexer_worker.planner import Planned, plan_job
from kosearch.errors import (
    KosearchError,
    LeaseLostError,
    NotFoundError,
    OutdatedError,
    OverloadedError,
    UnavailableError,
)
from kosearch.jobs import Job, JobState, Partition
from kosearch.ledger import Ledger, PartitionResult, PlanWriter
from kosearch.settings import WorkerSettings
from kosearch.vector_store import FieldType

_log = structlog.get_logger()

_REMOVED_AT_ONCE = 1000
# A smaller job leaves the vector index to be built as the store sees fit.
_BULK_SPANS = 20
# So often the store has to have too little before it is not believed.
_COUNTS = 3
_AWAY = (UnavailableError, OverloadedError)


class Lease(Protocol):
    """A lease that is kept alive."""

    def check(self) -> None:
        """Raise LeaseLostError once it is lost."""


KeepLease = Callable[[Callable[[], None], float], AbstractContextManager[Lease]]


class Store(ChunkStore, Protocol):
    """The collections."""

    def check_version(self) -> str: ...
    def count(self, collection: str) -> int: ...
    def defer_index_building(self, collection: str) -> None: ...
    def is_index_deferred(self, collection: str) -> bool: ...
    def build_index(self, collection: str, check: Callable[[], None]) -> None: ...


class Queue(Protocol):
    """Sends tasks to the workers."""

    def send_job(self, job_id: str) -> None: ...
    def send_partitions(self, partition_ids: Iterable[int]) -> None: ...


class Served(Protocol):
    """The model that the encoder serves, with what depends on it."""

    @property
    def signature(self) -> str:
        """Return what, beside a document itself, decides about its points."""

    @property
    def indexer(self) -> Indexer:
        """Return what indexes with it."""

    def has_collection(self, collection: str) -> bool:
        """Tell whether the collection exists. Raises ConflictError when it holds another model's embeddings."""

    def make_collection(self, collection: str, field_types: Mapping[str, FieldType]) -> None:
        """Make the collection and its payload indexes where they are missing."""


class Worker:
    """Plans, indexes and finishes; one task at a time."""

    def __init__(
        self,
        ledger: Ledger,
        store: Store,
        queue: Queue,
        served: Callable[[], Served],
        keep_lease: KeepLease,
        settings: WorkerSettings,
        name: str,
    ) -> None:
        self._ledger = ledger
        self._store = store
        self._queue = queue
        self._served = served
        self._keep_lease = keep_lease
        self._settings = settings
        self._name = name

    def advance(self, job_id: str) -> None:
        """Plan a job and send its partitions, or do what is left behind the last of them."""
        owner, lease_s = self._new_owner(), self._settings.lease_s
        try:
            job = self._ledger.claim_job(job_id, owner, lease_s, self._settings.max_attempts)
        except NotFoundError as error:
            _log.info("job.unknown", error=str(error))  # the task outlived its ledger
            return
        if job is None:
            return
        log = _log.bind(job=job_id, collection=job.collection)
        partitions: list[int] = []
        try:
            with self._keep_lease(partial(self._ledger.renew_job, job_id, owner, lease_s), lease_s) as lease:
                if job.state is JobState.FINISHING:
                    self._finish(job, owner, lease)
                    log.info("job.finished")
                else:
                    partitions = self._plan(job, owner, lease)
        except LeaseLostError as error:
            log.info("job.left_alone", why=str(error))
        except _AWAY as error:
            log.warning("job.postponed", error=str(error))
            self._give_back(partial(self._ledger.release_job, job_id, owner, str(error)))
        except KosearchError as error:
            log.error("job.failed", error=str(error))
            self._ledger.fail_job(job_id, str(error))
        else:
            self._send(partial(self._queue.send_partitions, partitions))

    def index(self, partition_id: int) -> None:
        """Index a partition."""
        owner, lease_s = self._new_owner(), self._settings.lease_s
        partition = self._ledger.claim_partition(partition_id, owner, lease_s, self._settings.max_attempts)
        if partition is None:
            return
        log = _log.bind(job=partition.job.id, partition=partition_id)
        written: set[str] = set()
        try:
            with self._keep_lease(
                partial(self._ledger.renew_partition, partition_id, owner, lease_s), lease_s
            ) as lease:
                result = self._served().indexer.index(partition, lease.check, written)
            state = self._finish_partition(partition, owner, result)
        except LeaseLostError as error:
            log.info("partition.left_alone", why=str(error))
            self._repair(partition, written)
        except _AWAY as error:
            log.warning("partition.postponed", error=str(error))
            self._give_back(partial(self._ledger.release_partition, partition_id, owner, str(error)))
            self._repair(partition, written)  # the job may have been cancelled, and nobody comes back to it
        except KosearchError as error:
            log.error("job.failed", error=str(error))
            self._ledger.fail_job(partition.job.id, str(error))
            self._repair(partition, written)
        else:
            log.info(
                "partition.indexed",
                documents=result.documents,
                unchanged=result.unchanged,
                rejected=len(result.rejections),
                chunks=result.chunks,
            )
            if state is JobState.FINISHING:
                self._send(partial(self._queue.send_job, partition.job.id))

    def _plan(self, job: Job, owner: str, lease: Lease) -> list[int]:
        served = self._served()
        self._store.check_version()
        writer = self._ledger.plan_writer(job, owner)
        writer.begin()
        exists = served.has_collection(job.collection)
        self._forget_what_is_lost(job, writer, exists=exists)
        points = self._store.count(job.collection) if exists else 0
        retried = None
        if job.options.retries:
            retried = self._ledger.rejected_paths(job.options.retries, job.options.retry_reason)
        planned = plan_job(job, self._settings, writer, served.signature, retried, lease.check)
        is_first = points == 0 and planned.spans >= _BULK_SPANS
        # A job that was cancelled, or failed, may have left it so.
        builds_index = is_first or (exists and self._store.is_index_deferred(job.collection))
        # A job without a single sound document leaves no empty collection behind.
        if planned.spans:
            served.make_collection(job.collection, planned.field_types)
            if is_first:
                self._store.defer_index_building(job.collection)
        partitions = writer.finish(replaces=points > 0, builds_index=builds_index)
        _log.info("job.planned", job=job.id, partitions=len(partitions), **_counts(planned))
        return partitions

    def _forget_what_is_lost(self, job: Job, writer: PlanWriter, *, exists: bool) -> None:
        """Do not believe the ledger when the store has less: it was deleted, or put back from an older copy."""
        for _ in range(_COUNTS):
            # Before and after: what is pushed or deleted meanwhile is in one of the two.
            before = writer.stored_chunks()
            points = self._store.count(job.collection) if exists else 0
            chunks = min(before, writer.stored_chunks())
            if points >= chunks:
                return
        _log.warning("collection.lost_points", job=job.id, collection=job.collection, points=points, chunks=chunks)
        writer.forget_documents()

    def _finish(self, job: Job, owner: str, lease: Lease) -> None:
        """Remove what left its source, then build the index."""
        while self._remove_some(job, owner, lease):
            pass
        if job.builds_index:
            self._store.build_index(job.collection, lease.check)
        while not self._ledger.finish_job(job, owner):
            self._remove_some(job, owner, lease)

    def _remove_some(self, job: Job, owner: str, lease: Lease) -> bool:
        """Remove some of what left its source. Returns whether there was any."""
        lease.check()
        gone = self._ledger.next_removals(job, owner, _REMOVED_AT_ONCE)
        if gone:
            self._store.delete_documents(job.collection, gone)
            self._ledger.drop_removals(job, owner, gone)
        return bool(gone)

    def _finish_partition(self, partition: Partition, owner: str, result: PartitionResult) -> JobState:
        while True:
            newer = self._ledger.newer_documents(partition.job, result.written)
            deleted = [document.document_id for document in newer if document.is_deleted]
            if deleted:
                self._store.delete_documents(partition.job.collection, deleted)
            try:
                return self._ledger.finish_partition(partition.id, owner, result, newer)
            except OutdatedError:
                _log.info("partition.overtaken", partition=partition.id)

    def _repair(self, partition: Partition, written: set[str]) -> None:
        """See to it that what was written of a partition that was not finished hides nothing newer."""
        try:
            newer = self._ledger.newer_documents(partition.job, sorted(written))
            deleted = [document.document_id for document in newer if document.is_deleted]
            if deleted:
                self._store.delete_documents(partition.job.collection, deleted)
            if newer:
                _log.warning("documents.overwritten", job=partition.job.id, documents=len(newer))
                self._ledger.repair(partition.job, newer)
        except _AWAY as error:
            _log.error("documents.not_repaired", job=partition.job.id, documents=len(written), error=str(error))

    def _give_back(self, release: Callable[[], None]) -> None:
        try:
            release()
        except LeaseLostError as error:
            _log.info("work.left_alone", why=str(error))

    def _send(self, send: Callable[[], None]) -> None:
        try:
            send()
        except UnavailableError as error:
            _log.warning("tasks.not_sent", error=str(error))  # the dispatcher sends them when the broker is back

    def _new_owner(self) -> str:
        # Of its own for each claim: a worker is another one when it comes back to the same work later.
        return f"{self._name}:{uuid.uuid4().hex[:12]}"


def _counts(planned: Planned) -> dict[str, int]:
    return {"rejected": planned.rejected, "unchanged": planned.unchanged, "removals": planned.removals}
