"""Keeps a lease alive while its work goes on, however long one step of it takes."""

import threading
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from kosearch.errors import LeaseLostError, UnavailableError

_log = structlog.get_logger()


class LeaseKeeper:
    """Renews a lease from a thread of its own until the block ends; a killed process stops renewing by itself."""

    def __init__(self, renew: Callable[[], None], lease_s: float) -> None:
        self._renew = renew
        self._lease_s = lease_s
        self._held_until = time.monotonic() + lease_s
        self._pause_s = lease_s / 4
        self._is_over = threading.Event()
        self._is_lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease-keeper", daemon=True)

    def __enter__(self) -> "LeaseKeeper":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def check(self) -> None:
        """Raise LeaseLostError once another worker has the lease, or may have it: a machine can stand still."""
        if self._is_lost.is_set() or time.monotonic() > self._held_until:
            raise LeaseLostError("the lease was lost to another worker, which finishes the work")

    def _run(self) -> None:
        while not self._is_over.wait(self._pause_s):
            began = time.monotonic()
            try:
                self._renew()
                self._held_until = began + self._lease_s
            except LeaseLostError:
                self._is_lost.set()
                return
            except UnavailableError as error:  # a ledger that is busy for a moment; the next renewal may do
                _log.warning("lease.not_renewed", error=str(error))
