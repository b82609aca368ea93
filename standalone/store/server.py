"""The life of the store process: take the directory and the port, open the collections, serve, stop in order."""

import asyncio
import contextlib
import ipaddress
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from qdrant_client import grpc as pb

from kosearch.errors import SettingsError, UnavailableError
from kosearch.graceful_stop import finish_calls, stop_event
from standalone.store.collection_directory import CollectionDirectory
from standalone.store.files import sole_process, write_whole
from standalone.store.index_builds import IndexBuilds
from standalone.store.interceptor import Gate, served_methods
from standalone.store.servicer import CollectionsServicer, PointsServicer, QdrantServicer

MAX_MESSAGE_BYTES = 64 << 20
# Calls wait their turn on the engine, 10 to 30 ms each; beyond this many they are refused with RESOURCE_EXHAUSTED.
MAX_CALLS_AT_ONCE = 128
_FLUSH_CHECK_S = 1.0
_SERVICES = ("qdrant.Qdrant", "qdrant.Collections", "qdrant.Points")

_log = structlog.get_logger(__name__)


class PortError(UnavailableError):
    """The port cannot be had."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How to run the store. `port` 0 takes a free one; `min_free_bytes` of disk are left alone."""

    data_dir: Path
    host: str
    port: int
    port_file: Path | None
    api_key: str | None
    min_free_bytes: int


async def serve(options: StoreOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConflictError, SettingsError, PortError before the first call."""
    _require_key_unless_loopback(options)
    stopping = stop_event()  # before anybody can know of us, and stop us
    with sole_process(options.data_dir):
        # The port is taken before the collections are opened, so that a clash is told at once.
        server = _make_server(options.api_key)
        port = _bind(server, options)
        collections = CollectionDirectory(options.data_dir, options.min_free_bytes)
        try:
            health = _add_services(server, collections)
            await server.start()
            await _announce(health, port, collections, options)
            builds = asyncio.create_task(IndexBuilds(collections).run())
            try:
                await _flush_until(stopping, collections)
            finally:
                builds.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await builds
            await finish_calls(server, health)
        finally:
            collections.close()
    _log.info("store.stopped")


def _require_key_unless_loopback(options: StoreOptions) -> None:
    try:
        is_loopback = options.host == "localhost" or ipaddress.ip_address(options.host).is_loopback
    except ValueError:
        is_loopback = False
    if options.api_key is None and not is_loopback:
        raise SettingsError(
            f"without an API key the store binds to loopback only, not to {options.host}; set KOSEARCH_QDRANT__API_KEY"
        )


def _make_server(api_key: str | None) -> grpc.aio.Server:
    served = {
        *served_methods("qdrant.Qdrant", QdrantServicer, pb.QdrantServicer),
        *served_methods("qdrant.Collections", CollectionsServicer, pb.CollectionsServicer),
        *served_methods("qdrant.Points", PointsServicer, pb.PointsServicer),
    }
    return grpc.aio.server(
        interceptors=[Gate(served, api_key)],
        maximum_concurrent_rpcs=MAX_CALLS_AT_ONCE,
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),  # or a second store on the port would get half of the calls
        ],
    )


def _bind(server: grpc.aio.Server, options: StoreOptions) -> int:
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        return server.add_insecure_port(f"{host}:{options.port}")
    except RuntimeError as error:
        raise PortError(
            f"port {options.port} on {options.host} cannot be had; another program listens there, or the address is "
            "not this machine's. Choose another with --port (KOSEARCH_QDRANT__GRPC_PORT), 0 for a free one"
        ) from error


def _add_services(server: grpc.aio.Server, collections: CollectionDirectory) -> HealthServicer:
    pb.add_QdrantServicer_to_server(QdrantServicer(), server)  # type: ignore[no-untyped-call]  # generated
    pb.add_CollectionsServicer_to_server(CollectionsServicer(collections), server)  # type: ignore[no-untyped-call]
    pb.add_PointsServicer_to_server(PointsServicer(collections), server)  # type: ignore[no-untyped-call]
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection(
        (*_SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name), server
    )
    return health


async def _announce(health: HealthServicer, port: int, collections: CollectionDirectory, options: StoreOptions) -> None:
    for service in ("", *_SERVICES):
        await health.set(service, health_pb2.HealthCheckResponse.SERVING)
    if options.port_file is not None:
        write_whole(options.port_file, f"{port}\n")
    _log.info("store.started", host=options.host, port=port, collections=len(collections.names))


async def _flush_until(stopping: asyncio.Event, collections: CollectionDirectory) -> None:
    """Flush now and then, until told to stop."""
    while not stopping.is_set():
        collections.flush_where_due(time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _FLUSH_CHECK_S)
    _log.info("store.stopping")
