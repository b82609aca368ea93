"""What a running stack tells about itself."""

import json
import os
import signal
import stat
from pathlib import Path

import pytest

from kosearch import stack
from kosearch.settings import stack_file
from kosearch.stack import ProcessState, Stack, read_stack

RUNNING = Stack(
    os.getpid(),
    (ProcessState("broker", 1, 0, "unix:/x", "/logs/broker.log"),),
    {"encoder": {"address": "127.0.0.1:1", "api_key": "key"}},
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    stack_file(tmp_path).parent.mkdir()
    return tmp_path


@pytest.fixture
def is_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process pass for a supervisor."""
    monkeypatch.setattr(stack, "_is_supervisor", lambda pid: pid == os.getpid())


@pytest.mark.usefixtures("is_supervisor")
def test_what_was_written_is_read(data_dir: Path) -> None:
    """Processes and settings come back as they were published."""
    RUNNING.write(data_dir)
    assert read_stack(data_dir) == RUNNING


def test_the_file_is_for_its_user_only(data_dir: Path) -> None:
    """The settings hold the API key."""
    RUNNING.write(data_dir)
    assert stat.S_IMODE(stack_file(data_dir).stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"pid": 1}', '{"pid": 1, "processes": [{}]}'])
def test_no_or_a_damaged_file_is_no_stack(content: str | None, data_dir: Path) -> None:
    """Whatever a crash left behind, nothing runs."""
    if content is not None:
        stack_file(data_dir).write_text(content)
    assert read_stack(data_dir) is None


def test_a_dead_supervisor_is_no_stack(data_dir: Path) -> None:
    """A file that outlived its supervisor is not believed."""
    Stack(2**22 - 1, (), {}).write(data_dir)
    assert read_stack(data_dir) is None


def test_another_program_with_the_supervisors_number_is_not_stopped(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash the process id in the file may be anybody's: `kosearch down` leaves that process alone."""
    RUNNING.write(data_dir)
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    assert stack.stop(data_dir) is False
    assert killed == []


def test_down_clears_what_a_crash_left(data_dir: Path) -> None:
    """A damaged file does not need to be removed by hand."""
    stack_file(data_dir).write_text("{")
    assert stack.stop(data_dir) is False
    assert not stack_file(data_dir).exists()


@pytest.mark.usefixtures("is_supervisor")
def test_down_stops_the_supervisor(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked with SIGTERM, and waited for."""
    RUNNING.write(data_dir)
    killed: list[tuple[int, int]] = []
    waited: list[float] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    monkeypatch.setattr(stack.psutil.Process, "wait", lambda self, timeout: waited.append(timeout))
    assert stack.stop(data_dir) is True
    assert killed == [(os.getpid(), signal.SIGTERM)]
    assert waited == [60.0]


@pytest.mark.usefixtures("is_supervisor")
def test_a_second_stack_on_the_directory_is_refused(data_dir: Path) -> None:
    """The message names the process that runs and the way out."""
    RUNNING.write(data_dir)
    with pytest.raises(stack.ConflictError, match=f"pid {os.getpid()}.*kosearch down"):
        stack.start_detached(data_dir)


def test_a_half_written_file_is_never_seen(data_dir: Path) -> None:
    """The file is replaced in one step, so that a reader sees the old or the new one."""
    RUNNING.write(data_dir)
    first = stack_file(data_dir).stat().st_ino
    RUNNING.write(data_dir)
    assert stack_file(data_dir).stat().st_ino != first
    assert json.loads(stack_file(data_dir).read_text())["pid"] == RUNNING.pid
    assert [path.name for path in stack_file(data_dir).parent.iterdir()] == ["stack.json"]
