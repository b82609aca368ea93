"""The interceptors round every kind of method."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import structlog

from encoder_service.interceptors import AuthenticationInterceptor, CallInterceptor
from kosearch.errors import NotFoundError


class Countdown:
    """Counts down from the byte it is given; 9 is not found, 8 breaks, 7 aborts by itself."""

    async def unary(self, request: bytes, context: Any) -> bytes:
        await self._refuse(request, context)
        return request

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"start"
        await self._refuse(request, context)
        for number in range(request[0], 0, -1):
            yield bytes([number])

    async def _refuse(self, request: bytes, context: Any) -> None:
        if request[0] == 9:
            raise NotFoundError("9는 없습니다")
        if request[0] == 8:
            raise ZeroDivisionError("a secret")
        if request[0] == 7:
            await context.abort(grpc.StatusCode.DATA_LOSS, "seven")


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=(CallInterceptor(), AuthenticationInterceptor(None)))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(Countdown().unary),
        "Stream": grpc.unary_stream_rpc_method_handler(Countdown().stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Countdown", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as connected:
        yield connected
    await server.stop(None)


async def call(channel: grpc.aio.Channel, method: str, number: int) -> list[bytes]:
    if method == "Unary":
        return [await channel.unary_unary(f"/test.Countdown/{method}")(bytes([number]), timeout=5)]
    return [reply async for reply in channel.unary_stream(f"/test.Countdown/{method}")(bytes([number]), timeout=5)]


async def test_answers_pass_unchanged(channel: grpc.aio.Channel) -> None:
    assert await call(channel, "Unary", 3) == [b"\x03"]
    assert await call(channel, "Stream", 3) == [b"start", b"\x03", b"\x02", b"\x01"]


@pytest.mark.parametrize("method", ["Unary", "Stream"])
@pytest.mark.parametrize(
    ("number", "code", "details"),
    [
        (9, grpc.StatusCode.NOT_FOUND, "9는 없습니다"),
        (8, grpc.StatusCode.INTERNAL, "request id"),
        (7, grpc.StatusCode.DATA_LOSS, "seven"),
    ],
)
async def test_an_error_becomes_its_status_and_is_logged_once(
    channel: grpc.aio.Channel, method: str, number: int, code: grpc.StatusCode, details: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(channel, method, number)
        async with asyncio.timeout(5):  # the caller may have heard of it before the log has
            while not any(entry["event"] == "call.finished" for entry in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert refusal.value.code() is code
    assert details in (refusal.value.details() or "")
    assert "x-request-id" in dict(refusal.value.trailing_metadata())
    (finished,) = [entry for entry in logs if entry["event"] == "call.finished"]
    assert (finished["code"], finished["method"]) == (code.name, f"/test.Countdown/{method}")
    assert len([entry for entry in logs if entry["event"] == "call.failed"]) == (number == 8)
