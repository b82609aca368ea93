"""A real Qdrant server, for tests: QDRANT_URL, else the binary QDRANT_BIN, else the one `fetch_qdrant.py` cached."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from qdrant_client import QdrantClient

from tests.fetch_qdrant import CACHED_BINARY
from tests.store_process import grpc_client

START_TIMEOUT_S = 60
_UNPRIVILEGED = "nobody"


@dataclass(frozen=True)
class RealQdrant:
    """Where a server listens, and its key."""

    host: str
    grpc_port: int
    api_key: str | None = None

    def client(self, **options: Any) -> QdrantClient:
        """Return a client of it."""
        headers = {} if self.api_key is None else {"api-key": self.api_key}
        return grpc_client(self.host, self.grpc_port, headers=headers, **options)


def why_unavailable() -> str | None:
    """Return why no server can be had, None when one can."""
    if os.environ.get("QDRANT_URL") or _binary().exists():
        return None
    return f"no Qdrant server: set QDRANT_URL or QDRANT_BIN, or run tests/fetch_qdrant.py ({_binary()} does not exist)"


@contextmanager
def running_qdrant() -> Iterator[RealQdrant]:
    """Yield the server at QDRANT_URL (its gRPC port: QDRANT_GRPC_PORT), or run one on loopback during the block."""
    url = os.environ.get("QDRANT_URL")
    if url:
        port = int(os.environ.get("QDRANT_GRPC_PORT", "6334"))
        yield RealQdrant(urlsplit(url).hostname or "127.0.0.1", port, os.environ.get("QDRANT_API_KEY"))
        return
    folder = Path(tempfile.mkdtemp(prefix="qdrant-"))
    try:
        with _spawned(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _spawned(folder: Path) -> Iterator[RealQdrant]:
    http_port, grpc_port = _free_ports(2)
    environment = {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(http_port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__STORAGE__STORAGE_PATH": str(folder / "storage"),
        "QDRANT__STORAGE__SNAPSHOTS_PATH": str(folder / "snapshots"),
        "QDRANT__TELEMETRY_DISABLED": "true",
    }
    # A copy in the folder: the other user may not be able to reach the original.
    binary = Path(shutil.copy2(_binary(), folder / "qdrant"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [binary], cwd=folder, env=environment, stdout=log, stderr=log, **_unprivileged(folder)
        )
    try:
        server = RealQdrant("127.0.0.1", grpc_port)
        _wait_until_ready(server, process, folder / "log")
        yield server
    finally:
        process.kill()
        process.wait()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """Return Popen's options for another user when this one is root, who must not run a binary from elsewhere."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_UNPRIVILEGED)
    for path in (folder, *folder.iterdir()):
        os.chown(path, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _wait_until_ready(server: RealQdrant, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        client = server.client()
        try:
            client.info()
            return
        except grpc.RpcError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Qdrant did not start:\n{log.read_text(errors='replace')}") from error
            time.sleep(0.1)
        finally:
            client.close()


def _binary() -> Path:
    return Path(os.environ.get("QDRANT_BIN") or CACHED_BINARY)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
