"""Stopping a server: calls that have arrived are finished, also those that Python has not taken yet."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from grpc_health.v1._async import HealthServicer

from kosearch.graceful_stop import finish_calls

_CALLS = 20


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(_answer)


async def _answer(request: bytes, _: Any) -> bytes:
    await asyncio.sleep(0.3)
    return request


def _call(port: int, is_sent: Callable[[], object]) -> list[bytes]:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(timeout=10)
        method: Any = channel.unary_unary("/test.Echo/Echo")
        calls = [method.future(b"%d" % number, timeout=10) for number in range(_CALLS)]
        is_sent()
        return [call.result() for call in calls]


def test_calls_that_have_arrived_and_are_not_taken_yet_are_finished() -> None:
    async def scenario() -> list[bytes]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        loop, is_sent = asyncio.get_running_loop(), asyncio.Event()
        replies: Awaitable[list[bytes]] = asyncio.create_task(
            asyncio.to_thread(_call, port, lambda: loop.call_soon_threadsafe(is_sent.set))
        )
        await is_sent.wait()
        time.sleep(0.1)  # noqa: ASYNC251 - a loop that is busy takes no call
        await finish_calls(server, HealthServicer())
        return await replies

    assert asyncio.run(scenario()) == [b"%d" % number for number in range(_CALLS)]
