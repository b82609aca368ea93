"""Batches: which texts go to the engine together, and the loop that keeps the engine busy.

There is no timer. A batch is formed from what is waiting when the engine has room for it, so that batches grow by
themselves under load and a lone text never waits. While one batch runs, exactly one more is formed and ready.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
import structlog

from encoder_service.engines.engine import Embeddings, Engine, TokenIds
from kosearch.errors import OverloadedError, UnavailableError

_log = structlog.get_logger()

_BATCHES_AT_ONCE = 2  # one runs, one is ready behind it
_RATE_BEFORE_MEASURED = 10_000.0  # tokens/s
_RATE_WEIGHT = 0.2  # of the newest batch in the moving average
_RETRY_AFTER_BOUNDS_S = (0.05, 30.0)


@dataclass(slots=True, eq=False)
class Call:
    """The texts of one caller on their way through one batch or several."""

    token_ids: Sequence[TokenIds]
    embeddings: Embeddings  # filled batch by batch
    done: "asyncio.Future[None]"
    next_text: int = 0  # the first that is in no batch yet
    missing: int = field(init=False)  # texts without embedding

    def __post_init__(self) -> None:
        self.missing = len(self.token_ids)

    @property
    def has_left(self) -> bool:
        """Whether nobody waits any more: cancelled, past the deadline, or failed with an earlier batch."""
        return self.done.done()

    @property
    def needs_nothing(self) -> bool:
        """Whether no batch has to care about this call any more."""
        return self.has_left or self.next_text == len(self.token_ids)

    @property
    def waiting_tokens(self) -> int:
        """Tokens that are in no batch yet."""
        return sum(map(len, self.token_ids[self.next_text :]))


@dataclass(frozen=True, slots=True)
class Part:
    """The texts `start` to `stop` of a call: its share of a batch."""

    call: Call
    start: int
    stop: int

    @property
    def token_ids(self) -> Sequence[TokenIds]:
        """Token ids of the texts in this part."""
        return self.call.token_ids[self.start : self.stop]


def take_batch(waiting: Iterable[Call], max_tokens: int) -> list[Part]:
    """Choose the next batch: texts in the given order of calls while they fit into `max_tokens`.

    Calls whose caller has left are passed over. The first text always fits, so that the queue cannot stand still.
    Changes nothing. The order of `waiting` is the policy: arrival now, classes of priority are a matter of the order.
    """
    parts: list[Part] = []
    room = max_tokens
    for call in waiting:
        if call.has_left:
            continue
        stop = call.next_text
        while stop < len(call.token_ids) and (len(call.token_ids[stop]) <= room or room == max_tokens):
            room -= len(call.token_ids[stop])
            stop += 1
        if stop > call.next_text:
            parts.append(Part(call, call.next_text, stop))
        if stop < len(call.token_ids):
            break
    return parts


class Batcher:
    """A bounded queue in front of an engine that only one thread calls."""

    def __init__(
        self,
        engine: Engine,
        engine_thread: Executor,
        max_batch_tokens: int,
        max_queued_tokens: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make a batcher; `engine_thread` must run one thing at a time. `clock` counts seconds."""
        self._engine = engine
        self._engine_thread = engine_thread
        self._max_batch_tokens = max_batch_tokens
        self._max_queued_tokens = max_queued_tokens
        self._clock = clock
        self._waiting: deque[Call] = deque()
        self._queued_tokens = 0
        self._tokens_per_s: float | None = None
        self._arrived = asyncio.Event()
        self._slots = asyncio.Semaphore(_BATCHES_AT_ONCE)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    @property
    def queued_tokens(self) -> int:
        """Tokens of live callers that are in no batch yet."""
        return self._queued_tokens

    def start(self) -> None:
        """Begin to form batches."""
        self._loop = asyncio.create_task(self._form_batches(), name="batcher")

    async def stop(self) -> None:
        """Finish the batches that the engine has, refuse the callers that wait: they get UnavailableError."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
        for call in self._waiting:
            _fail(call, UnavailableError("the encoder service is stopping; ask again in a few seconds"))
        self._waiting.clear()
        await asyncio.gather(*self._deliveries)

    def require_room(self, tokens: int) -> None:
        """Raise OverloadedError when `tokens` more do not fit. A call larger than the queue fits when it is empty."""
        if self._queued_tokens and self._queued_tokens + tokens > self._max_queued_tokens:
            retry_after_s = self._retry_after_s()
            raise OverloadedError(
                f"the queue is full ({self._queued_tokens:,} of {self._max_queued_tokens:,} tokens wait); "
                f"ask again in {retry_after_s:.1f} s, or run more encoder services",
                retry_after_s,
            )

    async def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Wait for the embeddings of at least one text, shape (len(token_ids), dim), in the order given.

        Raises OverloadedError at once when the queue is full, UnavailableError when the batcher stops, and the
        engine's own error when a batch with texts of this call fails. A cancelled caller is dropped from the queue.
        """
        if self._loop is None:
            raise UnavailableError("the encoder service is stopping; ask again in a few seconds")
        tokens = sum(map(len, token_ids))
        self.require_room(tokens)
        embeddings = np.empty((len(token_ids), self._engine.dim), np.float32)
        call = Call(token_ids, embeddings, asyncio.get_running_loop().create_future())
        self._waiting.append(call)
        self._queued_tokens += tokens
        self._arrived.set()
        try:
            await call.done
        finally:
            # Whoever leaves early frees his room at once; his entry goes when the queue reaches it.
            self._queued_tokens -= call.waiting_tokens
            call.next_text = len(token_ids)
        return embeddings

    async def _form_batches(self) -> None:
        while True:
            await self._slots.acquire()
            batch = await self._next_batch()
            running = asyncio.get_running_loop().run_in_executor(self._engine_thread, self._run, batch)
            delivery = asyncio.create_task(self._deliver(batch, running))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _next_batch(self) -> list[Part]:
        while True:
            await self._arrived.wait()
            batch = take_batch(self._waiting, self._max_batch_tokens)
            for part in batch:
                self._queued_tokens -= sum(map(len, part.token_ids))
                part.call.next_text = part.stop
            while self._waiting and self._waiting[0].needs_nothing:
                self._waiting.popleft()
            if not self._waiting:
                self._arrived.clear()
            if batch:
                return batch

    def _run(self, batch: list[Part]) -> tuple[Embeddings, float]:
        """Encode in the engine's thread. Returns embeddings and seconds."""
        started = self._clock()
        embeddings = self._engine.encode([ids for part in batch for ids in part.token_ids])
        return embeddings, self._clock() - started

    async def _deliver(self, batch: list[Part], running: "asyncio.Future[tuple[Embeddings, float]]") -> None:
        """Hand the embeddings, or the error, to exactly the callers of this batch."""
        try:
            embeddings, elapsed_s = await running
            self._hand_out(batch, embeddings)
            self._measure(batch, elapsed_s)
        except Exception as error:
            _log.exception("batch.failed", texts=sum(part.stop - part.start for part in batch))
            for part in batch:
                _fail(part.call, error)
        finally:
            self._slots.release()

    def _hand_out(self, batch: list[Part], embeddings: Embeddings) -> None:
        given = 0
        for part in batch:
            texts = part.stop - part.start
            part.call.embeddings[part.start : part.stop] = embeddings[given : given + texts]
            given += texts
            part.call.missing -= texts
            if part.call.missing == 0 and not part.call.has_left:
                part.call.done.set_result(None)

    def _measure(self, batch: list[Part], elapsed_s: float) -> None:
        tokens = sum(len(ids) for part in batch for ids in part.token_ids)
        rate = tokens / max(elapsed_s, 1e-6)
        before = self._tokens_per_s
        self._tokens_per_s = rate if before is None else before + _RATE_WEIGHT * (rate - before)
        _log.debug("batch.encoded", calls=len(batch), tokens=tokens, duration_ms=round(elapsed_s * 1e3, 2))

    def _retry_after_s(self) -> float:
        """Return the time in which half of the queue is worked off, so that whoever comes back finds room."""
        rate = self._tokens_per_s or _RATE_BEFORE_MEASURED
        least, most = _RETRY_AFTER_BOUNDS_S
        return min(max(self._queued_tokens / 2 / rate, least), most)


def _fail(call: Call, error: Exception) -> None:
    if not call.has_left:
        call.done.set_exception(error)
