"""The dispatcher sends what the ledger calls due, with a real ledger and a fake queue."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from encoder_service import dispatcher as dispatcher_module
from encoder_service.dispatcher import Dispatcher
from kosearch.errors import UnavailableError
from kosearch.jobs import Source, SourceFields, Span
from kosearch.korean.dictionary import UserWord
from kosearch.ledger import Ledger, PlannedSpan


@dataclass
class FakeQueue:
    """A broker that remembers, and can be away."""

    jobs: list[str] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    online: list[int] = field(default_factory=list)
    reanalyses: list[int] = field(default_factory=list)
    tasks_waiting: int = 0
    is_away: bool = False

    def waiting(self) -> int:
        self._answer()
        return self.tasks_waiting

    def send_job(self, job_id: str) -> None:
        self._answer()
        self.jobs.append(job_id)

    def send_partitions(self, partition_ids: Iterable[int], *, is_online: bool = False) -> None:
        self._answer()
        (self.online if is_online else self.partitions).extend(partition_ids)

    def send_reanalyses(self, reanalysis_ids: Iterable[int]) -> None:
        self._answer()
        self.reanalyses += reanalysis_ids

    def _answer(self) -> None:
        if self.is_away:
            raise UnavailableError("the broker is away")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", clock)
    yield opened
    opened.close()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def dispatcher(ledger: Ledger, queue: FakeQueue) -> Dispatcher:
    fake: Any = queue
    return Dispatcher(ledger, fake)


def submit(ledger: Ledger, collection: str = "laws") -> str:
    return ledger.create_job(collection, [Path("/a.jsonl")], SourceFields())


def planned(ledger: Ledger, partitions: int) -> list[int]:
    """Submit and plan a job on a collection of its own."""
    job = ledger.claim_job(submit(ledger, "planned"), "planner", 10, 3)
    assert job is not None
    writer = ledger.plan_writer(job, "planner")
    source = Source(Path("/a.jsonl"), 1, 1)
    file_id = writer.open_file(source, "signature")
    writer.add([PlannedSpan(Span(source, n, n + 1, n + 1, n + 1, 1), file_id) for n in range(partitions)], [], 0)
    return writer.finish(replaces=False, builds_index=False)


def push(ledger: Ledger) -> int:
    return ledger.push_documents("laws", b'{"id": "p", "text": "x", "title": ""}', 1)[1]


def test_what_was_just_sent_is_left_alone(dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue) -> None:
    """The submitter and the planner send their tasks themselves."""
    submit(ledger)
    planned(ledger, 2)
    assert dispatcher.dispatch() == 0
    assert (queue.jobs, queue.partitions) == ([], [])


def test_what_nobody_took_is_sent_once_more(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """A lost task is sent again after the quiet period, and then waits for another one."""
    job_id, partitions = submit(ledger), planned(ledger, 3)
    clock.now += 6
    assert dispatcher.dispatch() == 4
    assert dispatcher.dispatch() == 0
    assert (queue.jobs, queue.partitions) == ([job_id], partitions)


def test_nothing_is_sent_while_tasks_wait(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """A busy worker does not make the queue grow."""
    submit(ledger)
    clock.now += 60
    queue.tasks_waiting = 1
    assert dispatcher.dispatch() == 0
    queue.tasks_waiting = 0
    assert dispatcher.dispatch() == 1


def test_pushed_documents_are_sent_past_the_tasks_that_wait(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """They have a queue of their own, whatever waits in the other one."""
    partition = push(ledger)
    planned(ledger, 2)
    clock.now += 6
    queue.tasks_waiting = 1
    assert dispatcher.dispatch() == 1
    assert (queue.online, queue.partitions) == ([partition], [])


def test_pushed_documents_that_were_just_sent_are_left_alone(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue
) -> None:
    """The service sends them itself."""
    push(ledger)
    assert (dispatcher.dispatch(), queue.online) == (0, [])


def test_a_change_of_the_words_is_brought_to_the_collections(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """At once, since nobody else sends it, and again when nobody took it."""
    ledger.dictionary.put([UserWord("당근마켓")], ["laws", "cases"], clock.now)
    assert [dispatcher.dispatch() for _ in range(2)] == [2, 0]
    assert len(queue.reanalyses) == 2
    clock.now += 6
    assert dispatcher.dispatch() == 2


def test_a_reanalysis_is_sent_once_behind_the_tasks_that_wait(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """It waits for some of a large job, and not for all; a broker that lost it gets it again minutes later."""
    ledger.dictionary.put([UserWord("당근마켓")], ["laws"], clock.now)
    queue.tasks_waiting = 1000
    assert [dispatcher.dispatch() for _ in range(2)] == [1, 0]
    clock.now += 60
    assert dispatcher.dispatch() == 0
    clock.now += 300
    assert dispatcher.dispatch() == 1


def test_jobs_on_one_collection_are_sent_one_after_the_other(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """The next one is sent once the one before it has ended."""
    first, second = submit(ledger), submit(ledger)
    clock.now += 6
    dispatcher.dispatch()
    assert queue.jobs == [first]
    ledger.cancel_job(first)
    clock.now += 6
    dispatcher.dispatch()
    assert queue.jobs == [first, second]


def test_a_large_job_is_sent_in_portions(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """A thousand partitions at once; the others follow, each once."""
    partitions = planned(ledger, 2500)
    clock.now += 6
    assert [dispatcher.dispatch() for _ in range(4)] == [1000, 1000, 500, 0]
    assert queue.partitions == partitions


def test_a_broker_that_is_away_loses_nothing(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock
) -> None:
    """What could not be sent is sent when the broker is back."""
    job_id = submit(ledger)
    clock.now += 6
    queue.is_away = True
    with pytest.raises(UnavailableError):
        dispatcher.dispatch()
    queue.is_away = False
    clock.now += 6
    assert dispatcher.dispatch() == 1
    assert queue.jobs == [job_id]


def test_a_broker_lost_between_asking_and_sending_loses_nothing(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that was taken from the ledger but not sent becomes due again."""
    job_id = submit(ledger)
    clock.now += 6

    def fail(_: str) -> None:
        raise UnavailableError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(queue, "send_job", fail)
        with pytest.raises(UnavailableError):
            dispatcher.dispatch()
    clock.now += 6
    dispatcher.dispatch()
    assert queue.jobs == [job_id]


async def test_it_goes_on_when_the_broker_comes_back(
    dispatcher: Dispatcher, ledger: Ledger, queue: FakeQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absence does not end the loop."""
    job_id = submit(ledger)
    clock.now += 6
    queue.is_away = True
    tries = 0
    sent = asyncio.Event()

    async def pause(_: float) -> None:
        nonlocal tries
        tries += 1
        clock.now += 6
        queue.is_away = tries < 3
        if queue.jobs:
            sent.set()
            await asyncio.Event().wait()

    monkeypatch.setattr(dispatcher_module.asyncio, "sleep", pause)
    running = asyncio.create_task(dispatcher.run())
    await asyncio.wait_for(sent.wait(), 10)
    running.cancel()
    assert queue.jobs == [job_id]
