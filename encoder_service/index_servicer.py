"""The Index service: protobuf on one side; ledger, task queue and vector store on the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from encoder_service.pushed_documents import as_json_lines, checked_documents
from kosearch.errors import InvalidRequestError, UnavailableError
from kosearch.field_kinds import FieldKinds
from kosearch.jobs import JobOptions, JobProgress, JobState, Rejection, SourceFields
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from kosearch.source_roots import check_source
from kosearch.task_queue import TaskQueue
from kosearch.text import clean
from kosearch.vector_store import VectorStore, check_collection_name
from protos.kosearch.v1 import index_pb2, index_pb2_grpc

_log = structlog.get_logger()

_MAX_PATHS = 10_000
_MAX_IDS = 10_000
_MAX_FIELD_NAME_CHARACTERS = 255
_JOBS_LISTED = 20
_MAX_JOBS_LISTED = 1000
_MAX_DEAD_LETTERS = 100
_WATCH_PAUSE_S = 0.5
_PUSH_PAUSE_S = 0.05
# A job that no worker has begun after these seconds gets a hint about it.
_WORKER_HINT_S = 5.0
_WORKER_HINT = "no indexing worker has taken the job yet; `kosearch status` shows whether one runs"


class IndexServicer(index_pb2_grpc.IndexServicer):
    """Answers kosearch.v1.Index."""

    def __init__(
        self,
        ledger: Ledger,
        queue: TaskQueue,
        store: VectorStore,
        model: Callable[[], ModelDirectory],
        source_roots: Sequence[Path] = (),
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._store = store
        self._model = model
        self._source_roots = source_roots

    async def SubmitJob(self, request: index_pb2.SubmitJobRequest, context: Any) -> index_pb2.SubmitJobResponse:  # noqa: N802
        """Record a job and send it to the workers."""
        collection = check_collection_name(request.collection)
        paths = await asyncio.to_thread(_checked_paths, request.paths, self._source_roots)
        fields = _checked_fields(request)
        model = self._model()
        # Whoever mixes models learns it now, not from a failed job.
        await asyncio.to_thread(self._store.check_collection, collection, model.dim, model.name, model.fingerprint)
        options = JobOptions(drops_duplicates=request.drops_duplicates, rereads=request.rereads)
        job_id = await asyncio.to_thread(self._ledger.create_job, collection, paths, fields, options)
        await self._send(partial(self._queue.send_job, job_id), job_id)
        _log.info("job.submitted", job=job_id, collection=collection, paths=len(paths))
        return index_pb2.SubmitJobResponse(job_id=job_id)

    async def WatchJob(  # noqa: N802
        self, request: index_pb2.WatchJobRequest, context: Any
    ) -> AsyncIterator[index_pb2.WatchJobResponse]:
        """Report the job's progress until it has ended."""
        while True:
            progress = await asyncio.to_thread(self._ledger.progress, request.job_id)
            yield _progress_message(_with_hint(progress))
            if progress.state.is_ended:
                return
            await asyncio.sleep(_WATCH_PAUSE_S)

    async def ListRejections(  # noqa: N802
        self, request: index_pb2.ListRejectionsRequest, context: Any
    ) -> AsyncIterator[index_pb2.ListRejectionsResponse]:
        """Report what the job left out."""
        rejections = self._ledger.rejections(request.job_id)
        while (rejection := await asyncio.to_thread(next, rejections, None)) is not None:
            yield _rejection_message(rejection)

    async def ListJobs(self, request: index_pb2.ListJobsRequest, context: Any) -> index_pb2.ListJobsResponse:  # noqa: N802
        """List the newest jobs."""
        limit = request.limit or _JOBS_LISTED
        if limit > _MAX_JOBS_LISTED:
            raise InvalidRequestError(f"at most {_MAX_JOBS_LISTED:,} jobs are listed, not {limit:,}")
        jobs = await asyncio.to_thread(self._ledger.jobs, limit)
        return index_pb2.ListJobsResponse(
            jobs=[
                index_pb2.JobSummary(
                    job_id=job.id,
                    collection=job.collection,
                    paths=job.paths,
                    created_at=job.created_at,
                    progress=_progress_message(_with_hint(job.progress)),
                )
                for job in jobs
            ]
        )

    async def CancelJob(self, request: index_pb2.CancelJobRequest, context: Any) -> index_pb2.CancelJobResponse:  # noqa: N802
        """End a job."""
        state = await asyncio.to_thread(self._ledger.cancel_job, request.job_id)
        _log.info("job.cancelled", job=request.job_id, state=state)
        return index_pb2.CancelJobResponse(state=_state_message(state))

    async def RetryJob(self, request: index_pb2.RetryJobRequest, context: Any) -> index_pb2.RetryJobResponse:  # noqa: N802
        """Record a job that tries again what another one left out."""
        job_id = await asyncio.to_thread(self._ledger.retry_job, request.job_id, request.reason)
        await self._send(partial(self._queue.send_job, job_id), job_id)
        _log.info("job.submitted", job=job_id, retries=request.job_id, reason=request.reason)
        return index_pb2.RetryJobResponse(job_id=job_id)

    async def FindDocument(  # noqa: N802
        self, request: index_pb2.FindDocumentRequest, context: Any
    ) -> index_pb2.FindDocumentResponse:
        """Tell where a document is, and what was wrong with it."""
        stored, rejected = await asyncio.to_thread(self._ledger.find_document, clean(request.name), _MAX_DEAD_LETTERS)
        return index_pb2.FindDocumentResponse(
            stored=[
                index_pb2.StoredDocument(
                    collection=each.collection, document_id=each.document_id, chunks=each.chunks, job_id=each.job_id
                )
                for each in stored
            ],
            dead_letters=[
                index_pb2.DeadLetter(job_id=job_id, rejection=_rejection_message(rejection))
                for job_id, rejection in rejected
            ],
        )

    async def PushDocuments(  # noqa: N802
        self, request: index_pb2.PushDocumentsRequest, context: Any
    ) -> index_pb2.PushDocumentsResponse:
        """Record documents that came with the call, and send them past the queue of large jobs."""
        collection = check_collection_name(request.collection)
        documents = checked_documents(request.documents)
        kinds = FieldKinds()
        for document in documents:
            kinds.add(document)
        model = self._model()
        await asyncio.to_thread(
            self._store.ensure_collection, collection, model.dim, model.name, model.fingerprint, kinds.types()
        )
        job_id, partition_id = await asyncio.to_thread(
            self._ledger.push_documents, collection, as_json_lines(documents), len(documents)
        )
        await self._send(partial(self._queue.send_partitions, [partition_id], is_online=True), job_id)
        _log.info("documents.pushed", job=job_id, collection=collection, documents=len(documents))
        state = JobState.RUNNING
        while request.wait and not state.is_ended:
            await asyncio.sleep(_PUSH_PAUSE_S)
            state = (await asyncio.to_thread(self._ledger.progress, job_id)).state
        return index_pb2.PushDocumentsResponse(job_id=job_id, state=_state_message(state))

    async def DeleteDocuments(  # noqa: N802
        self, request: index_pb2.DeleteDocumentsRequest, context: Any
    ) -> index_pb2.DeleteDocumentsResponse:
        """Delete documents with all their chunks."""
        collection = check_collection_name(request.collection)
        if not 0 < len(request.ids) <= _MAX_IDS:
            raise InvalidRequestError(f"{len(request.ids)} document identifiers given; name 1 to {_MAX_IDS:,}")
        ids = [clean(document_id) for document_id in request.ids]  # as they were when they were indexed
        await asyncio.to_thread(self._store.count, collection)  # does it exist?
        # Before the points go, so that no worker that is at an older version brings them back.
        await asyncio.to_thread(self._ledger.delete_documents, collection, ids)
        deleted = await asyncio.to_thread(self._store.delete_documents, collection, ids)
        _log.info("documents.deleted", collection=collection, documents=len(request.ids), chunks=deleted)
        return index_pb2.DeleteDocumentsResponse(chunks_deleted=deleted)

    async def _send(self, send: Callable[[], None], job_id: str) -> None:
        try:
            await asyncio.to_thread(send)
        except UnavailableError as error:
            # Recorded is accepted: the dispatcher sends it as soon as the broker is back.
            _log.warning("job.not_sent", job=job_id, error=str(error))


def _checked_paths(paths: Any, source_roots: Sequence[Path]) -> list[Path]:
    if not 0 < len(paths) <= _MAX_PATHS:
        raise InvalidRequestError(f"{len(paths)} paths given; name 1 to {_MAX_PATHS:,} files")
    checked = [Path(path) for path in dict.fromkeys(paths)]
    for path in checked:
        if "\0" in str(path):
            raise InvalidRequestError(f"path {str(path)!r} holds a NUL character")
        if not path.is_absolute():
            raise InvalidRequestError(f"path {str(path)!r} is relative; the workers need an absolute one")
        check_source(path, source_roots)
    return checked


def _checked_fields(request: index_pb2.SubmitJobRequest) -> SourceFields:
    defaults = SourceFields()
    fields = SourceFields(
        clean(request.id_field) or defaults.id,
        clean(request.text_field) or defaults.text,
        clean(request.title_field) or defaults.title,
    )
    names = (fields.id, *fields.texts, fields.title)
    if len(set(names)) < len(names):
        raise InvalidRequestError(f"identifier, text and title are three fields; given: {', '.join(names)}")
    if any(len(name) > _MAX_FIELD_NAME_CHARACTERS for name in names):
        raise InvalidRequestError(f"a field name has at most {_MAX_FIELD_NAME_CHARACTERS} characters")
    return fields


def _with_hint(progress: JobProgress) -> JobProgress:
    is_ignored = progress.state is JobState.PENDING and not progress.error and progress.elapsed_s > _WORKER_HINT_S
    return replace(progress, error=_WORKER_HINT) if is_ignored else progress


def _state_message(state: JobState) -> index_pb2.JobState.ValueType:
    return index_pb2.JobState.Value(f"JOB_STATE_{state.name}")


def _rejection_message(rejection: Rejection) -> index_pb2.ListRejectionsResponse:
    return index_pb2.ListRejectionsResponse(
        path=rejection.path,
        line=rejection.line,
        document_id=rejection.document_id,
        reason=rejection.reason,
        detail=rejection.detail,
        documents=rejection.documents,
    )


def _progress_message(progress: JobProgress) -> index_pb2.WatchJobResponse:
    return index_pb2.WatchJobResponse(
        state=_state_message(progress.state),
        documents_total=progress.documents_total,
        documents_indexed=progress.documents_indexed,
        documents_rejected=progress.documents_rejected,
        chunks_indexed=progress.chunks_indexed,
        documents_truncated=progress.documents_truncated,
        elapsed_s=progress.elapsed_s,
        error=progress.error,
        documents_unchanged=progress.documents_unchanged,
        documents_removed=progress.documents_removed,
        tokens=progress.tokens,
        tokens_embedded=progress.tokens_embedded,
    )
