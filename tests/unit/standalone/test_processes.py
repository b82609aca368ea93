"""What `kosearch up` decides to run, before anything runs."""

import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kosearch.errors import ConflictError
from kosearch.settings import (
    BrokerSettings,
    EncoderSettings,
    LedgerSettings,
    QdrantSettings,
    Settings,
    StoreSettings,
    broker_socket,
    load_settings,
)
from standalone.processes import StackPlan, plan_stack


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    return tmp_path


def settings(data_dir: Path, **sections: Any) -> Settings:
    """Return settings with free ports."""
    return Settings(
        **{
            "data_dir": data_dir,
            "encoder": EncoderSettings(address="127.0.0.1:0"),
            "store": StoreSettings(port=0),
            **sections,
        }
    )


def names(plan: StackPlan) -> list[str]:
    return [process.name for process in plan.processes]


def arguments_of(name: str, data_dir: Path) -> tuple[str, ...]:
    """Return the command line of a process."""
    return next(each.arguments for each in plan_stack(settings(data_dir)).processes if each.name == name)


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_everything_runs_when_nothing_is_named(data_dir: Path) -> None:
    """Neighbours start before those who need them."""
    assert names(plan_stack(settings(data_dir))) == ["broker", "store", "encoder", "worker", "online"]


@pytest.mark.parametrize(
    ("sections", "missing"),
    [
        ({"broker": BrokerSettings(url="redis://broker:6379/0")}, "broker"),
        ({"qdrant": QdrantSettings(url="http://qdrant:6333")}, "store"),
    ],
)
def test_a_named_server_replaces_the_embedded_one(sections: dict[str, Any], missing: str, data_dir: Path) -> None:
    """What the settings name is not started."""
    assert missing not in names(plan_stack(settings(data_dir, **sections)))


def test_named_servers_reach_the_processes_and_the_clients(data_dir: Path) -> None:
    """The environment of the processes and the published settings lead to the named servers."""
    plan = plan_stack(
        settings(
            data_dir,
            broker=BrokerSettings(url="redis://broker:6379/0"),
            qdrant=QdrantSettings(url="http://qdrant:6333", grpc_port=7334, api_key="q"),
            ledger=LedgerSettings(url="postgresql+psycopg://db/kosearch"),
        )
    )
    environment = plan.environment()
    assert environment["KOSEARCH_BROKER__URL"] == "redis://broker:6379/0"
    assert environment["KOSEARCH_QDRANT__URL"] == "http://qdrant:6333"
    assert environment["KOSEARCH_QDRANT__GRPC_PORT"] == "7334"
    assert environment["KOSEARCH_QDRANT__API_KEY"] == "q"
    assert environment["KOSEARCH_LEDGER__URL"] == "postgresql+psycopg://db/kosearch"


def test_what_is_not_set_is_not_passed_on(data_dir: Path) -> None:
    """A server without a key gets no key."""
    environment = plan_stack(settings(data_dir, qdrant=QdrantSettings(url="http://qdrant:6333"))).environment()
    assert "KOSEARCH_QDRANT__API_KEY" not in environment
    assert "None" not in environment.values()


def test_the_processes_accept_the_environment_they_get(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process stops at an unknown variable of the supervisor's own making."""
    plan = plan_stack(settings(data_dir))
    for name, value in plan.environment().items():
        monkeypatch.setenv(name, value)
    loaded = load_settings(data_dir)
    store = next(process for process in plan.processes if process.name == "store")
    assert loaded.qdrant.url == f"http://{store.address}"
    assert loaded.encoder.address == plan.settings["encoder"]["address"]


def test_searches_on_the_cores_of_a_job_wait_for_shorter_batches(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = load_settings(data_dir).encoder.bulk_batch_s
    encoder = next(process for process in plan_stack(settings(data_dir)).processes if process.name == "encoder")
    for name, value in encoder.environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings(data_dir).encoder.bulk_batch_s < usual / 2


def test_port_zero_becomes_a_free_port(data_dir: Path) -> None:
    """Clients are told the port that was found."""
    plan = plan_stack(settings(data_dir))
    port = int(plan.settings["encoder"]["address"].rpartition(":")[2])
    assert 0 < port < 65_536
    assert plan.settings["qdrant"]["grpc_port"] != 0


@pytest.mark.parametrize("section", ["encoder", "store"])
def test_a_taken_port_is_named_with_its_setting(section: str, taken_port: int, data_dir: Path) -> None:
    """The message says which address and which variable."""
    sections: dict[str, Any] = {
        "encoder": {"encoder": EncoderSettings(address=f"127.0.0.1:{taken_port}")},
        "store": {"store": StoreSettings(port=taken_port)},
    }[section]
    variable = {"encoder": "KOSEARCH_ENCODER__ADDRESS", "store": "KOSEARCH_STORE__PORT"}[section]
    with pytest.raises(ConflictError, match=rf"127\.0\.0\.1:{taken_port}.*{variable}"):
        plan_stack(settings(data_dir, **sections))


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "192.0.2.1:7410", "no such host:1"])
def test_an_impossible_address_is_named_with_its_setting(address: str, data_dir: Path) -> None:
    """A port over 65535 or the address of another machine is a clear message."""
    with pytest.raises(ConflictError, match="KOSEARCH_ENCODER__ADDRESS"):
        plan_stack(settings(data_dir, encoder=EncoderSettings(address=address)))


def test_the_key_is_made_once_and_for_its_user_only(data_dir: Path) -> None:
    """Every start of the stack uses the same key; other users of the machine cannot read it."""
    first, second = (plan_stack(settings(data_dir)).settings["encoder"]["api_key"] for _ in range(2))
    assert first == second
    assert len(first) >= 32
    assert stat.S_IMODE((data_dir / "run" / "api_key").stat().st_mode) == 0o600


def test_an_empty_key_file_gets_a_key(data_dir: Path) -> None:
    """A crash between making and filling the file does not leave the stack open to everybody."""
    (data_dir / "run" / "api_key").touch(mode=0o600)
    key = plan_stack(settings(data_dir)).settings["encoder"]["api_key"]
    assert len(key) >= 32
    assert (data_dir / "run" / "api_key").read_text() == key


def test_a_key_from_the_settings_is_used(data_dir: Path) -> None:
    """A given key is not replaced, and guards the store too."""
    plan = plan_stack(settings(data_dir, encoder=EncoderSettings(address="127.0.0.1:0", api_key="mine")))
    assert (plan.settings["encoder"]["api_key"], plan.settings["qdrant"]["api_key"]) == ("mine", "mine")
    assert not (data_dir / "run" / "api_key").exists()


def test_the_key_is_on_no_command_line(data_dir: Path) -> None:
    """Command lines are visible to every user of the machine."""
    plan = plan_stack(settings(data_dir, encoder=EncoderSettings(address="127.0.0.1:0", api_key="s3cret")))
    assert not any("s3cret" in argument for process in plan.processes for argument in process.arguments)


def test_the_broker_listens_on_its_socket_only(data_dir: Path) -> None:
    """No TCP port, and a socket for this user only."""
    arguments = plan_stack(settings(data_dir)).processes[0].arguments
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocket"] == str(broker_socket(data_dir))
    assert options["--unixsocketperm"] == "700"
    assert options["--appendonly"] == "yes"


def test_the_directory_of_a_moved_socket_is_for_its_user_only(tmp_path: Path) -> None:
    """A deep data directory has its socket elsewhere, where nobody else may look."""
    deep = tmp_path / ("한" * 40)
    (deep / "run").mkdir(parents=True)
    plan_stack(settings(deep))
    moved = broker_socket(deep).parent
    try:
        assert deep not in moved.parents
        assert stat.S_IMODE(moved.stat().st_mode) == 0o700
    finally:
        moved.rmdir()


@pytest.mark.parametrize("name", ["worker", "online"])
def test_the_workers_are_started_as_a_person_would(name: str, data_dir: Path) -> None:
    """`celery -A indexer_worker worker`, with this Python."""
    arguments = arguments_of(name, data_dir)
    assert arguments[:6] == (sys.executable, "-m", "celery", "-A", "indexer_worker", "worker")


def test_pushed_documents_have_a_worker_of_their_own(data_dir: Path) -> None:
    """Each of the two workers takes from its queue alone, under a name of its own."""
    options = {name: arguments_of(name, data_dir) for name in ("worker", "online")}
    queues = {name: each[each.index("--queues") + 1] for name, each in options.items()}
    assert queues == {"worker": "kosearch", "online": "kosearch.online"}
    assert len({each[each.index("--hostname") + 1] for each in options.values()}) == 2


def test_planning_starts_nothing(data_dir: Path) -> None:
    """No socket and no open port comes of a plan."""
    plan = plan_stack(settings(data_dir))
    assert not broker_socket(data_dir).exists()
    port = plan.settings["qdrant"]["grpc_port"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize("name", ["broker", "store", "encoder"])
def test_a_process_that_does_not_run_is_not_ready(name: str, data_dir: Path) -> None:
    """The probe answers no, it does not raise."""
    plan = plan_stack(settings(data_dir))
    process = next(each for each in plan.processes if each.name == name)
    assert process.is_ready() is False
