"""The queue in front of an engine: what is let in, and what becomes of the callers."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from encoder_service.batcher import Batcher, Encoding
from encoder_service.engine_thread import EngineThread
from encoder_service.engines.engine import Embeddings, TokenIds
from encoder_service.scheduling import Priority
from kosearch.errors import ModelError, OverloadedError, UnavailableError


def text(tokens: int, mark: int = 0) -> TokenIds:
    """A text of so many tokens, all of them `mark`."""
    return np.full(tokens, mark, np.int32)


class EngineError(Exception):
    """What a broken engine raises."""


class FakeEngine:
    """Embeds a text as (its first token, its length) in half a second; fails on token 666, gives no number on 777."""

    dim = 2

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.seconds = 0.0
        self.suspended_s = 0.0  # in the next batch

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        self.seconds += 0.5 + self.suspended_s
        self.suspended_s = 0.0
        self.batches.append([len(ids) for ids in token_ids])
        if any(ids[0] == 666 for ids in token_ids):
            raise EngineError("the weights caught fire")
        return np.array([[np.nan if ids[0] == 777 else ids[0], len(ids)] for ids in token_ids], np.float32)


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A batcher of 10 tokens a batch and 30 in the queue, and an engine thread that runs when the test says so."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.work = threading.Condition()
        self.batcher = Batcher(
            2, max_batch_tokens=10, max_queued_tokens=30, bulk_batch_s=0.01, work=self.work, clock=self.clock
        )
        self.thread = EngineThread(self.work, asyncio.get_running_loop(), clock=self.clock)
        self.thread.add(self.batcher, self.engine)

    def clock(self) -> float:
        """Seconds that the engine has worked."""
        return self.engine.seconds

    async def ask(self, *texts: TokenIds, priority: Priority = Priority.QUERY, **more: Any) -> "asyncio.Task[Encoding]":
        """Send a call and let it reach the queue."""
        call = asyncio.create_task(self.batcher.encode(texts, priority, **more))
        await settle()
        return call

    async def step(self) -> bool:
        """Run one batch and let everybody hear of it."""
        has_run = self.thread.step()
        await settle()
        return has_run


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_a_call_gets_its_embeddings_in_the_order_of_its_texts(bench: Bench) -> None:
    call = await bench.ask(text(2, mark=7), text(3, mark=8))
    await bench.step()
    np.testing.assert_array_equal((await call).answers, [[7, 2], [8, 3]])


async def test_the_next_batch_gathers_all_that_came_while_one_ran(bench: Bench) -> None:
    await bench.ask(text(1))
    await bench.step()
    for _ in range(3):
        await bench.ask(text(1))
    await bench.step()
    assert bench.engine.batches == [[1], [1, 1, 1]]


async def test_a_call_larger_than_a_batch_is_split_and_put_together_again(bench: Bench) -> None:
    call = await bench.ask(*(text(4, mark) for mark in range(7)))
    while await bench.step():
        pass
    assert bench.engine.batches == [[4, 4], [4, 4], [4, 4], [4]]
    np.testing.assert_array_equal((await call).answers[:, 0], range(7))


async def test_a_query_overtakes_bulk_work_that_came_before(bench: Bench) -> None:
    bulk = await bench.ask(text(10, mark=1), text(10, mark=2), priority=Priority.BULK)
    await bench.step()
    query = await bench.ask(text(3, mark=3))
    await bench.step()
    assert query.done()
    assert not bulk.done()
    await bench.step()
    np.testing.assert_array_equal((await bulk).answers[:, 0], [1, 2])


async def test_bulk_work_never_starves(bench: Bench) -> None:
    bulk = await bench.ask(*(text(2) for _ in range(4)), priority=Priority.BULK)
    for _ in range(12):  # there is always a query waiting
        await bench.ask(text(10))
        await bench.step()
    assert bulk.done()


async def test_bulk_work_does_not_inherit_the_patience_of_a_caller_who_left(bench: Bench) -> None:
    gone = await bench.ask(text(10), priority=Priority.BULK)
    gone.cancel()
    for _ in range(3):
        await bench.ask(text(10))
        await bench.step()
    bulk = await bench.ask(text(10), priority=Priority.BULK)
    query = await bench.ask(text(10))
    await bench.step()
    assert (query.done(), bulk.done()) == (True, False)


async def test_clients_take_turns(bench: Bench) -> None:
    for _ in range(2):
        await bench.ask(text(8, mark=1), client="busy")
    other = await bench.ask(text(8, mark=2), client="other")
    await bench.step()
    await bench.step()
    assert other.done()


async def test_an_idle_client_saves_nothing_up(bench: Bench) -> None:
    for _ in range(3):
        await bench.ask(text(10), client="busy")
        await bench.step()
    waiting = await bench.ask(text(10), client="busy")
    for _ in range(2):
        await bench.ask(text(10), client="rested")
    await bench.step()
    await bench.step()
    assert waiting.done()


async def test_a_call_learns_how_long_it_waited_and_how_long_its_batches_took(bench: Bench) -> None:
    await bench.ask(text(10))
    call = await bench.ask(*(text(10) for _ in range(2)))
    while await bench.step():
        pass
    answer = await call
    assert (answer.queue_s, answer.encode_s) == (0.5, 1.0)


async def test_a_full_queue_refuses_and_tells_when_to_come_back(bench: Bench) -> None:
    await bench.ask(text(10))
    await bench.step()  # 10 tokens in the half second of the clock: 20 tokens/s
    for _ in range(3):
        await bench.ask(text(10))
    with pytest.raises(OverloadedError, match="the queue is full") as refusal:
        await bench.batcher.encode([text(1)])
    assert refusal.value.retry_after_s == pytest.approx(30 / 2 / 20)


async def test_a_call_that_cannot_meet_its_deadline_is_refused_at_once(bench: Bench) -> None:
    await bench.ask(text(10))
    await bench.step()  # 20 tokens/s
    await bench.ask(text(10))
    with pytest.raises(OverloadedError, match=r"would take 1\.52 s and its deadline is in 1\.40 s") as refusal:
        await bench.batcher.encode([text(10)], deadline_s=1.4)  # 20 tokens, and 10 that may fill its batch up
    assert refusal.value.retry_after_s == pytest.approx(0.12)
    assert not (await bench.ask(text(10), deadline_s=1.6)).done()


async def test_an_engine_that_was_slow_long_ago_is_tried_again(bench: Bench) -> None:
    """The machine slept in a batch: by that pace no call would ever be let in, and none could show another."""
    bench.engine.suspended_s = 3600.0
    await bench.ask(text(10))
    await bench.step()
    with pytest.raises(OverloadedError):
        await bench.batcher.encode([text(10)], deadline_s=60.0)
    bench.engine.seconds += 6.0
    call = await bench.ask(text(10), deadline_s=60.0)
    with pytest.raises(OverloadedError):  # one at a time
        await bench.batcher.encode([text(10)], deadline_s=60.0)
    await bench.step()
    assert len((await call).answers) == 1


async def test_bulk_work_does_not_count_against_the_deadline_of_a_query(bench: Bench) -> None:
    await bench.ask(text(10))
    await bench.step()
    await bench.ask(text(10), priority=Priority.BULK)
    with pytest.raises(OverloadedError):
        await bench.batcher.encode([text(10)], Priority.BULK, deadline_s=0.9)
    assert not (await bench.ask(text(10), deadline_s=0.9)).done()  # a turn of bulk work may come between


async def test_a_call_larger_than_the_queue_is_taken_when_the_queue_is_empty(bench: Bench) -> None:
    call = await bench.ask(*(text(10) for _ in range(5)))
    assert not call.done()


async def test_a_caller_who_leaves_frees_his_room_at_once(bench: Bench) -> None:
    calls = [await bench.ask(text(10)) for _ in range(3)]
    assert bench.batcher.queued_tokens == 30
    calls[-1].cancel()
    await settle()
    assert bench.batcher.queued_tokens == 20


async def test_a_caller_who_leaves_is_not_encoded(bench: Bench) -> None:
    calls = [await bench.ask(text(length)) for length in (1, 2, 4)]
    calls[1].cancel()
    await settle()
    await bench.step()
    assert bench.engine.batches == [[1, 4]]


async def test_an_engine_error_reaches_exactly_the_callers_of_that_batch(bench: Bench) -> None:
    before = await bench.ask(text(10, mark=1))
    culprit, companion = await bench.ask(text(5, mark=666)), await bench.ask(text(5, mark=3))
    later = await bench.ask(text(6, mark=4))
    while await bench.step():
        pass
    assert bench.engine.batches == [[10], [5, 5], [6]]
    results = await asyncio.gather(before, culprit, companion, later, return_exceptions=True)
    assert [isinstance(result, EngineError) for result in results] == [False, True, True, False]


async def test_the_rest_of_a_call_is_not_encoded_after_its_batch_failed(bench: Bench) -> None:
    call = await bench.ask(*(text(10, mark=666) for _ in range(3)))
    while bench.thread.step():  # nobody has heard of the error yet
        pass
    assert len(bench.engine.batches) == 1
    await settle()
    assert isinstance(call.exception(), EngineError)
    assert bench.batcher.queued_tokens == 0


async def test_embeddings_that_are_no_numbers_are_an_error(bench: Bench) -> None:
    call = await bench.ask(text(1, mark=777))
    await bench.step()
    with pytest.raises(ModelError, match="weights are damaged"):
        await call


async def test_models_on_one_device_take_turns_and_queries_of_any_go_first(bench: Bench) -> None:
    other_engine = FakeEngine()
    other = Batcher(2, 10, 30, 0.01, bench.work, bench.clock)
    bench.thread.add(other, other_engine)
    for _ in range(2):
        await bench.ask(text(10))
    of_other = [asyncio.create_task(other.encode([text(10)], Priority.BULK)) for _ in range(2)]
    await settle()
    for _ in range(2):
        await bench.step()
    assert (len(bench.engine.batches), len(other_engine.batches)) == (2, 0)
    await bench.ask(text(10), priority=Priority.BULK)
    for _ in range(2):
        await bench.step()
    assert (len(bench.engine.batches), len(other_engine.batches)) == (3, 1)
    await bench.step()
    assert all(call.done() for call in of_other)


async def test_stopping_refuses_what_waits_and_what_comes(bench: Bench) -> None:
    waiting = await bench.ask(text(10))
    bench.batcher.stop()
    with pytest.raises(UnavailableError):
        await waiting
    with pytest.raises(UnavailableError):
        await bench.batcher.encode([text(1)])


class SlowEngine(FakeEngine):
    """Says when it runs, and waits for the test."""

    def __init__(self) -> None:
        super().__init__()
        self.runs, self.may_go_on = threading.Event(), threading.Event()

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        self.runs.set()
        assert self.may_go_on.wait(10)
        return super().encode(token_ids)


async def test_the_thread_wakes_for_work_and_finishes_its_batch_before_it_stops() -> None:
    work, engine = threading.Condition(), SlowEngine()
    batcher, thread = Batcher(2, 10, 30, 0.01, work), EngineThread(work, asyncio.get_running_loop())
    thread.add(batcher, engine)
    thread.start()
    call = asyncio.create_task(batcher.encode([text(2, mark=5)]))
    assert await asyncio.to_thread(engine.runs.wait, 10)
    stopping = asyncio.create_task(asyncio.to_thread(thread.stop))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    engine.may_go_on.set()
    await stopping
    np.testing.assert_array_equal((await call).answers, [[5, 2]])


async def test_a_model_is_removed_when_its_batch_is_over() -> None:
    work, engine = threading.Condition(), SlowEngine()
    batcher, thread = Batcher(2, 10, 30, 0.01, work), EngineThread(work, asyncio.get_running_loop())
    thread.add(batcher, engine)
    thread.start()
    call = asyncio.create_task(batcher.encode([text(2)]))
    assert await asyncio.to_thread(engine.runs.wait, 10)
    removing = asyncio.create_task(asyncio.to_thread(thread.remove, batcher))
    await asyncio.sleep(0.05)
    assert not removing.done()
    engine.may_go_on.set()
    await removing
    await call
    await asyncio.to_thread(thread.stop)
