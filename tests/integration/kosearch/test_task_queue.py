"""The task queue against the embedded broker, against Redis as production has it, and against none."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from kosearch.errors import SettingsError, UnavailableError
from kosearch.settings import BrokerSettings, Settings, broker_socket
from kosearch.task_queue import ADVANCE_JOB, INDEX_PARTITION, REANALYSE, TaskQueue
from tests.integration.indexer_worker.neighbours import running_broker
from tests.real_redis import RealRedis

SOON_S = 15.0


@dataclass(frozen=True)
class Broker:
    """A broker that runs: the settings that name it, and itself, asked past our own code."""

    settings: Settings
    connection: redis.Redis


@pytest.fixture(params=["embedded", "redis"])
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """The embedded broker on a directory with a Korean name and a space, then a Redis server."""
    data_dir = tmp_path / "내 문서 50%"
    data_dir.mkdir()
    if request.param == "redis":
        server: RealRedis = request.getfixturevalue("redis_server")
        with redis.Redis.from_url(server.admin_url) as connection:
            yield Broker(Settings(data_dir=data_dir, broker=BrokerSettings(url=server.url)), connection)
        return
    with running_broker(data_dir), redis.Redis(unix_socket_path=str(broker_socket(data_dir))) as connection:
        yield Broker(Settings(data_dir=data_dir), connection)


@pytest.fixture
def queue(running: Broker) -> Iterator[TaskQueue]:
    made = TaskQueue(running.settings)
    yield made
    made.close()


@pytest.fixture
def broker(running: Broker) -> redis.Redis:
    return running.connection


def test_a_queue_that_does_not_exist_is_empty(queue: TaskQueue) -> None:
    """Before the first task nothing waits."""
    assert queue.waiting() == 0


def test_waiting_counts_what_nobody_took(queue: TaskQueue) -> None:
    """Jobs and partitions count alike."""
    queue.send_job("a")
    queue.send_partitions([1, 2, 3])
    assert queue.waiting() == 4


def test_an_emptied_queue_is_empty(queue: TaskQueue, broker: redis.Redis) -> None:
    """Redis drops the key of an empty list; that is no error."""
    queue.send_job("a")
    broker.delete("kosearch")
    assert queue.waiting() == 0


def test_tasks_carry_their_name_and_argument_only(queue: TaskQueue, broker: redis.Redis) -> None:
    """Documents never travel through the broker."""
    queue.send_job("job-1")
    queue.send_partitions([7])
    queue.send_reanalyses([8])
    messages = [json.loads(raw) for raw in reversed(broker.lrange("kosearch", 0, -1))]  # type: ignore[arg-type]
    assert [(each["headers"]["task"], each["headers"]["argsrepr"]) for each in messages] == [
        (ADVANCE_JOB, "['job-1']"),
        (INDEX_PARTITION, "[7]"),
        (REANALYSE, "[8]"),
    ]


def test_pushed_documents_have_a_queue_of_their_own(queue: TaskQueue, broker: redis.Redis) -> None:
    """What somebody waits for is not behind what nobody does, and does not count as waiting."""
    queue.send_partitions([1, 2])
    queue.send_partitions([3], is_online=True)
    assert (broker.llen("kosearch"), broker.llen("kosearch.online"), queue.waiting()) == (2, 1, 2)


def test_tasks_outlive_the_broker(tmp_path: Path) -> None:
    """A broker that was stopped has its tasks again."""
    for expected in (1, 2):
        with running_broker(tmp_path):
            queue = TaskQueue(Settings(data_dir=tmp_path))
            queue.send_job("a")
            assert queue.waiting() == expected
            queue.close()


def test_a_broker_that_is_down_is_said_soon(tmp_path: Path) -> None:
    """Sending and asking fail within seconds, with what to do."""
    queue = TaskQueue(Settings(data_dir=tmp_path))
    started = time.monotonic()
    for ask in (queue.waiting, lambda: queue.send_job("a"), lambda: queue.send_partitions([1])):
        with pytest.raises(UnavailableError, match=r"kosearch up.*KOSEARCH_BROKER__URL"):
            ask()
    assert time.monotonic() - started < SOON_S
    queue.close()


def test_a_broker_that_comes_back_is_found(tmp_path: Path) -> None:
    """The same queue object goes on after the broker was restarted."""
    queue = TaskQueue(Settings(data_dir=tmp_path))
    with running_broker(tmp_path):
        queue.send_job("a")
    with pytest.raises(UnavailableError):
        queue.send_job("b")
    with running_broker(tmp_path):
        queue.send_job("c")
        assert queue.waiting() == 2
    queue.close()


def test_a_full_broker_is_unavailable(queue: TaskQueue, broker: redis.Redis) -> None:
    """A broker without memory refuses; the job stays in the ledger."""
    queue.send_job("a")
    limit = broker.config_get("maxmemory")["maxmemory"] or 0
    broker.config_set("maxmemory", "1")
    try:
        with pytest.raises(UnavailableError):
            queue.send_job("b")
    finally:
        broker.config_set("maxmemory", limit)  # the server may not be ours


def test_sending_nothing_is_nothing(queue: TaskQueue) -> None:
    """A job without partitions sends no task."""
    queue.send_partitions([])
    assert queue.waiting() == 0


@pytest.mark.parametrize("url", ["nonsense://x", "redis://h:99999999/0"])
def test_a_bad_url_names_the_setting(url: str, tmp_path: Path) -> None:
    """A mistyped URL is a setting to correct."""
    with pytest.raises(SettingsError, match="KOSEARCH_BROKER__URL"):
        TaskQueue(Settings(data_dir=tmp_path, broker=BrokerSettings(url=url)))


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    """An absent broker's URL is in the message, its password is not."""
    queue = TaskQueue(Settings(data_dir=tmp_path, broker=BrokerSettings(url="redis://:s3cret@127.0.0.1:1/0")))
    with pytest.raises(UnavailableError) as caught:
        queue.send_job("a")
    assert "s3cret" not in str(caught.value)
    queue.close()
