"""Calls that go to the process with the engine as they are, and what becomes of their errors."""

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NoReturn, TypeAlias

import grpc
import structlog

from encoder_service.interceptors import REQUEST_ID_KEY

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

# What gRPC sets itself, and the id that is set anew.
_OWN_KEYS = ("user-agent", "content-type", "te", REQUEST_ID_KEY)
_OWN_PREFIXES = ("grpc-", ":")


class Forwarder(grpc.GenericRpcHandler):
    """Answers a fixed set of methods by asking the process with the engine; message after message, none is read."""

    def __init__(self, engine: grpc.aio.Channel, methods: Iterable[str]) -> None:
        """`methods`: their full names, such as `/kosearch.v1.Search/Search`."""
        self._engine = engine
        self._handlers: dict[str, _Handler] = {
            method: grpc.stream_stream_rpc_method_handler(self._forward(method)) for method in methods
        }

    def service(self, details: grpc.HandlerCallDetails) -> "_Handler | None":
        """The handler of a call; None for methods that are not forwarded."""
        return self._handlers.get(details.method)

    def _forward(self, method: str) -> Callable[[AsyncIterator[bytes], Any], AsyncIterator[bytes]]:
        # On the wire a single message is a stream of one.
        ask: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = self._engine.stream_stream(method)

        async def forward(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            call = ask(requests, metadata=metadata_for_engine(context), timeout=context.time_remaining())
            try:
                async for response in call:
                    yield response
            except grpc.aio.AioRpcError as error:
                await pass_on(error, context)
            finally:
                call.cancel()

        return forward


def metadata_for_engine(context: Any) -> tuple[tuple[str, Any], ...]:
    """What a caller sent along, under the request id that the call has here."""
    sent = tuple(
        (key, value)
        for key, value in context.invocation_metadata() or ()
        if key not in _OWN_KEYS and not key.startswith(_OWN_PREFIXES)
    )
    return (*sent, (REQUEST_ID_KEY, structlog.contextvars.get_contextvars()["request_id"]))


async def pass_on(error: grpc.aio.AioRpcError, context: Any) -> NoReturn:
    """End a call as the process with the engine has ended it."""
    await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))
    raise AssertionError("abort raises")
