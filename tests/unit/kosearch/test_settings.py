"""Settings: where they come from, and what is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from kosearch.errors import SettingsError
from kosearch.settings import broker_socket, describe_settings, load_settings, stack_file


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start without settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("KOSEARCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))


def publish(data_dir: Path, settings: Any) -> None:
    """Write what a running stack tells about itself."""
    stack_file(data_dir).parent.mkdir(parents=True)
    stack_file(data_dir).write_text(json.dumps({"pid": 1, "processes": [], "settings": settings}))


def test_the_default_data_directory_follows_the_desktop_standard(tmp_path: Path) -> None:
    """XDG_DATA_HOME decides where the data go when nothing else does."""
    assert load_settings().data_dir == tmp_path / "xdg" / "kosearch"


@pytest.mark.parametrize(
    "name", ["KOSEARCH_ENCODER__ADRESS", "KOSEARCH_ENCODER_ADDRESS", "KOSEARCH_DATADIR", "kosearch_nonsense"]
)
def test_an_unknown_variable_is_an_error_that_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt setting is refused, for it would be ignored otherwise."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=name):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KOSEARCH_ENCODER__THREADS", "many"),
        ("KOSEARCH_ENCODER__THREADS", "-1"),
        ("KOSEARCH_ENCODER__ADDRESS", "localhost"),
        ("KOSEARCH_ENCODER__API_KEY", ""),
        ("KOSEARCH_ENCODER__PRECISION", "int3"),
        ("KOSEARCH_QDRANT__GRPC_PORT", "0"),
        ("KOSEARCH_STORE__PORT", "65536"),
        ("KOSEARCH_WORKER__LEASE_S", "1"),
        ("KOSEARCH_LOG__LEVEL", "LOUD"),
    ],
)
def test_a_bad_value_is_an_error_that_names_the_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value out of bounds is refused with the variable to correct."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()


def test_a_bad_api_key_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user mistyped beside a secret does not bring the secret into a log."""
    monkeypatch.setenv("KOSEARCH_ENCODER__API_KEY", "s3cret")
    monkeypatch.setenv("KOSEARCH_ENCODER__THREADS", "x")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert "s3cret" not in str(caught.value)


def test_every_bad_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two mistakes make one message with both."""
    monkeypatch.setenv("KOSEARCH_ENCODER__THREADS", "x")
    monkeypatch.setenv("KOSEARCH_LOG__FORMAT", "xml")
    with pytest.raises(SettingsError, match=r"KOSEARCH_ENCODER__THREADS.*KOSEARCH_LOG__FORMAT"):
        load_settings()


def test_the_running_stack_wins_over_the_default(tmp_path: Path) -> None:
    """A second shell finds the stack by its data directory alone."""
    publish(tmp_path, {"encoder": {"address": "127.0.0.1:1234", "api_key": "key"}})
    settings = load_settings(tmp_path)
    assert (settings.encoder.address, settings.encoder.api_key) == ("127.0.0.1:1234", "key")


def test_the_environment_wins_over_the_running_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An explicit setting wins, value by value; the others still come from the stack."""
    publish(tmp_path, {"encoder": {"address": "127.0.0.1:1234", "api_key": "key"}})
    monkeypatch.setenv("KOSEARCH_ENCODER__API_KEY", "other")
    settings = load_settings(tmp_path)
    assert (settings.encoder.address, settings.encoder.api_key) == ("127.0.0.1:1234", "other")


@pytest.mark.parametrize(("section", "name"), [("encoder", "address"), ("qdrant", "url")])
def test_another_server_does_not_get_the_key_of_the_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, name: str
) -> None:
    """Whoever names another server gets nothing of what the stack says of its own."""
    publish(tmp_path, {section: {name: "127.0.0.1:1234", "api_key": "key"}})
    monkeypatch.setenv(f"KOSEARCH_{section}__{name}".upper(), "10.0.0.1:5678")
    assert getattr(load_settings(tmp_path), section).api_key is None


def test_naming_the_server_of_the_stack_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that the stack itself was started with keeps the stack's key."""
    publish(tmp_path, {"encoder": {"address": "127.0.0.1:1234", "api_key": "key"}})
    monkeypatch.setenv("KOSEARCH_ENCODER__ADDRESS", "127.0.0.1:1234")
    assert load_settings(tmp_path).encoder.api_key == "key"


def test_values_that_no_one_sets_keep_their_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable of a section leaves the rest of the section alone."""
    publish(tmp_path, {"encoder": {"address": "127.0.0.1:1234"}})
    monkeypatch.setenv("KOSEARCH_ENCODER__THREADS", "3")
    settings = load_settings(tmp_path)
    assert (settings.encoder.threads, settings.encoder.max_texts) == (3, 1024)


def test_the_supervisor_does_not_join_a_stack(tmp_path: Path) -> None:
    """What an earlier stack left behind does not decide where the next one listens."""
    publish(tmp_path, {"encoder": {"address": "127.0.0.1:1234"}})
    assert load_settings(tmp_path, joins_stack=False).encoder.address == "127.0.0.1:7410"


def test_the_argument_wins_over_the_environment_for_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--data-dir` wins over KOSEARCH_DATA_DIR, and its stack is the one that is joined."""
    monkeypatch.setenv("KOSEARCH_DATA_DIR", str(tmp_path / "other"))
    publish(tmp_path / "mine", {"encoder": {"address": "127.0.0.1:1234"}})
    settings = load_settings(tmp_path / "mine")
    assert (settings.data_dir, settings.encoder.address) == (tmp_path / "mine", "127.0.0.1:1234")


def test_a_relative_data_directory_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes with another working directory find the same data."""
    monkeypatch.chdir(tmp_path)
    assert load_settings(Path("data")).data_dir == tmp_path / "data"


def test_a_damaged_stack_file_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    """Half a stack file is reported with the command that clears it."""
    publish(tmp_path, {})
    stack_file(tmp_path).write_text('{"pid": 1, "sett')
    with pytest.raises(SettingsError, match="kosearch down"):
        load_settings(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "{}", '{"settings": null}', '{"settings": 3}'])
def test_a_stack_file_of_another_shape_is_an_error_with_a_way_out(content: str, tmp_path: Path) -> None:
    """A file that is JSON but not ours is reported the same way."""
    publish(tmp_path, {})
    stack_file(tmp_path).write_text(content)
    with pytest.raises(SettingsError, match="kosearch down"):
        load_settings(tmp_path)


def test_the_socket_lies_in_the_data_directory(tmp_path: Path) -> None:
    """A short directory holds its own socket."""
    assert broker_socket(Path("/data")) == Path("/data/run/broker.sock")


def test_a_deep_data_directory_moves_the_socket_to_a_short_place() -> None:
    """A path that no Unix socket can have is replaced by a short one, another one for each directory."""
    deep = Path("/data") / ("한" * 40)
    socket = broker_socket(deep)
    assert len(os.fsencode(socket)) <= 107
    assert socket == broker_socket(deep)
    assert socket != broker_socket(deep.with_name("글" * 40))


@pytest.mark.parametrize("name", ["내 문서", "a#b", "a?b", "50%", "%41"])
def test_any_directory_name_fits_into_the_urls(name: str, tmp_path: Path) -> None:
    """Characters with a meaning in a URL do not cut or change the path."""
    from kombu.utils.url import url_to_parts
    from sqlalchemy.engine import make_url

    settings = load_settings(tmp_path / name)
    assert make_url(settings.ledger_url).database == str(tmp_path / name / "ledger.db")
    assert "/" + (url_to_parts(settings.broker_url).path or "") == str(broker_socket(tmp_path / name))


def test_named_servers_win_over_the_embedded_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL for broker or ledger is taken as it is."""
    monkeypatch.setenv("KOSEARCH_BROKER__URL", "redis://broker:6379/0")
    monkeypatch.setenv("KOSEARCH_LEDGER__URL", "postgresql+psycopg://db/kosearch")
    settings = load_settings(tmp_path)
    assert (settings.broker_url, settings.ledger_url) == ("redis://broker:6379/0", "postgresql+psycopg://db/kosearch")


def test_every_setting_is_described() -> None:
    """`kosearch settings` explains each variable, once."""
    rows = describe_settings()
    assert len({name for name, _, _ in rows}) == len(rows)
    assert all(name.startswith("KOSEARCH_") and meaning for name, _, meaning in rows)


def test_the_described_variables_are_the_accepted_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every variable with its own default as a value is accepted."""
    for name, default, _ in describe_settings():
        if default not in ("None", "the shipped model"):
            monkeypatch.setenv(name, default)
    assert load_settings(tmp_path).encoder.threads == 0


def test_the_folders_of_sources_are_absolute_and_hold_what_is_piped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where sources may lie is a list; documents from standard input are always allowed; without it, everything is."""
    assert load_settings(tmp_path).worker.roots == ()
    monkeypatch.setenv("KOSEARCH_WORKER__SOURCE_ROOTS", f"/data{os.pathsep}/내 문서")
    assert load_settings(tmp_path).worker.roots == (Path("/data"), Path("/내 문서"), tmp_path / "spool")
    monkeypatch.setenv("KOSEARCH_WORKER__SOURCE_ROOTS", f"/data{os.pathsep}documents")
    with pytest.raises(SettingsError, match="relative: documents"):
        load_settings(tmp_path)
