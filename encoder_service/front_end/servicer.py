"""The calls that a front-end answers itself: texts in, token ids to the engine, its answer out as it comes."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from encoder_service.front_end.forwarding import metadata_for_engine, pass_on
from encoder_service.front_end.readers import Readers
from encoder_service.scheduling import Priority
from encoder_service.streams import answer_in_order
from encoder_service.wire import (
    PRIORITY_NUMBERS,
    TYPE_NUMBERS,
    client_of,
    embedding_type_of,
    long_text_of,
    priority_of,
    role_of,
)
from protos.kosearch.v1 import encoder_pb2, tokens_pb2

# An encoded response as it travels: nobody here has to read it.
Encode = Callable[..., Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class _Caller:
    """What is the same for all requests of a call."""

    context: Any
    usual: Priority
    is_patient: bool


class FrontEndServicer:
    """Answers Encode and EncodeStream of kosearch.v1.Encoder."""

    def __init__(self, readers: Readers, encode: Encode) -> None:
        """`encode`: Tokens.Encode of the process with the engine, its response left as bytes."""
        self._readers = readers
        self._encode = encode

    async def encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> bytes:
        """Encode texts."""
        try:
            return await self._answer(request, _Caller(context, Priority.QUERY, is_patient=False))
        except grpc.aio.AioRpcError as error:
            return await pass_on(error, context)

    async def encode_stream(
        self, requests: AsyncIterator[encoder_pb2.EncodeRequest], context: Any
    ) -> AsyncIterator[bytes]:
        """Encode request after request; a few are on their way at once."""
        caller = _Caller(context, Priority.BULK, is_patient=True)
        try:
            async with aclosing(answer_in_order(requests, lambda request: self._answer(request, caller))) as responses:
                async for response in responses:
                    yield response
        except grpc.aio.AioRpcError as error:
            await pass_on(error, context)

    async def _answer(self, request: encoder_pb2.EncodeRequest, caller: _Caller) -> bytes:
        metadata = metadata_for_engine(caller.context)
        texts = list(request.texts)
        role, long_text = role_of(request.role), long_text_of(request.long_text)
        message = tokens_pb2.TokensRequest(
            model=request.model,
            priority=PRIORITY_NUMBERS[priority_of(request.priority, caller.usual)],
            dimensions=request.dimensions,
            embedding_type=TYPE_NUMBERS[embedding_type_of(request.embedding_type)],
            client=client_of(caller.context),
            is_patient=caller.is_patient,
        )
        for is_last in (False, True):
            model = await self._readers.get(request.model, metadata)
            model.reader.check_count(texts)
            started = time.perf_counter()
            tokenised = await model.reader.read(texts, sum(map(len, texts)), role, long_text)
            message.tokenise_s = time.perf_counter() - started
            message.model_fingerprint = model.fingerprint
            message.token_ids = np.concatenate(tokenised.token_ids).astype("<i4", copy=False).tobytes()
            message.lengths = np.array([len(ids) for ids in tokenised.token_ids], "<i4").tobytes()
            message.chunk_counts = np.array(tokenised.chunk_counts, "<i4").tobytes()
            message.truncated = bytes(tokenised.truncated)
            try:
                return await self._encode(message, metadata=metadata, timeout=caller.context.time_remaining())
            except grpc.aio.AioRpcError as error:
                if is_last or error.code() is not grpc.StatusCode.ABORTED:
                    raise
                self._readers.forget(request.model, model)  # another model answers under this name now
        raise AssertionError("the second attempt returns or raises")
