"""The edge: protobuf in, protobuf out. Errors become a status in the interceptor."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import struct_pb2

from encoder_service.embedding_types import EmbeddingType, int8_scale, to_bytes
from encoder_service.encoder import Options, Role
from encoder_service.model_registry import ModelRegistry
from encoder_service.scheduling import Priority
from encoder_service.searcher import Condition, Hit, Range, Searcher
from encoder_service.tokeniser import LongText
from kosearch import __version__
from kosearch.errors import InvalidRequestError, OverloadedError
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, search_pb2, search_pb2_grpc

T = TypeVar("T")

_PRIORITIES: dict[int, Priority] = {
    encoder_pb2.PRIORITY_QUERY: Priority.QUERY,
    encoder_pb2.PRIORITY_BULK: Priority.BULK,
}
_ROLES: dict[int, Role] = {
    encoder_pb2.ROLE_UNSPECIFIED: Role.NONE,
    encoder_pb2.ROLE_QUERY: Role.QUERY,
    encoder_pb2.ROLE_DOCUMENT: Role.DOCUMENT,
}
_TYPE_NUMBERS = {
    EmbeddingType.FLOAT32: encoder_pb2.EMBEDDING_TYPE_FLOAT32,
    EmbeddingType.FLOAT16: encoder_pb2.EMBEDDING_TYPE_FLOAT16,
    EmbeddingType.INT8: encoder_pb2.EMBEDDING_TYPE_INT8,
    EmbeddingType.BINARY: encoder_pb2.EMBEDDING_TYPE_BINARY,
}
_TYPES: dict[int, EmbeddingType] = {
    encoder_pb2.EMBEDDING_TYPE_UNSPECIFIED: EmbeddingType.FLOAT32,
    **{number: kind for kind, number in _TYPE_NUMBERS.items()},
}
_LONG_TEXTS: dict[int, LongText] = {
    encoder_pb2.LONG_TEXT_UNSPECIFIED: LongText.TRUNCATE,
    encoder_pb2.LONG_TEXT_TRUNCATE: LongText.TRUNCATE,
    encoder_pb2.LONG_TEXT_ERROR: LongText.ERROR,
    encoder_pb2.LONG_TEXT_MEAN_OF_CHUNKS: LongText.MEAN_OF_CHUNKS,
}
# Requests of one stream that are on their way at once: enough to keep the engine busy, few enough to hold back a
# client that sends faster than the engine encodes.
_STREAM_WINDOW = 8
_CLIENT_KEY = "x-client-id"
# A stream waits for room where a call is refused.
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry."""

    max_texts: int
    max_text_bytes: int


class EncoderServicer(encoder_pb2_grpc.EncoderServicer):
    """Answers kosearch.v1.Encoder."""

    def __init__(self, models: ModelRegistry, limits: Limits) -> None:
        self._models = models
        self._limits = limits

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:  # noqa: N802
        """Encode texts."""
        options = _options(request, Priority.QUERY, _client_of(context), context.time_remaining())
        return await self._encode(request, options)

    async def EncodeStream(  # noqa: N802
        self, requests: AsyncIterator[encoder_pb2.EncodeRequest], context: Any
    ) -> AsyncIterator[encoder_pb2.EncodeResponse]:
        """Encode request after request; a few are on their way at once."""
        answers: asyncio.Queue[asyncio.Task[encoder_pb2.EncodeResponse] | None] = asyncio.Queue(_STREAM_WINDOW)
        client = _client_of(context)

        async def read() -> None:
            try:
                async for request in requests:
                    answer = asyncio.create_task(self._encode_patiently(request, client))
                    try:
                        await answers.put(answer)
                    except asyncio.CancelledError:  # the client has left while there was no room
                        answer.cancel()
                        raise
            finally:  # also when a request cannot be read
                await answers.put(None)

        reading = asyncio.create_task(read())
        try:
            while (answer := await answers.get()) is not None:
                try:
                    yield await answer
                finally:
                    answer.cancel()
            await reading
        finally:
            reading.cancel()
            while not answers.empty():
                if (left := answers.get_nowait()) is not None:
                    left.cancel()

    async def Info(self, request: encoder_pb2.InfoRequest, context: Any) -> encoder_pb2.InfoResponse:  # noqa: N802
        """Tell model and limits."""
        model = self._models.get(request.model).directory
        return encoder_pb2.InfoResponse(
            model_name=model.name,
            model_fingerprint=model.fingerprint,
            dim=model.dim,
            max_tokens=model.max_tokens,
            max_texts=self._limits.max_texts,
            max_text_bytes=self._limits.max_text_bytes,
            server_version=__version__,
            model_names=self._models.names(),
        )

    async def _encode(self, request: encoder_pb2.EncodeRequest, options: Options) -> encoder_pb2.EncodeResponse:
        kind = _known(_TYPES, request.embedding_type, "embedding_type")
        served = self._models.get(request.model)
        encoded = await served.encoder.encode(list(request.texts), options)  # a list: each reading decodes them
        scale = int8_scale(served.golden, options.dimensions) if kind is EmbeddingType.INT8 else 0.0
        return encoder_pb2.EncodeResponse(
            embeddings=to_bytes(encoded.embeddings, kind, scale),
            dim=encoded.embeddings.shape[1],
            token_counts=encoded.token_counts,
            truncated=encoded.truncated,
            model_fingerprint=served.directory.fingerprint,
            embedding_type=_TYPE_NUMBERS[kind],
            scale=scale,
            model_name=served.directory.name,
            timing=encoder_pb2.Timing(
                tokenise_s=encoded.timing.tokenise_s, queue_s=encoded.timing.queue_s, encode_s=encoded.timing.encode_s
            ),
        )

    async def _encode_patiently(self, request: encoder_pb2.EncodeRequest, client: str) -> encoder_pb2.EncodeResponse:
        """Wait for room where a single call would be refused."""
        options = _options(request, Priority.BULK, client, None)
        while True:
            try:
                return await self._encode(request, options)
            except OverloadedError as error:
                await asyncio.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))


def _options(request: encoder_pb2.EncodeRequest, usual: Priority, client: str, deadline_s: float | None) -> Options:
    return Options(
        role=_known(_ROLES, request.role, "role"),
        priority=_known({encoder_pb2.PRIORITY_UNSPECIFIED: usual, **_PRIORITIES}, request.priority, "priority"),
        dimensions=request.dimensions,
        long_text=_known(_LONG_TEXTS, request.long_text, "long_text"),
        client=client,
        deadline_s=deadline_s,
    )


def _known(meanings: Mapping[int, T], number: int, field: str) -> T:
    try:
        return meanings[number]
    except KeyError:
        raise InvalidRequestError(
            f"{field} {number} is unknown to this version; the client is newer, or wrong"
        ) from None


def _client_of(context: Any) -> str:
    """Whose turn a call takes: the name it gives itself, else its connection."""
    for key, value in context.invocation_metadata() or ():
        if key == _CLIENT_KEY:
            return str(value)
    return str(context.peer())


class SearchServicer(search_pb2_grpc.SearchServicer):
    """Answers kosearch.v1.Search."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        """Find the nearest chunks."""
        conditions = [_condition(condition) for condition in request.filter.must]
        hits = await self._searcher.search(request.query, request.collection, request.top_k, conditions)
        return search_pb2.SearchResponse(hits=map(_hit_message, hits))


def _condition(message: search_pb2.Condition) -> Condition:
    match message.WhichOneof("test"):
        case "keyword":
            return Condition(message.field, message.keyword)
        case "integer":
            return Condition(message.field, message.integer)
        case "boolean":
            return Condition(message.field, message.boolean)
        case "range":
            return Condition(message.field, _range(message.range))
        case _:
            raise InvalidRequestError(
                f"the condition on field {message.field!r} tests nothing; set keyword, integer, boolean or range"
            )


def _range(message: search_pb2.Range) -> Range:
    return Range(
        gt=message.gt if message.HasField("gt") else None,
        gte=message.gte if message.HasField("gte") else None,
        lt=message.lt if message.HasField("lt") else None,
        lte=message.lte if message.HasField("lte") else None,
    )


def _hit_message(hit: Hit) -> search_pb2.Hit:
    payload = struct_pb2.Struct()
    payload.update(hit.fields)
    return search_pb2.Hit(
        id=hit.document_id,
        score=hit.score,
        text=hit.text,
        title=hit.title,
        payload=payload,
        chunk_index=hit.chunk_index,
    )
