"""The use case Search: a query in, the nearest chunks out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opentelemetry.trace import NoOpTracer, Tracer
from qdrant_client import AsyncQdrantClient, models

from encoder_service.encoder import Encoded, Options
from encoder_service.text_reader import Role
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError
from kosearch.settings import QdrantSettings
from kosearch.text import normalise
from kosearch.vector_store import (
    METADATA_MODEL_FINGERPRINT,
    METADATA_MODEL_NAME,
    PAYLOAD_CHUNK_INDEX,
    PAYLOAD_DOCUMENT_ID,
    PAYLOAD_FIELDS,
    PAYLOAD_TEXT,
    PAYLOAD_TITLE,
    check_collection_name,
    field_path,
    translated_errors,
)

_QUERY = Options(role=Role.QUERY)
_MAX_QUERY_BYTES = 65_536
_MAX_TOP_K = 1000
_DEFAULT_TOP_K = 10
_MAX_CONDITIONS = 32
# A collection may be deleted and made again with another model; asking before every search would double the calls.
_MODEL_CHECK_VALID_S = 5.0


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between bounds; None is open."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A document's field equals a value, or lies in a range."""

    field: str
    wanted: str | int | bool | Range


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a query. `score` is the cosine similarity, -1 to 1; `fields` are the document's own."""

    document_id: str
    score: float
    text: str
    title: str
    fields: dict[str, Any]
    chunk_index: int


@dataclass(frozen=True, slots=True)
class _IndexedWith:
    """The model of a collection, and when the store said so."""

    model: str
    fingerprint: str
    asked_at: float


class QueryEncoder(Protocol):
    """What a searcher asks of the encoder."""

    async def encode(self, texts: Sequence[str], options: Options) -> Encoded:
        """Encode texts in the order given."""
        ...


class QueryModels(Protocol):
    """The models that queries can be encoded with."""

    def encoder_of(self, fingerprint: str) -> QueryEncoder | None:
        """The encoder of the model with this fingerprint, if there is one."""
        ...

    def names(self) -> list[str]:
        """Names of all models."""
        ...


class Searcher:
    """Searches collections, each with the model that it was indexed with."""

    def __init__(
        self,
        models: QueryModels,
        client: AsyncQdrantClient,
        qdrant: QdrantSettings,
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a searcher; `tracer` makes the span of Qdrant's part, `clock` counts seconds."""
        self._models = models
        self._client = client
        self._qdrant = qdrant
        self._tracer = tracer or NoOpTracer()
        self._clock = clock
        self._known: dict[str, _IndexedWith] = {}

    async def search(self, query: str, collection: str, top_k: int, conditions: Sequence[Condition]) -> list[Hit]:
        """Return at most `top_k` hits (0: 10) by falling score; all conditions hold for each.

        Raises InvalidRequestError, NotFoundError (no such collection), ConflictError (it was indexed with a model that
        is not served), UnavailableError (Qdrant does not answer), OverloadedError (the encoder's queue is full).
        """
        readable = _readable_query(query)
        limit = _limit(top_k)
        query_filter = _qdrant_filter(conditions)
        encoder = await self._encoder_of(check_collection_name(collection))
        encoded = await encoder.encode([readable], _QUERY)
        try:
            with self._tracer.start_as_current_span("qdrant"), translated_errors(self._qdrant, collection):
                answer = await self._client.query_points(
                    collection,
                    query=encoded.embeddings[0].tolist(),
                    limit=limit,
                    query_filter=query_filter,
                    with_payload=True,
                )
        except NotFoundError:
            self._known.pop(collection, None)
            raise
        return [_hit(point) for point in answer.points]

    async def _encoder_of(self, collection: str) -> QueryEncoder:
        indexed_with = await self._indexed_with(collection)
        encoder = self._models.encoder_of(indexed_with.fingerprint)
        if encoder is None:
            self._known.pop(collection, None)
            raise ConflictError(
                f"collection {collection!r} was indexed with {indexed_with.model} "
                f"(fingerprint {indexed_with.fingerprint[:12] or 'unknown'}), this service runs "
                f"{', '.join(self._models.names())}: embeddings of different models cannot be compared. Index again "
                "into another collection, or let the service load the model of the collection (`kosearch model load`)"
            )
        return encoder

    async def _indexed_with(self, collection: str) -> _IndexedWith:
        now = self._clock()
        known = self._known.get(collection)
        if known is not None and now - known.asked_at < _MODEL_CHECK_VALID_S:
            return known
        with translated_errors(self._qdrant, collection):
            info = await self._client.get_collection(collection)
        metadata = info.config.metadata or {}
        self._known = {
            name: known for name, known in self._known.items() if now - known.asked_at < _MODEL_CHECK_VALID_S
        }
        found = self._known[collection] = _IndexedWith(
            str(metadata.get(METADATA_MODEL_NAME, "an unknown model")),
            str(metadata.get(METADATA_MODEL_FINGERPRINT) or ""),
            now,
        )
        return found


def _readable_query(query: str) -> str:
    readable = normalise(query)
    if not readable:
        raise InvalidRequestError("the query is empty; search for a word or a sentence")
    size = len(readable.encode())
    if size > _MAX_QUERY_BYTES:
        raise InvalidRequestError(f"the query has {size:,} bytes, {_MAX_QUERY_BYTES:,} are accepted; shorten it")
    return readable


def _limit(top_k: int) -> int:
    if not 0 <= top_k <= _MAX_TOP_K:
        raise InvalidRequestError(f"top_k is {top_k:,}; ask for 1 to {_MAX_TOP_K:,} hits, or 0 for {_DEFAULT_TOP_K}")
    return top_k or _DEFAULT_TOP_K


def _qdrant_filter(conditions: Sequence[Condition]) -> models.Filter | None:
    if len(conditions) > _MAX_CONDITIONS:
        raise InvalidRequestError(f"the filter has {len(conditions)} conditions, {_MAX_CONDITIONS} are accepted")
    return models.Filter(must=[_field_condition(condition) for condition in conditions]) if conditions else None


def _field_condition(condition: Condition) -> models.FieldCondition:
    key = field_path(condition.field)
    if not isinstance(condition.wanted, Range):
        return models.FieldCondition(key=key, match=models.MatchValue(value=condition.wanted))
    wanted = condition.wanted
    bounds = [bound for bound in (wanted.gt, wanted.gte, wanted.lt, wanted.lte) if bound is not None]
    if not bounds or any(map(math.isnan, bounds)):
        raise InvalidRequestError(f"the range for field {condition.field!r} needs a bound that is a number")
    return models.FieldCondition(
        key=key, range=models.Range(gt=wanted.gt, gte=wanted.gte, lt=wanted.lt, lte=wanted.lte)
    )


def _hit(point: models.ScoredPoint) -> Hit:
    payload = point.payload or {}
    return Hit(
        document_id=str(payload.get(PAYLOAD_DOCUMENT_ID, point.id)),
        score=point.score,
        text=str(payload.get(PAYLOAD_TEXT, "")),
        title=str(payload.get(PAYLOAD_TITLE, "")),
        fields=payload.get(PAYLOAD_FIELDS) or {},
        chunk_index=int(payload.get(PAYLOAD_CHUNK_INDEX, 0)),
    )
