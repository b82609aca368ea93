"""The worker's neighbours as real processes, each for the length of a block."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kosearch.settings import EncoderSettings, Settings, StoreSettings
from standalone.processes import ProcessSpec, plan_stack

START_TIMEOUT_S = 90
STOP_TIMEOUT_S = 30


def wait_until(is_true: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait for a condition. Raises AssertionError when it does not come true."""
    deadline = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment with other settings than those of whoever runs the tests."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")}, **settings}


@contextmanager
def running(
    arguments: list[str], log: Path, is_ready: Callable[[], bool], env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process during the block; it and its children are gone at its end."""
    with log.open("ab") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, env=env, process_group=0)
    try:
        wait_until(lambda: process.poll() is not None or is_ready())
        assert process.poll() is None, log.read_text(errors="replace")
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _spec(name: str, data_dir: Path) -> ProcessSpec:
    """Return a process of `kosearch up` on this directory."""
    (data_dir / "run").mkdir(parents=True, exist_ok=True)
    settings = Settings(data_dir=data_dir, encoder=EncoderSettings(address="127.0.0.1:0"), store=StoreSettings(port=0))
    return next(process for process in plan_stack(settings).processes if process.name == name)


def broker_spec(data_dir: Path) -> ProcessSpec:
    """Return the broker of `kosearch up` on this directory."""
    return _spec("broker", data_dir)


@contextmanager
def running_broker(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the embedded broker on this data directory."""
    spec = broker_spec(data_dir)
    with running(list(spec.arguments), data_dir / "broker.log", spec.is_ready, environment()) as process:
        yield process


@contextmanager
def running_worker(data_dir: Path, name: str = "worker", **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of `kosearch up`; its log is `<name>.log`."""
    log = data_dir / f"{name}.log"
    with running(
        list(_spec(name, data_dir).arguments),
        log,
        lambda: "ready" in log.read_text(errors="replace"),
        environment(KOSEARCH_DATA_DIR=str(data_dir), **settings),
    ) as process:
        yield process
