"""What waits for a model: who is let in, what goes into the next batch, and what becomes of the callers."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from encoder_service.engines.engine import Answers, TokenIds
from encoder_service.pace import Pace
from encoder_service.scheduling import (
    Client,
    Part,
    Priority,
    batch_tokens,
    bulk_batch_tokens,
    choose_class,
    choose_parts,
    expected_wait_s,
)
from kosearch.errors import OverloadedError, UnavailableError

_RATE_BEFORE_MEASURED = 10_000.0  # tokens/s
_RETRY_AFTER_BOUNDS_S = (0.05, 30.0)
# A pace that no batch has confirmed for so long may be over: the machine had other work then, or was suspended.
_PACE_HOLDS_S = 5.0
_STOPPING = "the encoder service is stopping; ask again in a few seconds"


@dataclass(slots=True, eq=False)
class Call:
    """The texts of one caller on their way through one batch or several.

    started: when its first batch began, on the batcher's clock; encode_s: how long its batches took
    """

    token_ids: Sequence[TokenIds]
    priority: Priority
    client: str
    answers: Answers  # filled batch by batch
    done: "asyncio.Future[None]"
    arrived: float
    lengths: list[int] = field(init=False)
    next_text: int = 0  # the first that is in no batch yet
    missing: int = field(init=False)  # texts without embedding
    has_left: bool = False  # nobody waits: answered, failed, cancelled, or past the deadline
    started: float | None = None
    encode_s: float = 0.0

    def __post_init__(self) -> None:
        self.lengths = [len(ids) for ids in self.token_ids]
        self.missing = len(self.lengths)

    @property
    def waiting_tokens(self) -> int:
        """Tokens that are in no batch yet."""
        return sum(self.lengths[self.next_text :])


@dataclass(frozen=True, slots=True)
class Encoding:
    """The engine's answers and the seconds that the call waited and that its batches took."""

    answers: Answers
    queue_s: float
    encode_s: float


Batch = list[Part[Call]]


class _ClassQueue:
    """What waits in one class, by client."""

    def __init__(self) -> None:
        self._clients: dict[str, Client[Call]] = {}
        self._reached = 0.0  # where the class stands: what the client that is served next has had
        self.tokens = 0
        self.passed_over_since: float | None = None

    def add(self, call: Call) -> None:
        client = self._clients.setdefault(call.client, Client())
        if not client.calls:  # an idle client saves nothing up
            client.served = max(client.served, self._reached)
        client.calls.append(call)
        self.tokens += call.waiting_tokens
        if self.passed_over_since is None:
            self.passed_over_since = call.arrived

    def take(self, max_tokens: int, now: float) -> Batch:
        """Take a batch out. Empty when nobody waits."""
        chosen = choose_parts(self._clients.values(), max_tokens)
        if chosen:
            self._reached = min(client.served for client, _ in chosen)
        for client, part in chosen:
            client.served += part.tokens
            self.tokens -= part.tokens
            part.call.next_text = part.stop
        self._tidy()
        self.passed_over_since = now if self.tokens else None
        return [part for _, part in chosen]

    def leave(self, call: Call) -> None:
        """Free the room of a call whose caller is gone; its entry goes when its turn comes."""
        call.has_left = True
        self.tokens -= call.waiting_tokens
        call.next_text = len(call.lengths)
        if not self.tokens:
            self.passed_over_since = None

    def clear(self) -> list[Call]:
        """Take everything out."""
        calls = [call for client in self._clients.values() for call in client.calls if not call.has_left]
        self._clients.clear()
        self.tokens, self.passed_over_since = 0, None
        return calls

    def _tidy(self) -> None:
        for name, client in list(self._clients.items()):
            while client.calls and client.calls[0].next_text == len(client.calls[0].lengths):
                client.calls.popleft()
            if not client.calls:
                del self._clients[name]


class Batcher:
    """What waits for one model: a bounded queue in two classes. Callers use it from the event loop."""

    def __init__(
        self,
        dim: int | None,
        max_batch_tokens: int,
        max_queued_tokens: int,
        bulk_batch_s: float,
        work: threading.Condition,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Make a batcher whose engines wait for `work`. `clock` counts seconds.

        dim: numbers in an embedding; None for engines that answer `ByToken`
        bulk_batch_s: about how long a batch of bulk work may take while queries come
        """
        self._dim = dim
        self._max_batch_tokens = max_batch_tokens
        self._max_queued_tokens = max_queued_tokens
        self._bulk_batch_s = bulk_batch_s
        self._work = work
        self._clock = clock
        self._queues = {priority: _ClassQueue() for priority in Priority}
        self._running_tokens = 0
        self._pace = Pace()
        self._paced_at = float("-inf")  # when it was confirmed, on the clock
        self._last_query = float("-inf")  # when one came, on the clock
        self._is_open = True

    @property
    def queued_tokens(self) -> int:
        """Tokens of live callers that are in no batch yet."""
        return sum(queue.tokens for queue in self._queues.values())

    def queued_tokens_of(self, priority: Priority) -> int:
        """The same of one class."""
        return self._queues[priority].tokens

    def stop(self) -> None:
        """Refuse the callers that wait, and those to come: they get UnavailableError. Running batches are finished."""
        with self._work:
            self._is_open = False
            calls = [call for queue in self._queues.values() for call in queue.clear()]
        for call in calls:
            _fail(call, UnavailableError(_STOPPING))

    def require_room(self, tokens: int, priority: Priority, deadline_s: float | None = None) -> None:
        """Raise OverloadedError when `tokens` more do not fit, or would not be encoded within `deadline_s`.

        A call larger than the queue fits when the queue is empty. A call without deadline is refused for room only, and
        so is one that finds nobody else while the pace of full batches is not known, or is known from long ago.
        """
        if not self._is_open:
            raise UnavailableError(_STOPPING)
        queued = self.queued_tokens
        if queued and queued + tokens > self._max_queued_tokens:
            retry_after_s = self._retry_after_s()
            raise OverloadedError(
                f"the queue is full ({queued:,} of {self._max_queued_tokens:,} tokens wait); "
                f"ask again in {retry_after_s:.1f} s, or run more encoder services",
                retry_after_s,
            )
        # Who knows the pace of a few short queries alone, or one that is over, would refuse a large call, and the next
        # one, and never learn.
        is_alone = not (queued or self._running_tokens)
        if deadline_s is None or (is_alone and not self._knows_pace_of(tokens)):
            return
        ahead = self._queues[Priority.QUERY].tokens if priority is Priority.QUERY else queued
        has_bulk = priority is Priority.QUERY and self._queues[Priority.BULK].tokens > 0
        wait_s = expected_wait_s(
            tokens,
            ahead + self._running_tokens,
            self._pace,
            self._max_batch_tokens,
            self._bulk_batch_s if has_bulk else None,
        )
        if wait_s > deadline_s:
            least, most = _RETRY_AFTER_BOUNDS_S
            retry_after_s = min(max(wait_s - deadline_s, least), most)
            raise OverloadedError(
                f"the call would take {wait_s:.2f} s and its deadline is in {deadline_s:.2f} s; "
                f"ask again in {retry_after_s:.1f} s, with a later deadline, or run more encoder services",
                retry_after_s,
            )

    async def encode(
        self,
        token_ids: Sequence[TokenIds],
        priority: Priority = Priority.QUERY,
        client: str = "",
        deadline_s: float | None = None,
    ) -> Encoding:
        """Wait for the answers to at least one text, in the order given.

        Raises OverloadedError at once when there is no room or no time, UnavailableError when the batcher stops, and
        the engine's own error when a batch with texts of this call fails. A cancelled caller is dropped from the queue.
        """
        call = Call(
            token_ids,
            priority,
            client,
            self._room_for(len(token_ids)),
            asyncio.get_running_loop().create_future(),
            self._clock(),
        )
        with self._work:
            self.require_room(call.waiting_tokens, priority, deadline_s)
            self._queues[priority].add(call)
            if priority is Priority.QUERY:
                self._last_query = call.arrived
            self._work.notify_all()
        try:
            await call.done
        finally:
            with self._work:
                self._queues[priority].leave(call)
        return Encoding(call.answers, (call.started or call.arrived) - call.arrived, call.encode_s)

    def _room_for(self, texts: int) -> Answers:
        return np.empty(texts, np.object_) if self._dim is None else np.empty((texts, self._dim), np.float32)

    # What follows is called by the engines' threads, `take` and `finish` while they hold `work`.

    def next_class(self) -> Priority | None:
        """The class that the next batch would be for; None when nobody waits."""
        queries, bulk = self._queues[Priority.QUERY], self._queues[Priority.BULK]
        return choose_class(has_queries=queries.tokens > 0, has_bulk=bulk.tokens > 0, bulk_waits_s=self._bulk_waits_s())

    def take(self) -> Batch:
        """Take the next batch; empty when nobody waits."""
        priority = self.next_class()
        if priority is None:
            return []
        now = self._clock()
        batch = self._queues[priority].take(self._tokens_of_batch(priority, now), now)
        for part in batch:
            if part.call.started is None:
                part.call.started = now
        self._running_tokens += sum(part.tokens for part in batch)
        return batch

    def finish(self, batch: Batch, elapsed_s: float, *, has_failed: bool) -> None:
        """Note that a batch is over. What is left of the calls in one that failed is not encoded any more."""
        tokens = sum(part.tokens for part in batch)
        self._running_tokens -= tokens
        if has_failed:
            for part in batch:
                self._queues[part.call.priority].leave(part.call)
            return
        if self._pace.note(tokens, elapsed_s):
            self._paced_at = self._clock()

    def _tokens_of_batch(self, priority: Priority, now: float) -> int:
        if priority is Priority.QUERY:
            return batch_tokens(self._max_batch_tokens, self._pace.tokens_per_s)
        return bulk_batch_tokens(
            self._max_batch_tokens,
            self._pace.tokens_per_s,
            self._bulk_batch_s,
            has_queries=self._queues[Priority.QUERY].tokens > 0,
            query_came_s_ago=now - self._last_query,
        )

    def _knows_pace_of(self, tokens: int) -> bool:
        return self._pace.can_tell(tokens) and self._clock() - self._paced_at <= _PACE_HOLDS_S

    def _bulk_waits_s(self) -> float:
        since = self._queues[Priority.BULK].passed_over_since
        return 0.0 if since is None else self._clock() - since

    def _retry_after_s(self) -> float:
        """Return the time in which half of the queue is worked off, so that whoever comes back finds room."""
        rate = self._pace.tokens_per_s or _RATE_BEFORE_MEASURED
        least, most = _RETRY_AFTER_BOUNDS_S
        return min(max(self.queued_tokens / 2 / rate, least), most)


def hand_out(batch: Batch, answers: Answers, elapsed_s: float) -> None:
    """Give the callers of a batch their share of `answers`, in its order. In the event loop."""
    given = 0
    for part in batch:
        call, texts = part.call, part.stop - part.start
        call.answers[part.start : part.stop] = answers[given : given + texts]
        given += texts
        call.missing -= texts
        call.encode_s += elapsed_s
        if call.missing == 0 and not call.done.done():
            call.done.set_result(None)


def fail(batch: Batch, error: Exception) -> None:
    """Give the callers of a batch its error. In the event loop."""
    for call in {part.call for part in batch}:
        _fail(call, error)


def _fail(call: Call, error: Exception) -> None:
    if not call.done.done():
        call.done.set_exception(error)
