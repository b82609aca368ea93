"""What a running one-machine stack tells about itself: `<data_dir>/run/stack.json`, written by its supervisor."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from kosearch.errors import ConflictError, UnavailableError
from kosearch.settings import stack_file

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 60.0
_POLL_S = 0.1
_LOG_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process of the stack; `restarts` counts how often it had to be started again."""

    name: str
    pid: int
    restarts: int
    address: str
    log: str


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack: pid of its supervisor, its processes, and the settings that lead clients to it."""

    pid: int
    processes: tuple[ProcessState, ...]
    settings: Mapping[str, Any]

    def write(self, data_dir: Path) -> None:
        """Publish, readable by this user only: the settings hold the API key."""
        path = stack_file(data_dir)
        draft = path.with_suffix(".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, ensure_ascii=False, indent=1)
        draft.replace(path)


def read_stack(data_dir: Path) -> Stack | None:
    """Return the stack that runs on this data directory; None when none does."""
    try:
        content = json.loads(stack_file(data_dir).read_text(encoding="utf-8"))
        processes = tuple(ProcessState(**state) for state in content["processes"])
        stack = Stack(content["pid"], processes, content["settings"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return stack if _is_supervisor(stack.pid) else None


def start_detached(data_dir: Path) -> Stack:
    """Start the supervisor in the background and wait until the stack is ready.

    Raises ConflictError when one runs on this data directory already, UnavailableError when it does not come up.
    """
    if running := read_stack(data_dir):
        raise ConflictError(
            f"a stack runs on {data_dir} already (pid {running.pid}); stop it with `kosearch down`, or choose another "
            "--data-dir"
        )
    log = data_dir / "logs" / "supervisor.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "standalone", "--data-dir", str(data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        stack = read_stack(data_dir)
        if stack and stack.pid == supervisor.pid:
            return stack
        if supervisor.poll() is not None:
            raise UnavailableError(f"the stack did not start; the end of {log}:\n{_tail(log)}")
        time.sleep(_POLL_S)
    supervisor.terminate()
    raise UnavailableError(f"the stack was not ready after {_START_TIMEOUT_S:.0f} s; the end of {log}:\n{_tail(log)}")


def stop(data_dir: Path) -> bool:
    """Stop the stack and wait until all of it has gone. Returns False when none runs. Raises UnavailableError."""
    stack = read_stack(data_dir)
    if stack is None:
        stack_file(data_dir).unlink(missing_ok=True)
        return False
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        supervisor = psutil.Process(stack.pid)
        os.kill(stack.pid, signal.SIGTERM)
        try:
            supervisor.wait(timeout=_STOP_TIMEOUT_S)
        except psutil.TimeoutExpired:
            raise UnavailableError(
                f"the stack (pid {stack.pid}) did not stop within {_STOP_TIMEOUT_S:.0f} s; see {data_dir / 'logs'}"
            ) from None
    return True


def _is_supervisor(pid: int) -> bool:
    """Tell whether the process is a supervisor: after a crash its number may belong to any other program."""
    try:
        return "standalone" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:])
