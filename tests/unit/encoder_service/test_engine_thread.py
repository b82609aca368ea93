"""The thread of an engine that takes a batch ahead, and several threads on one queue."""

import asyncio
import threading
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from encoder_service.batcher import Batch, Batcher, Encoding
from encoder_service.engine_thread import EngineThread
from encoder_service.engines.engine import Embeddings, TokenIds
from kosearch.errors import ModelError, OverloadedError


def text(tokens: int, mark: int = 0) -> TokenIds:
    """A text of so many tokens, all of them `mark`."""
    return np.full(tokens, mark, np.int32)


class Device:
    """An engine on a device of its own, half a second a batch: embeds a text as (its first token, its length).

    A batch with token 666 cannot begin, one with 667 fails while it runs, 777 comes back as no number.
    """

    dim = 2

    def __init__(self) -> None:
        self.events: list[str] = []
        self.seconds = 0.0
        self._submitted = 0
        self._is_free_at = 0.0

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode at once."""
        return self.submit(token_ids)()

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Embeddings]:
        """Begin a batch."""
        marks = [int(ids[0]) for ids in token_ids]
        number = self._submitted = self._submitted + 1
        self.events.append(f"begin {number}")
        if 666 in marks:
            raise RuntimeError("the device is out of memory")
        self._is_free_at = max(self._is_free_at, self.seconds) + 0.5
        ready_at = self._is_free_at

        def wait() -> Embeddings:
            self.seconds = max(self.seconds, ready_at)
            self.events.append(f"end {number}")
            if 667 in marks:
                raise RuntimeError("the device has lost its way")
            return np.array([[np.nan if m == 777 else m, len(t)] for m, t in zip(marks, token_ids, strict=True)], "f4")

        return wait


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Bench:
    """A batcher of 10 tokens a batch and 1,000 in the queue, and a thread that runs when the test says so."""

    def __init__(self, replicas: int = 1) -> None:
        self.device = Device()
        self.work = threading.Condition()
        self.batcher = Batcher(
            2, max_batch_tokens=10, max_queued_tokens=1000, bulk_batch_s=0.01, work=self.work, clock=self.clock
        )
        self.thread = EngineThread(self.work, asyncio.get_running_loop(), clock=self.clock)
        self.reports: list[tuple[float, bool]] = []
        self.thread.add(self.batcher, self.device, self.report, replicas)

    def clock(self) -> float:
        """Seconds that somebody has waited for the device."""
        return self.device.seconds

    def report(self, batch: Batch, elapsed_s: float, has_failed: bool) -> None:
        """Hear of a batch."""
        self.reports.append((elapsed_s, has_failed))

    async def ask(self, *texts: TokenIds) -> "asyncio.Task[Encoding]":
        """Send a call and let it reach the queue."""
        call = asyncio.create_task(self.batcher.encode(texts))
        await settle()
        return call

    async def run(self) -> None:
        """Work until nothing is left."""
        while self.thread.step():
            pass
        await settle()


@pytest.fixture
async def bench() -> Bench:
    return Bench()


async def test_the_next_batch_begins_before_the_last_one_has_ended(bench: Bench) -> None:
    call = await bench.ask(*(text(10, mark) for mark in range(4)))
    await bench.run()
    assert bench.device.events == [*("begin 1", "begin 2", "end 1", "begin 3", "end 2", "begin 4", "end 3", "end 4")]
    np.testing.assert_array_equal((await call).answers[:, 0], range(4))


async def test_a_lone_batch_is_waited_for_at_once(bench: Bench) -> None:
    call = await bench.ask(text(3, mark=5))
    await bench.run()
    assert bench.device.events == ["begin 1", "end 1"]
    np.testing.assert_array_equal((await call).answers, [[5, 3]])


async def test_batches_that_overlap_share_the_time_out_between_them(bench: Bench) -> None:
    """The second one was begun at the start of the first, and did not run before the first had ended."""
    call = await bench.ask(*(text(10) for _ in range(3)))
    await bench.run()
    assert bench.reports == [(0.5, False)] * 3
    assert (await call).encode_s == 1.5


async def test_after_a_pause_a_batch_counts_from_its_own_start(bench: Bench) -> None:
    await bench.ask(text(10))
    await bench.run()
    bench.device.seconds += 60
    await bench.ask(text(10))
    await bench.run()
    assert bench.reports == [(0.5, False)] * 2


async def test_a_large_call_to_an_idle_engine_is_taken_when_only_small_ones_are_known(bench: Bench) -> None:
    """Refused for what small batches take, it would be refused for ever."""
    await bench.ask(text(10))
    await bench.run()
    call = asyncio.create_task(bench.batcher.encode([text(300)], deadline_s=0.001))
    await asyncio.sleep(0)
    assert bench.batcher.queued_tokens == 300
    await bench.run()
    await call


async def test_the_rate_is_that_of_all_replicas_together() -> None:
    bench = Bench(replicas=2)
    await bench.ask(text(10))
    await bench.run()  # 10 tokens in half a second, by one of two: 40 tokens/s
    with pytest.raises(OverloadedError, match=r"would take 1\.0\d s"):
        await bench.batcher.encode([text(40)], deadline_s=0.9)
    assert bench.reports == [(0.5, False)]


@pytest.mark.parametrize(("mark", "error"), [(666, RuntimeError), (667, RuntimeError), (777, ModelError)])
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_an_error_reaches_the_callers_of_its_batch_alone(
    bench: Bench, mark: int, error: type[Exception], place: int
) -> None:
    calls = [await bench.ask(text(10, mark if number == place else number)) for number in range(3)]
    await bench.run()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [error if number == place else Encoding for number in range(3)]
    assert [has_failed for _, has_failed in bench.reports] == [number == place for number in range(3)]


async def test_a_call_whose_first_batch_fails_gets_its_error_though_the_second_is_under_way(bench: Bench) -> None:
    call = await bench.ask(text(10, mark=667), text(10), text(10))
    await bench.run()
    with pytest.raises(RuntimeError, match="lost its way"):
        await call
    assert bench.device.events == ["begin 1", "begin 2", "end 1", "end 2"]  # the third is not encoded any more
    assert bench.batcher.queued_tokens == 0


async def test_a_model_is_removed_when_both_of_its_batches_are_over(bench: Bench) -> None:
    call = await bench.ask(*(text(10) for _ in range(2)))
    bench.thread.step()
    bench.thread.step()  # the first has ended, the second runs
    removing = asyncio.create_task(asyncio.to_thread(bench.thread.remove, bench.batcher))
    await asyncio.sleep(0.05)
    assert not removing.done()
    await bench.run()
    await removing
    await call


class SlowDevice(Device):
    """Lets the test decide when a batch is over."""

    def __init__(self) -> None:
        super().__init__()
        self.has_two, self.may_end = threading.Event(), threading.Event()

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Embeddings]:
        """Begin a batch that ends when the test says so."""
        wait = super().submit(token_ids)
        if self._submitted == 2:
            self.has_two.set()

        def slow() -> Embeddings:
            assert self.may_end.wait(10)
            return wait()

        return slow


async def test_the_thread_stops_when_both_batches_are_over_and_their_callers_answered() -> None:
    work, device = threading.Condition(), SlowDevice()
    batcher, thread = Batcher(2, 10, 1000, 0.01, work), EngineThread(work, asyncio.get_running_loop())
    thread.add(batcher, device)
    thread.start()
    calls = [asyncio.create_task(batcher.encode([text(10, mark)])) for mark in range(3)]
    assert await asyncio.to_thread(device.has_two.wait, 10)
    batcher.stop()
    stopping = asyncio.create_task(asyncio.to_thread(thread.stop))
    await asyncio.sleep(0.05)
    assert not stopping.done()
    device.may_end.set()
    await stopping
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [isinstance(result, Encoding) for result in results] == [True, True, False]  # the third was still waiting


class Together:
    """An engine that can finish a batch only while another one works, too."""

    dim = 2

    def __init__(self, both: threading.Barrier) -> None:
        self._both = both

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode when the other engine does."""
        self._both.wait(10)
        return np.array([[ids[0], len(ids)] for ids in token_ids], np.float32)


async def test_a_single_call_of_several_batches_keeps_the_engines_of_all_threads_busy() -> None:
    work, both = threading.Condition(), threading.Barrier(2)
    batcher = Batcher(2, 10, 1000, 0.01, work)
    threads = [EngineThread(work, asyncio.get_running_loop()) for _ in range(2)]
    for thread in threads:
        thread.add(batcher, Together(both), replicas=2)
        thread.start()
    await asyncio.sleep(0.05)  # both wait for work
    encoding = await batcher.encode([text(10, mark) for mark in range(4)])
    np.testing.assert_array_equal(encoding.answers[:, 0], range(4))
    for thread in threads:
        await asyncio.to_thread(thread.stop)
