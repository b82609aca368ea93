"""Sends what lies in the ledger to the workers: again after a crash, late when the broker was away.

The ledger decides what is due, so several of these may run; each piece of work is taken by one of them.
"""

import asyncio

import structlog

from kosearch.errors import UnavailableError
from kosearch.ledger import Ledger
from kosearch.task_queue import TaskQueue

_log = structlog.get_logger()

_PAUSE_S = 2.0
# Work that was sent this short a time ago is on its way.
_QUIET_S = 5.0
# A reanalysis need not wait for all of a large job; the queue keeps it, unless the broker loses it.
_QUIET_BEHIND_OTHERS_S = 300.0
# Partitions sent at once; the rest follows when the queue is empty again.
_MAX_PARTITIONS = 1000


class Dispatcher:
    """Looks for work without a living lease and sends it; `run` goes on until it is cancelled."""

    def __init__(self, ledger: Ledger, queue: TaskQueue) -> None:
        self._ledger = ledger
        self._queue = queue

    async def run(self) -> None:
        """Dispatch every few seconds. A ledger or broker that is away is tried again."""
        was_available = True
        while True:
            try:
                await asyncio.to_thread(self.dispatch)
                was_available = True
            except UnavailableError as error:
                if was_available:
                    _log.warning("dispatch.postponed", error=str(error))
                was_available = False
            await asyncio.sleep(_PAUSE_S)

    def dispatch(self) -> int:
        """Send what is due once. Returns the number of tasks sent. Raises UnavailableError."""
        pushed = self._ledger.due_partitions(_QUIET_S, _MAX_PARTITIONS, is_push=True)
        if pushed:
            self._queue.send_partitions(pushed, is_online=True)
        waiting = self._queue.waiting()
        reanalyses = self._ledger.dictionary.due_reanalyses(_QUIET_BEHIND_OTHERS_S if waiting else _QUIET_S)
        if reanalyses:
            self._queue.send_reanalyses(reanalyses)
            _log.info("reanalyses.dispatched", reanalyses=len(reanalyses))
        # While tasks wait in the queue nothing is lost, and sending more would only double them.
        if waiting:
            return len(pushed) + len(reanalyses)
        jobs = self._ledger.due_jobs(_QUIET_S)
        for job_id in jobs:
            self._queue.send_job(job_id)
        partitions = self._ledger.due_partitions(_QUIET_S, _MAX_PARTITIONS, is_push=False)
        if partitions:
            self._queue.send_partitions(partitions)
        if pushed or jobs or partitions:
            _log.info("tasks.dispatched", pushed=len(pushed), jobs=len(jobs), partitions=len(partitions))
        return len(pushed) + len(reanalyses) + len(jobs) + len(partitions)
