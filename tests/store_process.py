"""The store as a real process, for tests."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qdrant_client import QdrantClient

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 15
CALL_TIMEOUT_S = 30


class StoreProcess:
    """A store on a data directory; its log is `log_file`."""

    def __init__(self, data_dir: Path, *options: str, api_key: str | None = None) -> None:
        self.data_dir = data_dir
        self.log_file = data_dir.with_name(data_dir.name + ".log")
        self._port_file = data_dir.with_name(data_dir.name + ".port")
        self._options = options
        self._api_key = api_key
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> "StoreProcess":
        """Start it and wait until it serves."""
        self._port_file.unlink(missing_ok=True)
        self._process = self.spawn("--port", "0", "--port-file", str(self._port_file))
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the store did not start:\n{self.log()}")
            time.sleep(0.02)
        self.port = int(self._port_file.read_text())
        return self

    def spawn(self, *options: str) -> subprocess.Popen[bytes]:
        """Start a store process on the directory and return at once."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")}
        if self._api_key is not None:
            environment["KOSEARCH_QDRANT__API_KEY"] = self._api_key
        command = [sys.executable, "-m", "standalone.store", "--data-dir", str(self.data_dir), *self._options, *options]
        with self.log_file.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def client(self, **options: Any) -> QdrantClient:
        """Return a client of it."""
        return grpc_client("127.0.0.1", self.port, **options)

    def log(self) -> str:
        """Return what it has logged."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def terminate(self) -> int:
        """Ask it to stop. Returns its exit code."""
        return self._stop(signal.SIGTERM)

    def kill(self) -> int:
        """Kill it. Returns its exit code."""
        return self._stop(signal.SIGKILL)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end. Returns its exit code."""
        assert self._process is not None
        return self._process.wait(STOP_TIMEOUT_S)

    def is_running(self) -> bool:
        """Tell whether it lives."""
        return self._process is not None and self._process.poll() is None

    def _stop(self, number: signal.Signals) -> int:
        assert self._process is not None
        if self.is_running():
            self.send_signal(number)
        return self.wait()


@contextmanager
def running_store(data_dir: Path, *options: str, api_key: str | None = None) -> Iterator[StoreProcess]:
    """Run a store during the block; killed at its end, by when it must not have died by itself."""
    store = StoreProcess(data_dir, *options, api_key=api_key).start()
    try:
        yield store
    finally:
        code = store.kill()
        assert code in (0, -signal.SIGKILL), f"the store had died by itself ({code}):\n{store.log()}"


def grpc_client(host: str, grpc_port: int, **options: Any) -> QdrantClient:
    """Return a client that speaks nothing but gRPC."""
    return QdrantClient(
        host=host,
        grpc_port=grpc_port,
        prefer_grpc=True,
        https=False,
        check_compatibility=False,  # it asks over REST
        timeout=CALL_TIMEOUT_S,
        **options,
    )
