"""What holds for every RPC: the API key, the refusal of what is not served, one translation of errors."""

from __future__ import annotations  # grpc's classes are generic in the stubs alone

import hmac
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias

import grpc
import structlog

from standalone.store.engine import from_engine, is_panic
from standalone.store.errors import StoreError, UnsupportedError

_log = structlog.get_logger(__name__)

_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# A supervisor asks whether the store lives before it knows any key, as with a Qdrant server.
_OPEN_TO_ALL = ("/grpc.health.v1.Health/", "/qdrant.Qdrant/HealthCheck")


def served_methods(service: str, servicer: type, base: type) -> set[str]:
    """Return the full names of the RPCs that a servicer's class answers: those it does not inherit from `base`."""
    return {f"/{service}/{name}" for name in vars(base) if name[0].isupper() and name in vars(servicer)}


class Gate(grpc.aio.ServerInterceptor):
    """Lets calls through that have the key and are served, and turns what they raise into a status."""

    def __init__(self, served: Iterable[str], api_key: str | None) -> None:
        """`served`: full names of the RPCs of Qdrant's services that are served."""
        self._served = frozenset(served)
        self._api_key = api_key

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Return the handler for a call."""
        method = handler_call_details.method
        if not method.startswith(_OPEN_TO_ALL) and not self._has_key(handler_call_details.invocation_metadata):
            return _refusal(
                grpc.StatusCode.UNAUTHENTICATED, "Invalid API key: send KOSEARCH_QDRANT__API_KEY as `api-key`"
            )
        if method.startswith("/qdrant.") and method not in self._served:
            return _refusal(UnsupportedError.code, str(UnsupportedError(f"the RPC {method.removeprefix('/')}")))
        handler = await continuation(handler_call_details)
        if handler is None or not method.startswith("/qdrant."):
            return handler
        return grpc.unary_unary_rpc_method_handler(
            _answering_errors(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _has_key(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
        if self._api_key is None:
            return True
        given = next((value for name, value in metadata or () if name == "api-key"), "")
        given_bytes = given if isinstance(given, bytes) else given.encode()
        return hmac.compare_digest(given_bytes, self._api_key.encode())


def _answering_errors(method: str, behaviour: Any) -> Any:
    async def answer(request: Any, context: _Context) -> Any:
        failure: StoreError
        try:
            return await behaviour(request, context)
        except StoreError as error:
            failure = error
        except BaseException as error:
            if not (isinstance(error, Exception) or is_panic(error)):
                raise  # cancelled, or the process ends
            failure = from_engine(error)
            if failure.code is StoreError.code:
                _log.exception("rpc.failed", method=method)
        _log.info("rpc.refused", method=method, code=failure.code.name)
        return await context.abort(failure.code, str(failure))

    return answer


def _refusal(code: grpc.StatusCode, message: str) -> _Handler:
    async def refuse(_request: Any, context: _Context) -> None:
        await context.abort(code, message)

    return grpc.unary_unary_rpc_method_handler(refuse)
