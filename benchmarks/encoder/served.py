"""A service in a process of its own under load from this one, for the benchmarks of what callers feel."""

import asyncio
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import grpc
import numpy as np
import psutil
from prometheus_client.parser import text_string_to_metric_families

from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc

_START_TIMEOUT_S = 120
_INFINITY_START_TIMEOUT_S = 900  # it warms up, which takes minutes where bf16 is emulated
_STREAMED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Served:
    """A running service."""

    address: str
    metrics_address: str
    process: psutil.Process

    def memory_mib(self) -> float:
        """Resident memory of the service."""
        return float(self.process.memory_info().rss) / (1 << 20)

    def metric(self, name: str) -> float:
        """The sum of a metric's samples of this name."""
        with urllib.request.urlopen(f"http://{self.metrics_address}/metrics", timeout=10) as page:
            text = page.read().decode()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )


@contextmanager
def running_service(model: Path, *command: str, settings: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Run `python -m encoder_service`, or `command`, until the block ends. `settings`: more variables of it."""
    address, metrics_address = (f"127.0.0.1:{_free_port()}" for _ in range(2))
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")},
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "KOSEARCH_DATA_DIR": str(model.parent / "service"),
        "KOSEARCH_ENCODER__ADDRESS": address,
        "KOSEARCH_ENCODER__METRICS_ADDRESS": metrics_address,
        "KOSEARCH_ENCODER__MODEL": str(model),
        **(settings or {}),
    }
    log = model.parent / "service.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, *(command or ("-m", "encoder_service"))], env=environment, stdout=output, stderr=output
        )
    try:
        if not _is_ready(address, process):
            raise SystemExit(f"the service did not start; its log: {log.read_text(errors='replace')[-2000:]}")
        yield Served(address, metrics_address, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(address: str, process: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + _START_TIMEOUT_S
    with grpc.insecure_channel(address) as channel:
        ready = grpc.channel_ready_future(channel)
        while process.poll() is None and time.monotonic() < end:
            try:
                ready.result(timeout=0.5)
            except grpc.FutureTimeoutError:
                continue
            return True
    return False


@contextmanager
def running_infinity(python: Path, model: Path, dtype: str = "float32") -> Iterator[str]:
    """Run infinity's server on the model, on the CPU, until the block ends. Yields its address."""
    port = _free_port()
    environment = {
        **os.environ,
        # Without a network its first call home is waited for.
        **{"HF_HUB_OFFLINE": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0", "DO_NOT_TRACK": "1"},
    }
    command = [str(python.with_name("infinity_emb")), "v2", "--model-id", str(model), "--served-model-name", "model"]
    options = ["--engine", "torch", "--device", "cpu", "--port", str(port), "--no-bettertransformer", "--dtype", dtype]
    log = model.parent / "infinity.log"
    with log.open("ab") as output:
        process = subprocess.Popen([*command, *options], env=environment, stdout=output, stderr=output)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # nothing of it is kept, and it does not hear while it computes
        process.wait(30)


def _wait_for(url: str, log: Path) -> None:
    end = time.monotonic() + _INFINITY_START_TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310
                return
        except OSError:
            if time.monotonic() > end:
                raise SystemExit(f"{url} did not answer: {log.read_text(errors='replace')[-2000:]}") from None
            time.sleep(0.5)


@dataclass(slots=True)
class Calls:
    """How calls have ended: seconds of those that were answered, seconds of the others by status code."""

    answered_s: list[float] = field(default_factory=list)
    failed_s: dict[str, list[float]] = field(default_factory=dict)
    texts: int = 0

    def summary(self) -> dict[str, object]:
        """Counts and percentiles."""
        return {
            "answered": len(self.answered_s),
            "answered_ms": percentiles_ms(self.answered_s),
            "failed": {code: {"count": len(times), **percentiles_ms(times)} for code, times in self.failed_s.items()},
        }


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 and the longest, in ms."""
    if not seconds:
        return {}
    p50, p99, longest = np.percentile(seconds, (50, 99, 100)) * 1e3
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(longest), 2)}


class Caller:
    """Sends texts of a list, over and over, through one connection."""

    def __init__(self, address: str, texts: Sequence[str], priority: "encoder_pb2.Priority.ValueType") -> None:
        # Of several callers in one process each has its connection: gRPC would let them share one.
        self._channel = grpc.aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),))
        self._stub = encoder_pb2_grpc.EncoderStub(self._channel)  # type: ignore[no-untyped-call]
        self._texts = cycle(texts)
        self._priority = priority

    async def close(self) -> None:
        """End the connection."""
        await self._channel.close()

    async def call(self, texts: int, calls: Calls, deadline_s: float = 60.0) -> None:
        """Encode that many texts in one call and note how it ends."""
        request = self._request(texts)
        started = time.perf_counter()
        try:
            await self._stub.Encode(request, timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            calls.failed_s.setdefault(error.code().name, []).append(time.perf_counter() - started)
        else:
            calls.answered_s.append(time.perf_counter() - started)
            calls.texts += texts

    async def call_in_turn(self, texts: int, calls: Calls, until: float) -> None:
        """Call again as soon as the last call has ended, until a moment of perf_counter."""
        while time.perf_counter() < until:
            await self.call(texts, calls)

    async def call_at_rate(
        self, per_s: float, texts: int, calls: Calls, until: float, deadline_s: float = 60.0
    ) -> None:
        """Call at random moments (Poisson), whether or not the calls before have ended."""
        random = np.random.default_rng(0)
        running: set[asyncio.Task[None]] = set()
        due = time.perf_counter()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(self.call(texts, calls, deadline_s))
            running.add(task)
            task.add_done_callback(running.discard)
            due += random.exponential(1 / per_s)
        await asyncio.gather(*running)

    async def leave_at_rate(self, per_s: float, texts: int, calls: Calls, until: float, after_s: float) -> None:
        """Call that often and be gone after some seconds, whatever becomes of the call."""

        async def call_and_leave() -> None:
            try:
                async with asyncio.timeout(after_s):
                    await self.call(texts, calls)
            except TimeoutError:
                calls.failed_s.setdefault("left", []).append(after_s)

        async with asyncio.TaskGroup() as running:
            while time.perf_counter() < until:
                running.create_task(call_and_leave())
                await asyncio.sleep(1 / per_s)

    async def stream(self, texts: int, calls: Calls, until: float) -> None:
        """Encode by EncodeStream, that many texts a message; counts the texts answered until then."""
        room = asyncio.Semaphore(_STREAMED_AT_ONCE)  # what gRPC's buffers hold would be encoded after the end

        async def requests() -> AsyncIterator[encoder_pb2.EncodeRequest]:
            while time.perf_counter() < until:
                await room.acquire()
                yield self._request(texts)

        async for response in self._stub.EncodeStream(requests()):
            room.release()
            if time.perf_counter() < until:
                calls.texts += len(response.token_counts)

    def _request(self, texts: int) -> encoder_pb2.EncodeRequest:
        return encoder_pb2.EncodeRequest(texts=[next(self._texts) for _ in range(texts)], priority=self._priority)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
