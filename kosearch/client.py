"""A client of the encoder service: encode, search, index. Blocking; one instance may serve several threads."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import grpc
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from numpy.typing import NDArray

from kosearch.documents import Document
from kosearch.errors import (
    ConflictError,
    InvalidRequestError,
    KosearchError,
    NotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from kosearch.jobs import (
    JobOptions,
    JobProgress,
    JobState,
    JobSummary,
    Rejection,
    SourceFields,
    StoredDocument,
)
from kosearch.korean.dictionary import Dictionary, DictionaryChange, UserWord
from kosearch.reanalyses import ReanalysisState, ReanalysisSummary
from kosearch.search_client import (
    DEFAULT_OPTIONS,
    Hit,
    SearchOptions,
    SearchPage,
    ValueCount,
    count_request,
    search_page,
    search_request,
    value_counts,
)
from kosearch.settings import EncoderSettings
from protos.kosearch.v1 import (
    dictionary_pb2,
    dictionary_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
)

__all__ = ["Client", "Encoded", "Hit", "ModelInfo", "Role", "SearchOptions", "SearchPage", "ServedModel", "ValueCount"]

# Compiling a large model takes minutes.
_LOAD_TIMEOUT_S = 600.0
_MAX_MESSAGE_BYTES = 64 << 20
_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A restarted service is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
Role = Literal["", "query", "document"]
_ROLES = {
    "": encoder_pb2.ROLE_UNSPECIFIED,
    "query": encoder_pb2.ROLE_QUERY,
    "document": encoder_pb2.ROLE_DOCUMENT,
}
_ERRORS: dict[grpc.StatusCode, type[KosearchError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: ConflictError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """Answer to `encode`.

    embeddings: float32, shape (number of texts, dim), rows of length 1
    token_counts: tokens of each text that were read
    truncated: for each text, whether its tail was left out
    model_fingerprint: which model it was
    """

    embeddings: NDArray[np.float32]
    token_counts: tuple[int, ...]
    truncated: tuple[bool, ...]
    model_fingerprint: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that answers; `max_tokens` of a text are read, `max_texts` go into one call."""

    name: str
    fingerprint: str
    dim: int
    max_tokens: int
    max_texts: int


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that the service has loaded; the default answers calls that name none."""

    name: str
    fingerprint: str
    dim: int
    max_tokens: int
    is_default: bool


class Client:
    """A connection to the encoder service; connects on first use."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._settings = settings
        self._metadata = (("api-key", settings.api_key),) if settings.api_key else ()
        self._channel = grpc.insecure_channel(settings.address, options=_CHANNEL_OPTIONS)
        self._encoder = encoder_pb2_grpc.EncoderStub(self._channel)
        self._search = search_pb2_grpc.SearchStub(self._channel)
        self._index = index_pb2_grpc.IndexStub(self._channel)
        self._models = models_pb2_grpc.ModelsStub(self._channel)
        self._dictionary = dictionary_pb2_grpc.DictionaryStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def info(self) -> ModelInfo:
        """Return the model that answers. Raises UnavailableError."""
        with self._translated():
            reply = self._encoder.Info(encoder_pb2.InfoRequest(), **self._call())
        return ModelInfo(reply.model_name, reply.model_fingerprint, reply.dim, reply.max_tokens, reply.max_texts)

    def encode(self, texts: Sequence[str], role: Role = "", *, is_bulk: bool = False) -> Encoded:
        """Encode texts in the order given, as queries, documents or neither.

        Work that `is_bulk` lets queries go first. Raises InvalidRequestError, OverloadedError, UnavailableError.
        """
        priority = encoder_pb2.PRIORITY_BULK if is_bulk else encoder_pb2.PRIORITY_QUERY
        with self._translated():
            request = encoder_pb2.EncodeRequest(texts=texts, role=_ROLES[role], priority=priority)
            reply = self._encoder.Encode(request, **self._call())
        rows = np.frombuffer(reply.embeddings, dtype="<f4").reshape(len(texts), reply.dim)
        return Encoded(rows, tuple(reply.token_counts), tuple(reply.truncated), reply.model_fingerprint)

    def search(
        self,
        query: str,
        collection: str,
        top_k: int = 10,
        conditions: Sequence[search_pb2.Condition] | search_pb2.Filter = (),
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> list[Hit]:
        """Return at most `top_k` chunks by falling score that meet the filter, or all conditions.

        Raises NotFoundError for an unknown collection, ConflictError for a mode that it was not indexed for.
        """
        return self.search_page(query, collection, top_k, conditions, options).hits

    def search_page(
        self,
        query: str,
        collection: str,
        top_k: int = 10,
        conditions: Sequence[search_pb2.Condition] | search_pb2.Filter = (),
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> SearchPage:
        """Search, and return the answer whole: with the token of the next page, and how it was searched."""
        with self._translated():
            request = search_request(query, collection, top_k, conditions, options)
            return search_page(self._search.Search(request, **self._call()))

    def search_stream(
        self,
        queries: Iterable[str],
        collection: str,
        top_k: int = 10,
        conditions: Sequence[search_pb2.Condition] | search_pb2.Filter = (),
        options: SearchOptions = DEFAULT_OPTIONS,
    ) -> Iterator[SearchPage]:
        """Yield the answer of each query in their order; a few are on their way at once. The first error ends it."""
        faults: list[UnicodeEncodeError | KosearchError] = []

        def requests() -> Iterator[search_pb2.SearchRequest]:
            for query in queries:
                try:
                    yield search_request(query, collection, top_k, conditions, options)
                except (UnicodeEncodeError, KosearchError) as fault:  # gRPC would keep it to itself
                    faults.append(fault)
                    return

        with self._translated():  # no deadline: there may be millions of queries
            for reply in self._search.SearchStream(requests(), metadata=self._metadata):
                yield search_page(reply)
            if faults:
                raise faults[0]

    def count_values(
        self,
        collection: str,
        field: str,
        conditions: Sequence[search_pb2.Condition] | search_pb2.Filter = (),
        limit: int = 20,
    ) -> list[ValueCount]:
        """Return the most frequent values of an indexed field among the chunks that meet the filter."""
        with self._translated():
            request = count_request(collection, field, conditions, limit)
            return value_counts(self._search.CountValues(request, **self._call()))

    def submit_job(
        self, collection: str, paths: Sequence[Path], fields: SourceFields, options: JobOptions | None = None
    ) -> str:
        """Submit an indexing job for absolute paths. Returns its id."""
        options = options or JobOptions()
        with self._translated():
            request = index_pb2.SubmitJobRequest(
                collection=collection,
                paths=[str(path) for path in paths],
                id_field=fields.id,
                text_field=fields.text,
                title_field=fields.title,
                drops_duplicates=options.drops_duplicates,
                rereads=options.rereads,
            )
            return self._index.SubmitJob(request, **self._call()).job_id

    def watch_job(self, job_id: str) -> Iterator[JobProgress]:
        """Yield the job's progress about twice a second until it has ended. Raises NotFoundError."""
        # No deadline: a job may take days. A dead service ends the stream with UNAVAILABLE.
        with self._translated():
            for reply in self._index.WatchJob(index_pb2.WatchJobRequest(job_id=job_id), metadata=self._metadata):
                yield _progress(reply)

    def rejections(self, job_id: str) -> Iterator[Rejection]:
        """Yield what a job left out, by file and line. Raises NotFoundError."""
        request = index_pb2.ListRejectionsRequest(job_id=job_id)
        with self._translated():
            for reply in self._index.ListRejections(request, metadata=self._metadata):
                yield _rejection(reply)

    def jobs(self, limit: int = 20) -> list[JobSummary]:
        """Return the newest jobs, newest first."""
        with self._translated():
            reply = self._index.ListJobs(index_pb2.ListJobsRequest(limit=limit), **self._call())
        return [
            JobSummary(job.job_id, job.collection, tuple(job.paths), job.created_at, _progress(job.progress))
            for job in reply.jobs
        ]

    def cancel_job(self, job_id: str) -> JobState:
        """End a job; what it has stored stays. Returns its state: an ended one is as it was. Raises NotFoundError."""
        with self._translated():
            return _job_state(self._index.CancelJob(index_pb2.CancelJobRequest(job_id=job_id), **self._call()).state)

    def retry_job(self, job_id: str, reason: str = "") -> str:
        """Submit a job that tries again what another one left out. Returns its id.

        Raises NotFoundError, InvalidRequestError when there is nothing to retry.
        """
        with self._translated():
            request = index_pb2.RetryJobRequest(job_id=job_id, reason=reason)
            return self._index.RetryJob(request, **self._call()).job_id

    def find_document(self, name: str) -> tuple[list[StoredDocument], list[tuple[str, Rejection]]]:
        """Return where a document is stored, and faults of it, or of a file, as (job id, rejection), newest first."""
        with self._translated():
            reply = self._index.FindDocument(index_pb2.FindDocumentRequest(name=name), **self._call())
        return (
            [StoredDocument(each.collection, each.document_id, each.chunks, each.job_id) for each in reply.stored],
            [(each.job_id, _rejection(each.rejection)) for each in reply.dead_letters],
        )

    def push_documents(
        self, collection: str, documents: Sequence[Document], *, waits: bool = True
    ) -> tuple[str, JobState]:
        """Store 1 to 1,000 documents in place of older versions of them. Returns (job id, its state).

        waits: until searches find them. Raises InvalidRequestError, ConflictError for another model's collection.
        """
        with self._translated():
            request = index_pb2.PushDocumentsRequest(collection=collection, wait=waits)
            for document in documents:
                message = request.documents.add(id=document.id, text=document.text, title=document.title)
                _fill(message, document)
            reply = self._index.PushDocuments(request, **self._call())
        return reply.job_id, _job_state(reply.state)

    def delete_documents(self, collection: str, ids: Sequence[str]) -> int:
        """Delete documents with all their chunks. Returns the number of chunks deleted."""
        with self._translated():
            request = index_pb2.DeleteDocumentsRequest(collection=collection, ids=ids)
            return self._index.DeleteDocuments(request, **self._call()).chunks_deleted

    def served_models(self) -> list[ServedModel]:
        """Return the models that the service has, the default first."""
        with self._translated():
            reply = self._models.ListModels(models_pb2.ListModelsRequest(), **self._admin_call())
        return [_served(model) for model in reply.models]

    def load_model(self, name: str) -> ServedModel:
        """Load an installed model beside the others. Raises NotFoundError, ConflictError when it fails its check."""
        with self._translated():
            return _served(self._models.LoadModel(models_pb2.LoadModelRequest(name=name), **self._admin_call()))

    def set_default_model(self, name: str) -> ServedModel:
        """Let a loaded model answer the calls that name none. Raises NotFoundError."""
        with self._translated():
            request = models_pb2.SetDefaultModelRequest(name=name)
            return _served(self._models.SetDefaultModel(request, **self._admin_call()))

    def unload_model(self, name: str) -> None:
        """Take a model away once its calls are answered. Raises NotFoundError, ConflictError for the default."""
        with self._translated():
            self._models.UnloadModel(models_pb2.UnloadModelRequest(name=name), **self._admin_call())

    def words(self) -> Dictionary:
        """Return the words of the user that the analyser knows."""
        with self._translated():
            reply = self._dictionary.ListWords(dictionary_pb2.ListWordsRequest(), **self._admin_call())
        return Dictionary(reply.version, tuple(UserWord(word.form, word.tag) for word in reply.words))

    def put_words(self, words: Iterable[UserWord]) -> DictionaryChange:
        """Add 1 to 10,000 words, or give them another tag; `reanalyses` tells when the collections have them.

        Raises InvalidRequestError for one that cannot be.
        """
        with self._translated():
            messages = [dictionary_pb2.UserWord(form=word.form, tag=word.tag) for word in words]
            request = dictionary_pb2.PutWordsRequest(words=messages)
            return _changed(self._dictionary.PutWords(request, **self._admin_call()))

    def remove_words(self, forms: Iterable[str]) -> DictionaryChange:
        """Remove 1 to 10,000 words; unknown ones are not an error."""
        with self._translated():
            request = dictionary_pb2.RemoveWordsRequest(forms=forms)
            return _changed(self._dictionary.RemoveWords(request, **self._admin_call()))

    def reanalyses(self, limit: int = 20) -> list[ReanalysisSummary]:
        """Return how far the collections have learnt of changed words: first what goes on, then the newest."""
        with self._translated():
            request = dictionary_pb2.ListReanalysesRequest(limit=limit)
            reply = self._dictionary.ListReanalyses(request, **self._admin_call())
        return [_reanalysis(each) for each in reply.reanalyses]

    def _admin_call(self) -> dict[str, Any]:
        key = self._settings.admin_key
        more = (("admin-key", key),) if key else ()
        return {"timeout": max(self._settings.timeout_s, _LOAD_TIMEOUT_S), "metadata": (*self._metadata, *more)}

    def _call(self) -> dict[str, Any]:
        return {"timeout": self._settings.timeout_s, "metadata": self._metadata}

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except UnicodeEncodeError as error:
            raise InvalidRequestError(
                f"a text has no UTF-8 form: character {error.start} is {error.object[error.start]!r}, half of a "
                "surrogate pair; it was decoded wrongly, read it again as UTF-8"
            ) from error
        except grpc.RpcError as error:
            raise _kosearch_error(error, self._settings.address) from error


def _fill(message: index_pb2.Document, document: Document) -> None:
    try:
        message.fields.update(document.fields)
    except UnicodeEncodeError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(
            f"document {document.id!r} has a field that is no JSON: send texts, numbers, lists and objects of them"
        ) from error


def _changed(reply: dictionary_pb2.ChangeWordsResponse) -> DictionaryChange:
    return DictionaryChange(reply.version, reply.words_changed)


def _reanalysis(message: dictionary_pb2.Reanalysis) -> ReanalysisSummary:
    name = dictionary_pb2.ReanalysisState.Name(message.state)
    return ReanalysisSummary(
        id=message.id,
        collection=message.collection,
        first_version=message.first_version,
        version=message.version,
        words=message.words,
        state=ReanalysisState(name.removeprefix("REANALYSIS_STATE_").lower()),
        points_seen=message.points_seen,
        points_changed=message.points_changed,
        created_at=message.created_at,
        ended_at=message.ended_at or None,
        error=message.error,
    )


def _served(model: models_pb2.ServedModel) -> ServedModel:
    return ServedModel(model.name, model.fingerprint, model.dim, model.max_tokens, model.is_default)


def _progress(reply: index_pb2.WatchJobResponse) -> JobProgress:
    return JobProgress(
        state=_job_state(reply.state),
        documents_total=reply.documents_total,
        documents_indexed=reply.documents_indexed,
        documents_rejected=reply.documents_rejected,
        chunks_indexed=reply.chunks_indexed,
        documents_truncated=reply.documents_truncated,
        elapsed_s=reply.elapsed_s,
        error=reply.error,
        documents_unchanged=reply.documents_unchanged,
        documents_removed=reply.documents_removed,
        tokens=reply.tokens,
        tokens_embedded=reply.tokens_embedded,
    )


def _rejection(reply: index_pb2.ListRejectionsResponse) -> Rejection:
    return Rejection(reply.path, reply.line, reply.document_id, reply.reason, reply.detail, reply.documents)


def _job_state(state: index_pb2.JobState.ValueType) -> JobState:
    return JobState(index_pb2.JobState.Name(state).removeprefix("JOB_STATE_").lower())


def _kosearch_error(error: grpc.RpcError, address: str) -> KosearchError:
    assert isinstance(error, grpc.Call)  # every error of a stub's call is
    code, details = error.code(), error.details() or ""
    if code in _ERRORS:
        return _ERRORS[code](details)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return OverloadedError(details, _retry_after_s(error))
    if code is grpc.StatusCode.UNAVAILABLE and not _answered(error):
        return UnavailableError(
            f"the encoder service at {address} does not answer; start the stack with `kosearch up`, or set "
            "KOSEARCH_ENCODER__ADDRESS (or KOSEARCH_DATA_DIR, for a stack with another data directory)"
        )
    return UnavailableError(
        details if _answered(error) else f"the encoder service at {address}: {code.name}: {details}"
    )


def _answered(error: grpc.Call) -> bool:
    """Tell whether the service itself spoke: it marks every answer with a request id."""
    return any(
        key == "x-request-id" for key, _ in (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))
    )


def _retry_after_s(error: grpc.Call) -> float:
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return float(retry.retry_delay.ToTimedelta().total_seconds())
    return 1.0
