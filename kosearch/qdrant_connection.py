"""Connections to Qdrant, the store process or a server alike, and what becomes of its errors."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import grpc
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from kosearch.errors import (
    InvalidRequestError,
    KosearchError,
    NotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from kosearch.settings import QdrantSettings

_MAX_MESSAGE_BYTES = 64 << 20
_FULL_DISK_RETRY_S = 10.0
# A restarted store must be found again within seconds; gRPC's own default backs off for up to two minutes.
_CHANNEL_OPTIONS: dict[str, int] = {
    "grpc.max_send_message_length": _MAX_MESSAGE_BYTES,
    "grpc.max_receive_message_length": _MAX_MESSAGE_BYTES,
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 200,
    "grpc.max_reconnect_backoff_ms": 1000,
}


def connect(settings: QdrantSettings) -> QdrantClient:
    """Return a blocking client of the Qdrant that the settings name; connects on first use."""
    with _plain_http_allowed():
        return QdrantClient(**_connection(settings))


def connect_async(settings: QdrantSettings) -> AsyncQdrantClient:
    """Return an asyncio client of the Qdrant that the settings name; connects on first use."""
    with _plain_http_allowed():
        return AsyncQdrantClient(**_connection(settings))


def _connection(settings: QdrantSettings) -> dict[str, Any]:
    return {
        "url": settings.host_url,
        "grpc_port": settings.grpc_port,
        "api_key": settings.api_key,
        "timeout": settings.timeout_s,
        "prefer_grpc": True,
        "check_compatibility": False,
        "grpc_options": dict(_CHANNEL_OPTIONS),  # the client writes into it
    }


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Return the status that a call ended with; UNKNOWN for one that did not end."""
    return error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN


def details_of(error: grpc.RpcError) -> str:
    """Return what the other side said about it."""
    return (error.details() or "") if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else str(error)


@contextmanager
def translated_errors(settings: QdrantSettings, subject: str) -> Iterator[None]:
    """Turn Qdrant's errors inside the block into kosearch's. `subject`: collection the block works on."""
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise OverloadedError(f"{_where(settings)} is busy", retry_after_s=error.retry_after_s) from error
    except grpc.RpcError as error:
        raise _kosearch_error(error, settings, subject) from error


def _kosearch_error(error: grpc.RpcError, settings: QdrantSettings, subject: str) -> KosearchError:
    code = code_of(error)
    details = details_of(error)
    where = _where(settings)
    match code:
        case grpc.StatusCode.NOT_FOUND:
            return NotFoundError(
                f"collection {subject!r} does not exist; make it with `kosearch index FILE --collection {subject}`"
            )
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.ALREADY_EXISTS:
            return InvalidRequestError(f"{where} refuses: {details}")
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return UnauthenticatedError(f"{where} wants another API key; set KOSEARCH_QDRANT__API_KEY")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            # Of the store: too many calls at once, or a disk that somebody has to make room on.
            retry_after_s = _FULL_DISK_RETRY_S if "no space" in details.lower() else 1.0
            return OverloadedError(f"{where} has no room: {details}", retry_after_s)
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.DEADLINE_EXCEEDED | grpc.StatusCode.CANCELLED:
            return UnavailableError(
                f"{where} does not answer ({code.name.lower()}); start it with `kosearch up`, or set "
                "KOSEARCH_QDRANT__URL and KOSEARCH_QDRANT__GRPC_PORT"
            )
        case _:
            return UnavailableError(f"{where} failed: {code.name}: {details}")


def _where(settings: QdrantSettings) -> str:
    return f"Qdrant at {urlsplit(settings.host_url).hostname}:{settings.grpc_port}"


@contextmanager
def _plain_http_allowed() -> Iterator[None]:
    # On loopback the key is there to keep other users of the machine out; qdrant-client warns of http all the same.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Api key is used with an insecure connection")
        yield
