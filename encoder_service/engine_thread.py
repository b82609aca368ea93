"""The thread that owns an engine and keeps it busy.

There is no timer and nothing is formed ahead. The thread takes the next batch at the moment the engine is free, so that
batches grow by themselves under load, a lone text never waits, and a query that has just come goes before bulk work
that has waited for seconds. An engine on a device of its own (`AsyncEngine`) gets one batch more than it can run, so
that it does not stand still while the host takes, lays out and hands out.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import structlog

from encoder_service.batcher import Batch, Batcher, fail, hand_out
from encoder_service.engines.engine import Answers, AsyncEngine, BatchEngine, TokenIds
from kosearch.errors import ModelError

# One batch that runs and one behind it; a third would only make queries wait.
_BATCHES_OF_ASYNC_ENGINE = 2

_log = structlog.get_logger()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Lane:
    """A model's queue and the engine that serves it.

    submit: begins a batch; what it returns waits for the answers
    max_running: batches that the engine may have at the same time
    replicas: engines of this model on all threads
    """

    batcher: Batcher
    submit: Callable[[Sequence[TokenIds]], Callable[[], Answers]]
    max_running: int
    report: Callable[[Batch, float, bool], None]
    replicas: int


@dataclass(slots=True)
class _Running:
    """A batch on its way. `wait`: what gives its answers, or the error that kept it from beginning."""

    lane: _Lane
    batch: Batch
    started: float
    wait: Callable[[], Answers] | Exception | None = None


class EngineThread:
    """Runs the batches of one model, or of several that share a device, one after the other.

    Nothing else calls the engines, so that the threads of the matrix products have one owner. Several such threads,
    one for each device, may serve the same batchers.
    """

    def __init__(
        self,
        work: threading.Condition,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make the thread; `work` is the condition of the batchers that it serves, `loop` where callers wait."""
        self._work = work
        self._loop = loop
        self._clock = clock
        self._lanes: list[_Lane] = []
        self._running: deque[_Running] = deque()  # the oldest first; others read it while they hold `work`
        self._last_end = float("-inf")
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what runs, and end. Blocks until then."""
        with self._work:
            self._is_stopping = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def add(
        self,
        batcher: Batcher,
        engine: BatchEngine,
        report: Callable[[Batch, float, bool], None] = lambda *_: None,
        replicas: int = 1,
    ) -> None:
        """Serve a model from now on. `report` hears of each batch: its seconds, and whether it has failed.

        replicas: engines that serve this batcher, those of other threads included
        """
        if isinstance(engine, AsyncEngine):
            lane = _Lane(batcher, engine.submit, _BATCHES_OF_ASYNC_ENGINE, report, replicas)
        else:
            lane = _Lane(batcher, partial(partial, engine.encode), 1, report, replicas)
        with self._work:
            self._lanes.append(lane)
            self._work.notify_all()

    def remove(self, batcher: Batcher) -> None:
        """Serve a model no longer. Blocks until its batches that run are over; then nothing holds its engine."""
        with self._work:
            self._lanes = [lane for lane in self._lanes if lane.batcher is not batcher]
            self._work.wait_for(lambda: all(running.lane.batcher is not batcher for running in self._running))

    def step(self) -> bool:
        """Begin a batch where there is room for one; end the oldest where there is not. False when nothing is to do."""
        begun = self._begin()
        if not self._running:
            return False
        if not (begun and self._has_room()):
            self._end(self._running[0])
        return True

    def _run(self) -> None:
        while not self._is_stopping:
            if not self.step():
                with self._work:
                    self._work.wait_for(self._has_work)
        while self._running:
            self._end(self._running[0])

    def _has_work(self) -> bool:
        return self._is_stopping or any(lane.batcher.next_class() is not None for lane in self._lanes)

    def _has_room(self) -> bool:
        """Whether another batch may begin before the oldest has ended."""
        return all(len(self._running) < running.lane.max_running for running in self._running)

    def _begin(self) -> bool:
        """Take the next batch and hand it to its engine. False when nothing waits, or there is no room."""
        with self._work:
            lane, batch = self._next() if self._has_room() else (None, [])
            if lane is None:
                return False
            running = _Running(lane, batch, self._clock())
            self._running.append(running)
        texts = [ids for part in batch for ids in part.call.token_ids[part.start : part.stop]]
        running.wait = _attempt(partial(lane.submit, texts), len(texts))
        return True

    def _end(self, running: _Running) -> None:
        """Wait for the oldest batch, and let its callers hear of it."""
        assert running.wait is not None
        lane, batch, wait = running.lane, running.batch, running.wait
        texts = sum(part.stop - part.start for part in batch)
        result = wait if isinstance(wait, Exception) else _attempt(partial(_finite, wait), texts)
        ended = self._clock()
        elapsed_s = ended - max(running.started, self._last_end)  # a batch that was ready early did not run yet
        self._last_end = ended
        has_failed = isinstance(result, Exception)
        with self._work:
            self._running.popleft()
            # The batcher's rate is the one at which its queue shrinks, so that of all replicas together.
            lane.batcher.finish(batch, elapsed_s / lane.replicas, has_failed=has_failed)
            self._work.notify_all()
        lane.report(batch, elapsed_s, has_failed)
        if isinstance(result, Exception):
            self._loop.call_soon_threadsafe(fail, batch, result)
        else:
            self._loop.call_soon_threadsafe(hand_out, batch, result, elapsed_s)

    def _next(self) -> tuple[_Lane | None, Batch]:
        """The lane whose class goes first, models of one class in turns, and its next batch."""
        waiting = [(lane, urgency) for lane in self._lanes if (urgency := lane.batcher.next_class()) is not None]
        if not waiting:
            return None, []
        lane, _ = min(waiting, key=lambda pair: pair[1])  # of several, the first: it has waited longest for its turn
        self._lanes.remove(lane)
        self._lanes.append(lane)
        return lane, lane.batcher.take()


def _attempt(act: Callable[[], T], texts: int) -> T | Exception:
    """What `act` returns, or the error that it raises: for the callers of one batch, while the thread lives on."""
    try:
        return act()
    except Exception as error:
        _log.exception("batch.failed", texts=texts)
        return error


def _finite(wait: Callable[[], Answers]) -> Answers:
    """The answers to a batch, all of them numbers."""
    answers = wait()
    if not all(np.isfinite(answer).all() for answer in answers):
        raise ModelError("embeddings hold numbers that are none; the model's weights are damaged, export it again")
    return answers
