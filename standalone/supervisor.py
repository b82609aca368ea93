"""Starts the processes of the stack, restarts what dies, and stops everything in order."""

import asyncio
import contextlib
import ctypes
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import structlog

from kosearch.errors import ConflictError, UnavailableError
from kosearch.graceful_stop import stop_event
from kosearch.settings import Settings, stack_file
from kosearch.stack import ProcessState, Stack
from standalone.processes import ProcessSpec, StackPlan, plan_stack

_log = structlog.get_logger()

_READY_TIMEOUT_S = 90.0
_PROBE_PAUSE_S = 0.1
_RESTART_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# A process that lived this long starts again without a pause.
_STEADY_S = 30.0
_LOG_TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1


async def supervise(settings: Settings) -> None:
    """Run the stack until SIGTERM or SIGINT. Raises ConflictError (in use) or UnavailableError (did not start)."""
    data_dir = settings.data_dir
    (data_dir / "run").mkdir(parents=True, exist_ok=True, mode=0o700)
    (data_dir / "logs").mkdir(exist_ok=True)
    with _only_supervisor(data_dir):
        plan = plan_stack(settings)
        stopping = stop_event()
        supervisor = _Supervisor(plan, data_dir)
        try:
            await supervisor.start(stopping)
            await stopping.wait()
        finally:
            stack_file(data_dir).unlink(missing_ok=True)
            await supervisor.stop()


class _Supervised:
    """One process through all its restarts."""

    def __init__(self, spec: ProcessSpec, environment: dict[str, str], log: Path) -> None:
        self.spec = spec
        self.restarts = 0
        self.log = log
        self._environment = {**spec.environment, **environment}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Return its process id; 0 before it is started."""
        return self._process.pid if self._process else 0

    @property
    def is_running(self) -> bool:
        """Tell whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it, with its output appended to its log."""
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environment,
                # A group of its own: Ctrl-C reaches the supervisor only, which stops the processes in order.
                process_group=0,
                preexec_fn=partial(_begin, self.spec.niceness),
            )
        with contextlib.suppress(OSError):
            _log.info("process.started", name=self.spec.name, pid=self.pid)

    async def wait_ready(self) -> None:
        """Wait until it answers. Raises UnavailableError with the end of its log when it does not."""
        assert self._process is not None
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not await asyncio.to_thread(self.spec.is_ready):
            if self._process.returncode is not None or time.monotonic() > deadline:
                raise UnavailableError(
                    f"the {self.spec.name} did not start; the end of {self.log}:\n{self._log_tail()}"
                )
            await asyncio.sleep(_PROBE_PAUSE_S)

    async def wait_exit(self) -> int:
        """Wait for its end, then end what it left behind. Returns the exit code."""
        assert self._process is not None
        code = await self._process.wait()
        # A worker that was killed leaves its pool processes at work; the new one takes that over.
        self._signal_group(signal.SIGKILL)
        return code

    async def stop(self) -> None:
        """Stop it, by force when it takes too long."""
        if self._process is None or not self.is_running:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), self.spec.stop_grace_s)
        except TimeoutError:
            _log.warning("process.killed", name=self.spec.name)
        self._signal_group(signal.SIGKILL)
        await self._process.wait()

    def _signal_group(self, signal_number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal_number)

    def _log_tail(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:])


class _Supervisor:
    """All processes of the stack."""

    def __init__(self, plan: StackPlan, data_dir: Path) -> None:
        environment = {**os.environ, **plan.environment(), "KOSEARCH_DATA_DIR": str(data_dir)}
        logs = data_dir / "logs"
        self._processes = [_Supervised(spec, environment, logs / f"{spec.name}.log") for spec in plan.processes]
        self._plan = plan
        self._data_dir = data_dir
        self._keepers: list[asyncio.Task[None]] = []

    async def start(self, stopping: asyncio.Event) -> None:
        """Start everything and wait until it is ready; a signal to stop ends the wait."""
        for process in self._processes:
            await process.start()
        ready = asyncio.create_task(self._wait_ready())
        stopped = asyncio.create_task(_wait(stopping))
        await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not ready.done():
            ready.cancel()
            return
        ready.result()
        self._keepers = [asyncio.create_task(self._keep(process)) for process in self._processes]
        self._publish()
        _log.info(
            "stack.ready", **{process.spec.name: process.spec.address or process.pid for process in self._processes}
        )

    async def stop(self) -> None:
        """Stop everything, in the reverse order of its start."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for process in reversed(self._processes):
            await process.stop()
        _log.info("stack.stopped")

    async def _keep(self, process: _Supervised) -> None:
        """Start the process again whenever it ends."""
        failures = 0
        while True:
            started = time.monotonic()
            code = await process.wait_exit()
            failures = 0 if time.monotonic() - started > _STEADY_S else failures + 1
            pause_s = _RESTART_PAUSES_S[min(failures, len(_RESTART_PAUSES_S) - 1)]
            # On a full disk neither log nor address can be written, and all the more has the process to come back.
            with contextlib.suppress(OSError):
                _log.warning(
                    "process.died", name=process.spec.name, exit_code=code, restart_in_s=pause_s, log=str(process.log)
                )
            await asyncio.sleep(pause_s)
            await self._start_again(process)
            process.restarts += 1

    async def _start_again(self, process: _Supervised) -> None:
        """Start a process and publish its address, however long it takes until there is room for that."""
        while True:
            try:
                if not process.is_running:
                    await process.start()
                self._publish()
            except OSError as error:
                with contextlib.suppress(OSError):
                    _log.error("process.not_restarted", name=process.spec.name, reason=str(error))
                await asyncio.sleep(_RESTART_PAUSES_S[-1])
            else:
                return

    async def _wait_ready(self) -> None:
        await asyncio.gather(*(process.wait_ready() for process in self._processes))

    def _publish(self) -> None:
        states = tuple(
            ProcessState(each.spec.name, each.pid, each.restarts, each.spec.address, str(each.log))
            for each in self._processes
        )
        Stack(os.getpid(), states, self._plan.settings).write(self._data_dir)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


@contextmanager
def _only_supervisor(data_dir: Path) -> Iterator[None]:
    """Hold the data directory's lock, which the kernel frees however this process ends. Raises ConflictError."""
    with (data_dir / "run" / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConflictError(
                f"a stack runs on {data_dir} already; stop it with `kosearch down`, or choose another --data-dir"
            ) from None
        yield


def _begin(niceness: int) -> None:
    """Leave others the first go, and have the kernel end this process when the supervisor dies, however it dies."""
    os.nice(niceness)
    if sys.platform == "linux":  # which has a call for it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
