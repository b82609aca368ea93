"""How a server process stops: told by a signal, without losing a call."""

import asyncio
import signal

import grpc
from grpc_health.v1._async import HealthServicer

# gRPC cancels the calls that have arrived and that Python has not yet taken, one at a time, when it is told to stop.
_TAKE_ARRIVED_S = 0.25
_GRACE_S = 5.0


def stop_event() -> asyncio.Event:
    """Return an event of the running loop that SIGTERM and SIGINT set."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def finish_calls(server: grpc.aio.Server, health: HealthServicer | None = None) -> None:
    """Say that the server stops, finish every call that has arrived, and stop it; cancels what takes over 5 s."""
    if health is not None:
        await health.enter_graceful_shutdown()
    await asyncio.sleep(_TAKE_ARRIVED_S)
    await server.stop(_GRACE_S)
