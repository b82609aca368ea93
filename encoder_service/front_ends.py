"""Starts the front-ends of a service, starts again those that die, and stops them with it."""

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import structlog

from encoder_service.front_end.orders import READY, Orders
from kosearch.errors import SettingsError

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_PAUSE_BEFORE_RESTART_S = 1.0

_log = structlog.get_logger()


@asynccontextmanager
async def running_front_ends(count: int, orders: Orders) -> AsyncIterator[str]:
    """Run so many front-ends inside the block; yields the address they share, its port filled in where it was 0.

    Raises SettingsError when they cannot listen there.
    """
    with _reserved(orders.address) as reserved:
        host = orders.address.rpartition(":")[0]
        orders = orders.model_copy(update={"address": f"{host}:{reserved.getsockname()[1]}"})
        async with AsyncExitStack() as stack:
            started = await asyncio.gather(*(_start(orders) for _ in range(count)), return_exceptions=True)
            keepers = [
                asyncio.create_task(_keep(process, orders), name="front-end")
                for process in started
                if isinstance(process, Process)
            ]
            stack.push_async_callback(_stop, keepers)
            for outcome in started:
                if isinstance(outcome, BaseException):
                    raise outcome
            yield orders.address


def _reserved(address: str) -> socket.socket:
    """A socket that holds the port without listening, so that it is ours while a front-end starts again.

    Only sockets that all ask for it share a port. So whoever listens there already is noticed by the first attempt,
    which does not ask.
    """
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(where)
        reserved = socket.socket(family, socket.SOCK_STREAM)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(where)
    except OSError as error:
        raise SettingsError(
            f"cannot listen at {address} ({error}): the port is in use or the address is not of this machine; stop the "
            "other process or set KOSEARCH_ENCODER__ADDRESS"
        ) from error
    return reserved


async def _start(orders: Orders) -> Process:
    """Start a front-end and wait until it takes calls."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "encoder_service.front_end", stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    is_ready = False
    try:
        process.stdin.write(orders.model_dump_json().encode() + b"\n")
        async with asyncio.timeout(_START_TIMEOUT_S):
            is_ready = await process.stdout.readline() == READY
    except (TimeoutError, ConnectionError) as error:
        raise _not_started(orders) from error
    finally:  # also when we are stopped meanwhile
        if not is_ready:
            await _kill(process)
    if not is_ready:
        raise _not_started(orders)
    return process


def _not_started(orders: Orders) -> SettingsError:
    return SettingsError(f"a front-end did not start at {orders.address}; its own lines in the log tell why")


async def _kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def _keep(process: Process, orders: Orders) -> None:
    """Start a front-end again whenever it ends; when cancelled, let it finish its calls."""
    while True:
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await _end(process)
            raise
        _log.error("front_end.died", exit_code=code)
        await asyncio.sleep(_PAUSE_BEFORE_RESTART_S)
        try:
            process = await _start(orders)
        except SettingsError as error:
            _log.error("front_end.not_restarted", why=str(error))
        else:
            _log.info("front_end.restarted")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        _log.error("front_end.killed", waited_s=_STOP_TIMEOUT_S)
        await _kill(process)


async def _stop(keepers: list[asyncio.Task[None]]) -> None:
    for keeper in keepers:
        keeper.cancel()
    await asyncio.gather(*keepers, return_exceptions=True)
