"""Several threads at one ledger, at the same moment."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from threading import Barrier
from typing import TypeVar

import pytest

from kosearch.errors import LeaseLostError, UnavailableError
from kosearch.jobs import JobState
from kosearch.ledger import Ledger
from tests.contract.ledger.steps import (
    Clock,
    claim,
    claims,
    index,
    known,
    plan,
    push,
    result,
    state,
    stored,
    submit,
    take,
    version,
)

pytestmark = pytest.mark.timeout(120)

T = TypeVar("T")


@pytest.fixture
def other(ledger: Ledger, ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    """A second process's ledger, on the same database and clock."""
    del ledger
    opened = Ledger(ledger_url, clock)
    yield opened
    opened.close()


def at_once(*calls: Callable[[], T]) -> list[T]:
    """Run the calls in threads that start together."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], T]) -> T:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_two_workers_get_disjoint_partitions(ledger: Ledger, other: Ledger) -> None:
    """Workers that claim at the same moment never share a partition, and leave none out."""
    _, partitions = plan(ledger, *[1] * 20)

    def claim_all(mine: Ledger, owner: str) -> list[int]:
        return [each for each in partitions if claims(mine, each, owner)]

    first, second = at_once(lambda: claim_all(ledger, "a"), lambda: claim_all(other, "b"))
    assert sorted(first + second) == partitions


def test_one_of_two_planners_gets_a_job(ledger: Ledger, other: Ledger) -> None:
    """However often they try."""
    for _ in range(10):
        job_id = submit(ledger)
        got = at_once(partial(claim, ledger, job_id, "a"), partial(claim, other, job_id, "b"))
        assert [job is None for job in got].count(False) == 1
        ledger.fail_job(job_id, "next")


def test_the_job_ends_when_its_last_two_partitions_end_together(ledger: Ledger, other: Ledger) -> None:
    """Each sees that the other one is done, or comes after it."""
    for _ in range(20):
        job_id, (first, second) = plan(ledger, 1, 1)
        take(ledger, first, "a")
        take(other, second, "b")
        states = at_once(
            partial(ledger.finish_partition, first, "a", result()),
            partial(other.finish_partition, second, "b", result()),
        )
        assert state(ledger, job_id) is JobState.SUCCEEDED
        assert sorted(states) == [JobState.RUNNING, JobState.SUCCEEDED]


def test_a_cancellation_and_the_last_partition(ledger: Ledger, other: Ledger) -> None:
    """One of them comes first, and the job has one end."""
    for _ in range(10):
        job_id, (only,) = plan(ledger, 1)
        take(ledger, only)

        def finish(partition_id: int = only) -> JobState:
            try:
                return ledger.finish_partition(partition_id, "a", result())
            except LeaseLostError:
                return JobState.CANCELLED

        finished, cancelled = at_once(finish, partial(other.cancel_job, job_id))
        assert finished is cancelled is state(ledger, job_id)


def test_two_dispatchers_send_everything_once(ledger: Ledger, other: Ledger, clock: Clock) -> None:
    """What one of them takes the other one leaves; a little may be left for the next round."""
    jobs = [submit(ledger, f"c{number}") for number in range(10)]
    _, partitions = plan(ledger, *[1] * 100)
    for _ in range(5):
        clock.advance(100)
        first, second = at_once(
            lambda: ledger.due_partitions(5, 1000, is_push=False), lambda: other.due_partitions(5, 1000, is_push=False)
        )
        assert sorted(first + second + ledger.due_partitions(5, 1000, is_push=False)) == partitions
        sent, sent_too = at_once(lambda: ledger.due_jobs(5), lambda: other.due_jobs(5))
        assert sorted(sent + sent_too + ledger.due_jobs(5)) == sorted(jobs)


def test_a_push_beside_an_older_job_is_the_last_word(ledger: Ledger, other: Ledger) -> None:
    """Whichever of the two ends first: the newer version is recorded, or stored again until it is."""
    for _ in range(10):
        old_id, (number,) = plan(ledger, 1)
        older = take(ledger, number)
        push_id, pushed = push(ledger, "가", "나")
        at_once(
            partial(_persistently, partial(stored, ledger, older, version("나"), version("가"))),
            partial(_push_to_its_end, other, pushed, push_id),
        )
        _push_to_its_end(other, pushed, push_id)
        assert {state(ledger, old_id), state(ledger, push_id)} == {JobState.SUCCEEDED}
        for name in ("가", "나"):
            document = known(ledger, older.job, name)
            assert document is not None
            assert (document.digest, document.job_number) == (b"2", older.job.number + 1)


def _push_to_its_end(ledger: Ledger, partition_id: int, job_id: str) -> None:
    """Do a push as often as it is opened again."""
    for attempt in range(100):
        if state(ledger, job_id) is JobState.SUCCEEDED:
            return
        owner = f"pusher {attempt}"
        partition = ledger.claim_partition(partition_id, owner, 0.0, 1000)
        if partition is None:
            continue
        versions = version("가", "2"), version("나", "2")
        with suppress(LeaseLostError):
            _persistently(partial(stored, ledger, partition, *versions, owner=owner))
    raise AssertionError("the push has no end")


def _persistently(work: Callable[[], object]) -> None:
    """Try again what a deadlock ended, as a worker does."""
    for _ in range(20):
        try:
            work()
        except UnavailableError:
            continue
        return
    raise AssertionError("no end of deadlocks")


def test_equal_contents_have_one_owner(ledger: Ledger, other: Ledger) -> None:
    """Of two documents that claim one at the same moment the later one is told, or asked to try again."""
    job = index(ledger, version("옛"))
    for number in range(10):
        content = str(number).encode()

        def claimed(mine: Ledger, name: str, content: bytes = content) -> dict[str, str]:
            answer: dict[str, str] = {}
            _persistently(lambda: answer.update(mine.claim_contents(job, [(content, name)])))
            return answer

        answers = at_once(lambda: claimed(ledger, "가"), lambda: claimed(other, "나"))
        assert sorted(map(len, answers)) == [0, 1]


def test_one_ledger_serves_several_threads(ledger: Ledger) -> None:
    """The service asks one ledger from many threads at once."""
    with ThreadPoolExecutor(8) as pool:
        jobs = list(pool.map(lambda number: submit(ledger, f"c{number % 3}"), range(24)))
    assert {state(ledger, job_id) for job_id in jobs} == {JobState.PENDING}
    assert {job.collection for job in ledger.jobs(100)} == {"c0", "c1", "c2"}
