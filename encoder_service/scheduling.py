"""Which texts go to the engine next, and which calls are let in. Decisions over what waits; nothing here changes it.

Queries go before bulk work. Within a class clients take turns by tokens, however many calls each of them has waiting.
Bulk work ages: when it has been passed over for a while, the next batch is its own.
Source of the turns: start-time fair queueing, Goyal, Vin & Cheng, SIGCOMM 1996.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, Protocol, TypeVar

from encoder_service.pace import Pace

# Tokens that a client has in a batch before it is the next one's turn.
_TURN_TOKENS = 256
# A batch keeps the engine for about so long: whoever comes may have to wait for its end.
_BATCH_S = 0.25
# Below this the matrix products lose efficiency, however slow the model is.
_LEAST_BATCH_TOKENS = 256
# Bulk work that queries have kept waiting for so long gets a batch.
_PATIENCE_S = 0.5
# Where queries came so short a while ago more will come, and would have to wait for a whole batch of bulk work.
_OF_LATE_S = 1.0
# A full row: fewer tokens are slower, each (see `packing`).
_LEAST_TOKENS_BESIDE_QUERIES = 128
# In so long an answer is handed to its caller.
_ANSWER_S = 0.02


class Priority(IntEnum):
    """Classes of work; the lower goes first."""

    QUERY = 0
    BULK = 1


class Call(Protocol):
    """What a decision has to know of a call: its texts, the first one that is in no batch, whether anybody waits."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each text."""
        ...

    @property
    def next_text(self) -> int:
        """The first text that is in no batch yet."""
        ...

    @property
    def has_left(self) -> bool:
        """Whether nobody waits any more."""
        ...


C = TypeVar("C", bound=Call)


@dataclass(frozen=True, slots=True)
class Part(Generic[C]):
    """The texts `start` to `stop` of a call: its share of a batch."""

    call: C
    start: int
    stop: int

    @property
    def tokens(self) -> int:
        """Tokens of these texts."""
        return sum(self.call.lengths[self.start : self.stop])


@dataclass(slots=True)
class Client(Generic[C]):
    """The waiting calls of one client in one class, oldest first.

    served: where the client stands on the class's scale of tokens; the least goes first
    """

    calls: deque[C] = field(default_factory=deque)
    served: float = 0.0


def choose_parts(clients: Iterable[Client[C]], max_tokens: int) -> list[tuple[Client[C], Part[C]]]:
    """Choose texts for a batch while they fit into `max_tokens`; clients that were served least go first, in turns.

    Each client's calls keep their order, and each call its texts'. The first text always fits, so that one larger than
    a batch does not wait for ever. Nobody overtakes a text that waits for room, or it would wait while smaller ones
    come.
    """
    waiting = {number: (client, _waiting_calls(client)) for number, client in enumerate(clients)}
    turns = [(client.served, number) for number, (client, _) in waiting.items()]
    heapq.heapify(turns)
    current: dict[int, tuple[C, int]] = {}  # of each client whose turn was cut short: its call and the next text
    chosen: list[tuple[Client[C], Part[C]]] = []
    room = max_tokens
    while turns:
        served, number = heapq.heappop(turns)
        client, calls = waiting[number]
        call, start = current.pop(number, None) or next(calls, (None, 0))
        if call is None:
            continue
        stop, tokens = start, 0
        while stop < len(call.lengths) and tokens < _TURN_TOKENS:
            if call.lengths[stop] > room and (chosen or stop > start):
                break
            tokens += call.lengths[stop]
            room -= call.lengths[stop]
            stop += 1
        if stop > start:
            _add(chosen, client, Part(call, start, stop))
        if stop < len(call.lengths):
            if tokens < _TURN_TOKENS:
                break  # its next text waits for room
            current[number] = call, stop
        heapq.heappush(turns, (served + tokens, number))
    return chosen


def _waiting_calls(client: Client[C]) -> Iterator[tuple[C, int]]:
    return ((call, call.next_text) for call in client.calls if not call.has_left)


def _add(chosen: list[tuple[Client[C], Part[C]]], client: Client[C], part: Part[C]) -> None:
    """Append a part, or lengthen the last one when it is of the same call."""
    if chosen and chosen[-1][1].call is part.call:
        part = Part(part.call, chosen.pop()[1].start, part.stop)
    chosen.append((client, part))


def batch_tokens(max_batch_tokens: int, tokens_per_s: float | None) -> int:
    """Tokens of a batch: what the engine does in a quarter of a second. `tokens_per_s`: None before it is measured."""
    if tokens_per_s is None:
        return max_batch_tokens
    return min(max_batch_tokens, max(_LEAST_BATCH_TOKENS, int(tokens_per_s * _BATCH_S)))


def bulk_batch_tokens(
    max_batch_tokens: int,
    tokens_per_s: float | None,
    bulk_batch_s: float,
    *,
    has_queries: bool,
    query_came_s_ago: float,
) -> int:
    """Tokens of a batch of bulk work: the usual ones; beside queries what the engine does in `bulk_batch_s`."""
    if has_queries or query_came_s_ago < _OF_LATE_S:
        return _tokens_beside_queries(max_batch_tokens, tokens_per_s or 0.0, bulk_batch_s)
    return batch_tokens(max_batch_tokens, tokens_per_s)


def _tokens_beside_queries(max_batch_tokens: int, tokens_per_s: float, bulk_batch_s: float) -> int:
    return min(max_batch_tokens, max(_LEAST_TOKENS_BESIDE_QUERIES, int(tokens_per_s * bulk_batch_s)))


def choose_class(*, has_queries: bool, has_bulk: bool, bulk_waits_s: float) -> Priority | None:
    """The class that the next batch is for: queries, unless there are none or bulk work has waited too long."""
    if has_bulk and (not has_queries or bulk_waits_s > _PATIENCE_S):
        return Priority.BULK
    return Priority.QUERY if has_queries else None


def expected_wait_s(
    own_tokens: int, tokens_ahead: int, pace: Pace, max_batch_tokens: int, bulk_batch_s: float | None
) -> float:
    """Seconds until a call is answered, seldom more; 0 while the engine has not been measured.

    tokens_ahead: that run, or go before it
    bulk_batch_s: of the bulk work that waits and will have its turn in between; None: none waits
    """
    if not pace.s_per_token:
        return 0.0
    if not tokens_ahead:  # a forecast that was too cautious here would let nobody in, and never learn better
        return own_tokens * pace.s_per_token + _ANSWER_S
    # A call ends with its batch, which is filled up with what comes while it waits.
    beside = min(tokens_ahead, batch_tokens(max_batch_tokens, pace.tokens_per_s))
    wait_s = (own_tokens + tokens_ahead + beside) * pace.cautious_s_per_token
    if bulk_batch_s is not None:
        bulk_tokens = _tokens_beside_queries(max_batch_tokens, pace.tokens_per_s or 0.0, bulk_batch_s)
        wait_s *= 1 + bulk_tokens * pace.s_per_token / _PATIENCE_S
    return wait_s + _ANSWER_S
