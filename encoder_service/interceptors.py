"""What every call goes through, whatever its service: request id, log line, status of errors, authentication."""

import hmac
import inspect
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from kosearch.errors import (
    ConflictError,
    InvalidRequestError,
    KosearchError,
    NotFoundError,
    OutdatedError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)

REQUEST_ID_KEY = "x-request-id"
API_KEY_KEY = "api-key"
ADMIN_KEY_KEY = "admin-key"

# The one table from error to status; the first row that fits counts. Anything else is INTERNAL.
STATUS_OF_ERROR: tuple[tuple[type[KosearchError], grpc.StatusCode], ...] = (
    (InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (ConflictError, grpc.StatusCode.FAILED_PRECONDITION),
    (OutdatedError, grpc.StatusCode.ABORTED),
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (UnavailableError, grpc.StatusCode.UNAVAILABLE),
)

# Orchestrators ask for health without a key, and learn nothing from it but that the service lives.
_OPEN_SERVICES = ("/grpc.health.v1.Health/",)
# Whoever may search need not be able to take the model away from all others, or their words.
_ADMIN_SERVICES = ("/kosearch.v1.Models/", "/kosearch.v1.Dictionary/")
_MAX_REQUEST_ID_LENGTH = 128
# A status message travels in a header, percent-encoded; gRPC drops a call whose headers exceed 8 KiB.
_MAX_MESSAGE_CHARACTERS = 700

_log = structlog.get_logger()

# grpc.aio's generics say nothing here: an interceptor sees handlers of every request and response type.
# Quoted: only the stubs are generic.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Continuation: TypeAlias = "Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]]"
_Behaviour: TypeAlias = "Callable[[Any, _Context], Any]"
_Reader: TypeAlias = Callable[[bytes], Any]


# What hears of the end of each call: method, code, seconds.
Report: TypeAlias = Callable[[str, grpc.StatusCode, float], None]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Gives a call its request id, turns its errors into a status, logs and reports how it ended."""

    def __init__(self, report: Report = lambda *_: None) -> None:
        self._report = report
        self._wrapped: dict[_Handler, _Handler] = {}  # one for each method, and for each refusal of it

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> "_Handler | None":
        """Wrap the method that answers the call."""
        handler = await continuation(details)
        if handler is None:  # no such method; grpc answers UNIMPLEMENTED
            return None
        wrapped = self._wrapped.get(handler)
        if wrapped is None:
            wrapped = self._wrapped[handler] = self._wrap(handler, details.method)
        return wrapped

    def _wrap(self, handler: _Handler, method: str) -> _Handler:
        behaviour = _behaviour(handler)
        if inspect.isasyncgenfunction(behaviour):

            async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
                async with _observed(method, context, self._report):
                    _require_readable(request)
                    async for response in behaviour(request, context):
                        yield response

            return _with_behaviour(handler, stream, _reader(handler))

        async def answer(request: Any, context: _Context) -> Any:
            async with _observed(method, context, self._report):
                _require_readable(request)
                return await behaviour(request, context)

        return _with_behaviour(handler, answer, _reader(handler))


class AuthenticationInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the API key, and changes of models and dictionary without the admin key.

    Without an API key of its own it lets every other call pass; without an admin key nobody may change these.
    """

    def __init__(self, api_key: str | None, admin_key: str | None = None) -> None:
        self._api_key = api_key
        self._admin_key = admin_key
        self._refusals: dict[tuple[str, str], _Handler] = {}  # by method and complaint

    async def intercept_service(
        self, continuation: _Continuation, details: grpc.HandlerCallDetails
    ) -> "_Handler | None":
        """Let the call pass, or replace the method that would answer it by a refusal."""
        handler = await continuation(details)
        complaint = None if handler is None else self._complaint(details)
        if handler is None or complaint is None:
            return handler

        refusal = self._refusals.get((details.method, complaint))
        if refusal is None:
            refusal = self._refusals[details.method, complaint] = _refusal(handler, complaint)
        return refusal

    def _complaint(self, details: grpc.HandlerCallDetails) -> str | None:
        """What is wrong with the keys of a call."""
        if details.method.startswith(_OPEN_SERVICES):
            return None
        if self._api_key is not None and not _is_given(details, API_KEY_KEY, self._api_key):
            return (
                f"the API key in metadata '{API_KEY_KEY}' is missing or wrong; set KOSEARCH_ENCODER__API_KEY to the "
                "key of the service"
            )
        if not details.method.startswith(_ADMIN_SERVICES):
            return None
        if self._admin_key is None:
            return (
                "nobody may change the models or the dictionary of this service; start it with "
                "KOSEARCH_ENCODER__ADMIN_KEY"
            )
        if not _is_given(details, ADMIN_KEY_KEY, self._admin_key):
            return (
                f"the admin key in metadata '{ADMIN_KEY_KEY}' is missing or wrong; set KOSEARCH_ENCODER__ADMIN_KEY to "
                "that of the service"
            )
        return None


def _refusal(handler: _Handler, complaint: str) -> _Handler:
    async def refuse(_request: Any, _context: _Context) -> Any:
        raise UnauthenticatedError(complaint)

    return _with_behaviour(handler, refuse)


def _is_given(details: grpc.HandlerCallDetails, name: str, key: str) -> bool:
    given = _metadata_value(details.invocation_metadata, name) or ""
    return hmac.compare_digest(given.encode(), key.encode())


def status_of(error: Exception, request_id: str) -> status_pb2.Status:
    """Return the status that tells a caller of this error."""
    for kind, code in STATUS_OF_ERROR:
        if isinstance(error, kind):
            return status_pb2.Status(
                code=code.value[0], message=str(error)[:_MAX_MESSAGE_CHARACTERS], details=_details_of(error)
            )
    return status_pb2.Status(
        code=grpc.StatusCode.INTERNAL.value[0],
        message=f"the service failed; its log tells why under request id {request_id}",
    )


def _details_of(error: KosearchError) -> list[any_pb2.Any]:
    if not isinstance(error, OverloadedError):
        return []
    delay = duration_pb2.Duration()
    delay.FromNanoseconds(int(error.retry_after_s * 1e9))
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return [packed]


@asynccontextmanager
async def _observed(method: str, context: _Context, report: Report) -> AsyncIterator[None]:
    """Run one call's work: log its end, abort with the status of its error."""
    request_id = _request_id(context)
    # The binding ends with the call: grpc.aio runs each in a task of its own.
    structlog.contextvars.bind_contextvars(request_id=request_id)
    context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
    started = time.perf_counter()
    code = grpc.StatusCode.CANCELLED  # what remains when nothing below is reached
    try:
        yield
        code = grpc.StatusCode.OK
    except grpc.aio.AbortError:
        code = _code_of(context)
        raise
    except Exception as error:
        rich = status_of(error, request_id)
        status = rpc_status.to_status(rich)
        code = status.code
        if code is grpc.StatusCode.INTERNAL:
            _log.exception("call.failed", method=method)
        # The rich form repeats code and message: it goes along only where it says more.
        more = status.trailing_metadata or () if rich.details else ()
        await context.abort(code, status.details, (*more, (REQUEST_ID_KEY, request_id)))
    finally:
        elapsed_s = time.perf_counter() - started
        report(method, code, elapsed_s)
        log = _log.debug if code is grpc.StatusCode.OK else _log.info
        log("call.finished", method=method, code=code.name, duration_ms=round(elapsed_s * 1e3, 2))


def _code_of(context: _Context) -> grpc.StatusCode:
    """Return the code a method has aborted with itself; grpc holds it as a number."""
    number = context.code()
    return next((code for code in grpc.StatusCode if number in (code, code.value[0])), grpc.StatusCode.UNKNOWN)


def _request_id(context: _Context) -> str:
    given = _metadata_value(context.invocation_metadata(), REQUEST_ID_KEY) or ""
    is_usable = 0 < len(given) <= _MAX_REQUEST_ID_LENGTH and given.isascii() and given.isprintable()
    return given if is_usable else f"{random.getrandbits(128):032x}"  # no secret


def _metadata_value(metadata: "Iterable[tuple[str, str | bytes]] | None", wanted: str) -> str | None:
    for key, value in metadata or ():
        if key == wanted:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return None


def _behaviour(handler: _Handler) -> _Behaviour:
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return cast("_Behaviour", behaviour)  # typed for the blocking server; one of the four is always there


def _reader(handler: _Handler) -> _Reader:
    """What reads the handler's requests, and refuses bytes that are none; gRPC alone would answer UNKNOWN."""
    read = handler.request_deserializer

    def read_or_refuse(message: bytes) -> Any:
        try:
            return read(message) if read else message
        except DecodeError as error:
            refusal = InvalidRequestError(f"the request cannot be read; is the client of another version? ({error})")
            if handler.request_streaming:  # the method asks for the message, and gets the error
                raise refusal from error
            return refusal  # nobody is there yet to get the error: it goes the way of the request

    return read_or_refuse


def _require_readable(request: Any) -> None:
    if isinstance(request, InvalidRequestError):
        raise request


def _with_behaviour(handler: _Handler, behaviour: _Behaviour, reader: _Reader | None = None) -> _Handler:
    """Return the handler with another method behind it, and another reader of its requests if one is given."""
    match handler.request_streaming, handler.response_streaming:
        case False, False:
            make = grpc.unary_unary_rpc_method_handler
        case False, True:
            make = grpc.unary_stream_rpc_method_handler
        case True, False:
            make = grpc.stream_unary_rpc_method_handler
        case _:
            make = grpc.stream_stream_rpc_method_handler
    return make(behaviour, reader or handler.request_deserializer, handler.response_serializer)
