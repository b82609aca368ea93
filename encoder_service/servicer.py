"""The edge: protobuf in, protobuf out. Errors become a status in the interceptor."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from encoder_service.embedding_types import EmbeddingType, check_form, to_bytes
from encoder_service.encoder import Encoded, Options
from encoder_service.model_registry import ModelRegistry, ServedModel
from encoder_service.scheduling import Priority
from encoder_service.streams import answer_in_order
from encoder_service.wire import TYPE_NUMBERS, client_of, embedding_type_of, long_text_of, priority_of, role_of
from kosearch import __version__
from kosearch.errors import OverloadedError
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc

T = TypeVar("T")

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
        options = _options(request, Priority.QUERY, client_of(context), context.time_remaining())
        return await self._encode(request, options)

    async def EncodeStream(  # noqa: N802
        self, requests: AsyncIterator[encoder_pb2.EncodeRequest], context: Any
    ) -> AsyncIterator[encoder_pb2.EncodeResponse]:
        """Encode request after request; a few are on their way at once."""
        answer = partial(self._encode_patiently, client=client_of(context))
        async with aclosing(answer_in_order(requests, answer)) as responses:
            async for response in responses:
                yield response

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
        kind = embedding_type_of(request.embedding_type)
        served = self._models.get(request.model)
        check_form(served.directory.dim, options.dimensions, kind)
        texts = list(request.texts)  # each reading of the field decodes them
        return encode_response(served, await served.encoder.encode(texts, options), kind, options)

    async def _encode_patiently(self, request: encoder_pb2.EncodeRequest, client: str) -> encoder_pb2.EncodeResponse:
        options = _options(request, Priority.BULK, client, None)
        return await patiently(lambda: self._encode(request, options))


async def patiently(encode: Callable[[], Awaitable[T]]) -> T:
    """Wait for room where a single call would be refused."""
    while True:
        try:
            return await encode()
        except OverloadedError as error:
            await asyncio.sleep(min(error.retry_after_s, _LONGEST_PAUSE_S))


def encode_response(
    served: ServedModel, encoded: Encoded, kind: EmbeddingType, options: Options
) -> encoder_pb2.EncodeResponse:
    """The answer to whoever asked."""
    scale = served.int8_scale(options.dimensions) if kind is EmbeddingType.INT8 else 0.0
    return encoder_pb2.EncodeResponse(
        embeddings=to_bytes(encoded.embeddings, kind, scale),
        dim=encoded.embeddings.shape[1],
        token_counts=encoded.token_counts,
        truncated=encoded.truncated,
        model_fingerprint=served.directory.fingerprint,
        embedding_type=TYPE_NUMBERS[kind],
        scale=scale,
        model_name=served.directory.name,
        timing=encoder_pb2.Timing(
            tokenise_s=encoded.timing.tokenise_s, queue_s=encoded.timing.queue_s, encode_s=encoded.timing.encode_s
        ),
    )


def _options(request: encoder_pb2.EncodeRequest, usual: Priority, client: str, deadline_s: float | None) -> Options:
    return Options(
        role=role_of(request.role),
        priority=priority_of(request.priority, usual),
        dimensions=request.dimensions,
        long_text=long_text_of(request.long_text),
        client=client,
        deadline_s=deadline_s,
    )
