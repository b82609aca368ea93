"""The queue: what goes into a batch, and what becomes of the callers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.batcher import Batcher, Call, take_batch
from encoder_service.engines.engine import Embeddings, TokenIds
from kosearch.errors import OverloadedError, UnavailableError


def text(tokens: int, mark: int = 0) -> TokenIds:
    """A text of so many tokens, all of them `mark`."""
    return np.full(tokens, mark, np.int32)


class EngineError(Exception):
    """What a broken engine raises."""


class FakeEngine:
    """Embeds a text as (its first token, its length); fails on token 666."""

    dim = 2

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        self.batches.append([len(ids) for ids in token_ids])
        if any(ids[0] == 666 for ids in token_ids):
            raise EngineError("the weights caught fire")
        return np.array([[ids[0], len(ids)] for ids in token_ids], np.float32)


class SteppedThread(Executor):
    """Runs what was submitted when the test says so, one thing at a time."""

    def __init__(self) -> None:
        self.pending: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        self.pending.append((future, lambda: fn(*args, **kwargs)))
        return future

    async def step(self) -> None:
        """Run the oldest thing submitted and let everybody hear of it."""
        future, work = self.pending.pop(0)
        future.set_running_or_notify_cancel()
        try:
            future.set_result(work())
        except EngineError as error:
            future.set_exception(error)
        await settle()


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A batcher of 10 tokens a batch and 30 in the queue, on a stepped thread."""

    def __init__(self) -> None:
        self.engine, self.thread, self.seconds = FakeEngine(), SteppedThread(), 0.0
        self.batcher = Batcher(self.engine, self.thread, max_batch_tokens=10, max_queued_tokens=30, clock=self._tick)

    def _tick(self) -> float:
        self.seconds += 0.5
        return self.seconds

    async def ask(self, *texts: TokenIds) -> "asyncio.Task[Embeddings]":
        """Send a call and let it reach the queue."""
        call = asyncio.create_task(self.batcher.encode(texts))
        await settle()
        return call


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.batcher.start()
    yield made
    stopping = asyncio.create_task(made.batcher.stop())
    await settle()
    while made.thread.pending:
        await made.thread.step()
    await stopping


# ---- the decision ----


def waiting_call(*lengths: int, next_text: int = 0) -> Call:
    done: asyncio.Future[None] = asyncio.Future(loop=asyncio.new_event_loop())
    done.get_loop().close()
    return Call([text(length) for length in lengths], np.empty((len(lengths), 2), np.float32), done, next_text)


def taken(parts: Sequence[Any]) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for part in parts]


def test_a_batch_takes_calls_in_order_while_they_fit() -> None:
    calls = [waiting_call(4), waiting_call(6), waiting_call(1)]
    assert [part.call for part in take_batch(calls, 10)] == calls[:2]


def test_a_batch_takes_a_part_of_a_call_that_does_not_fit_whole() -> None:
    assert taken(take_batch([waiting_call(3), waiting_call(4, 3, 3)], 10)) == [(0, 1), (0, 2)]


def test_a_batch_goes_on_where_the_last_one_stopped() -> None:
    assert taken(take_batch([waiting_call(4, 4, 4, next_text=2), waiting_call(5)], 10)) == [(2, 3), (0, 1)]


def test_a_text_larger_than_a_batch_goes_alone() -> None:
    assert taken(take_batch([waiting_call(25, 1)], 10)) == [(0, 1)]


def test_a_later_call_does_not_overtake_one_that_has_to_wait() -> None:
    assert len(take_batch([waiting_call(6), waiting_call(6), waiting_call(1)], 10)) == 1


def test_calls_whose_caller_has_left_are_passed_over() -> None:
    gone, here = waiting_call(5), waiting_call(8)
    gone.done.cancel()
    assert [part.call for part in take_batch([gone, here], 10)] == [here]


def test_nothing_waiting_makes_an_empty_batch() -> None:
    assert take_batch([], 10) == []


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), max_size=12), st.integers(1, 60))
def test_batches_bring_every_text_once_in_order_within_the_budget(calls: list[list[int]], budget: int) -> None:
    waiting = [waiting_call(*lengths) for lengths in calls]
    seen: list[tuple[int, int]] = []
    while any(call.next_text < len(call.token_ids) for call in waiting):
        parts = take_batch(waiting, budget)
        lengths = [len(ids) for part in parts for ids in part.token_ids]
        assert len(lengths) == 1 or sum(lengths) <= budget
        assert lengths
        for part in parts:
            seen += [(waiting.index(part.call), place) for place in range(part.start, part.stop)]
            part.call.next_text = part.stop
    assert seen == [(number, place) for number, lengths in enumerate(calls) for place in range(len(lengths))]


# ---- the loop ----


async def test_a_call_gets_its_embeddings_in_the_order_of_its_texts(bench: Bench) -> None:
    call = await bench.ask(text(2, mark=7), text(3, mark=8))
    await bench.thread.step()
    np.testing.assert_array_equal(await call, [[7, 2], [8, 3]])


async def test_a_lone_text_goes_to_the_engine_at_once(bench: Bench) -> None:
    await bench.ask(text(1))
    assert len(bench.thread.pending) == 1


async def test_exactly_one_batch_is_ready_while_one_runs(bench: Bench) -> None:
    for _ in range(4):
        await bench.ask(text(1))
    assert len(bench.thread.pending) == 2


async def test_the_next_batch_gathers_all_that_came_while_one_ran(bench: Bench) -> None:
    for _ in range(5):
        await bench.ask(text(1))
    await bench.thread.step()
    await bench.thread.step()
    await bench.thread.step()
    assert bench.engine.batches == [[1], [1], [1, 1, 1]]


async def test_a_call_larger_than_a_batch_is_split_and_put_together_again(bench: Bench) -> None:
    call = await bench.ask(*(text(4, mark) for mark in range(7)))
    for _ in range(4):
        await bench.thread.step()
    assert bench.engine.batches == [[4, 4], [4, 4], [4, 4], [4]]
    np.testing.assert_array_equal((await call)[:, 0], range(7))


async def test_a_full_queue_refuses_and_tells_when_to_come_back(bench: Bench) -> None:
    await bench.ask(text(10))
    await bench.thread.step()  # 10 tokens in the half second of the clock: 20 tokens/s
    for _ in range(5):  # two batches with the engine, 30 tokens in the queue
        await bench.ask(text(10))
    with pytest.raises(OverloadedError) as refusal:
        await bench.batcher.encode([text(1)])
    assert refusal.value.retry_after_s == pytest.approx(30 / 2 / 20)


async def test_a_call_larger_than_the_queue_is_taken_when_the_queue_is_empty(bench: Bench) -> None:
    call = await bench.ask(*(text(10) for _ in range(5)))
    assert not call.done()


async def test_a_caller_who_leaves_frees_his_room_at_once(bench: Bench) -> None:
    calls = [await bench.ask(text(10)) for _ in range(5)]
    assert bench.batcher.queued_tokens == 30
    calls[-1].cancel()
    await settle()
    assert bench.batcher.queued_tokens == 20


async def test_a_caller_who_leaves_is_not_encoded(bench: Bench) -> None:
    calls = [await bench.ask(text(length)) for length in (1, 2, 3, 4)]
    calls[2].cancel()
    for _ in range(3):
        await bench.thread.step()
    assert bench.engine.batches == [[1], [2], [4]]


async def test_an_engine_error_reaches_exactly_the_callers_of_that_batch(bench: Bench) -> None:
    running, ready = await bench.ask(text(10, mark=1)), await bench.ask(text(10, mark=2))
    culprit, companion = await bench.ask(text(5, mark=666)), await bench.ask(text(5, mark=3))
    later = await bench.ask(text(6, mark=4))
    while bench.thread.pending:
        await bench.thread.step()
    assert bench.engine.batches == [[10], [10], [5, 5], [6]]
    results = await asyncio.gather(running, ready, culprit, companion, later, return_exceptions=True)
    assert [isinstance(result, EngineError) for result in results] == [False, False, True, True, False]


async def test_the_rest_of_a_call_is_not_encoded_after_its_batch_failed(bench: Bench) -> None:
    call = await bench.ask(*(text(10, mark=666) for _ in range(5)))
    while bench.thread.pending:
        await bench.thread.step()
    assert isinstance(call.exception(), EngineError)
    assert len(bench.engine.batches) == 2  # the one that failed and the one that was ready behind it
    assert bench.batcher.queued_tokens == 0


async def test_the_loop_lives_on_after_an_error(bench: Bench) -> None:
    await bench.ask(text(1, mark=666))
    await bench.thread.step()
    call = await bench.ask(text(2, mark=5))
    await bench.thread.step()
    np.testing.assert_array_equal(await call, [[5, 2]])


async def test_stopping_finishes_what_the_engine_has_and_refuses_what_waits() -> None:
    bench = Bench()
    bench.batcher.start()
    running, ready, waiting = [await bench.ask(text(10, mark)) for mark in (1, 2, 3)]
    stopping = asyncio.create_task(bench.batcher.stop())
    await settle()
    await bench.thread.step()
    await bench.thread.step()
    await stopping
    assert (await running)[0, 0] == 1
    assert (await ready)[0, 0] == 2
    with pytest.raises(UnavailableError):
        await waiting


async def test_a_stopped_batcher_refuses() -> None:
    with pytest.raises(UnavailableError):
        await Bench().batcher.encode([text(1)])
