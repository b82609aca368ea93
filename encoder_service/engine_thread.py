"""The thread that owns an engine and keeps it busy.

There is no timer and nothing is formed ahead. The thread takes the next batch at the moment the engine is free, so that
batches grow by themselves under load, a lone text never waits, and a query that has just come goes before bulk work
that has waited for seconds.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from encoder_service.batcher import Batch, Batcher, fail, hand_out
from encoder_service.engines.engine import Embeddings, Engine
from kosearch.errors import ModelError

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Lane:
    """A model's queue and the engine that serves it."""

    batcher: Batcher
    engine: Engine
    report: Callable[[Batch, float, bool], None]


class EngineThread:
    """Runs the batches of one model, or of several that share a device, one at a time.

    Nothing else calls the engines, so that the threads of the matrix products have one owner.
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
        self._running: _Lane | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch that runs, and end. Blocks until then."""
        with self._work:
            self._is_stopping = True
            self._work.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def add(
        self, batcher: Batcher, engine: Engine, report: Callable[[Batch, float, bool], None] = lambda *_: None
    ) -> None:
        """Serve a model from now on. `report` hears of each batch: its seconds, and whether it has failed."""
        with self._work:
            self._lanes.append(_Lane(batcher, engine, report))
            self._work.notify_all()

    def remove(self, batcher: Batcher) -> None:
        """Serve a model no longer. Blocks until its batch that runs is over; then nothing holds its engine."""
        with self._work:
            self._lanes = [lane for lane in self._lanes if lane.batcher is not batcher]
            self._work.wait_for(lambda: self._running is None or self._running.batcher is not batcher)

    def step(self) -> bool:
        """Run one batch. False when nothing waits."""
        with self._work:
            lane, batch = self._next()
            self._running = lane
        if lane is None:
            return False
        started = self._clock()
        embeddings, error = _encode(lane.engine, batch)
        elapsed_s = self._clock() - started
        with self._work:
            lane.batcher.finish(batch, elapsed_s, has_failed=error is not None)
            self._running = None
            self._work.notify_all()
        lane.report(batch, elapsed_s, error is not None)
        if embeddings is not None:
            self._loop.call_soon_threadsafe(hand_out, batch, embeddings, elapsed_s)
        elif error is not None:
            self._loop.call_soon_threadsafe(fail, batch, error)
        return True

    def _run(self) -> None:
        while not self._is_stopping:
            if not self.step():
                with self._work:
                    self._work.wait_for(self._has_work)

    def _has_work(self) -> bool:
        return self._is_stopping or any(lane.batcher.next_class() is not None for lane in self._lanes)

    def _next(self) -> tuple[_Lane | None, Batch]:
        """The lane whose class goes first, models of one class in turns, and its next batch."""
        waiting = [(lane, urgency) for lane in self._lanes if (urgency := lane.batcher.next_class()) is not None]
        if not waiting:
            return None, []
        lane, _ = min(waiting, key=lambda pair: pair[1])  # of several, the first: it has waited longest for its turn
        self._lanes.remove(lane)
        self._lanes.append(lane)
        return lane, lane.batcher.take()


def _encode(engine: Engine, batch: Batch) -> tuple[Embeddings | None, Exception | None]:
    """Embeddings of the texts of a batch, or the error."""
    texts = [ids for part in batch for ids in part.call.token_ids[part.start : part.stop]]
    try:
        embeddings = engine.encode(texts)
        if not np.isfinite(embeddings).all():
            raise ModelError("embeddings hold numbers that are none; the model's weights are damaged, export it again")
    except Exception as error:
        _log.exception("batch.failed", texts=len(texts))
        return None, error
    return embeddings, None
