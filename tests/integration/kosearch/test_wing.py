"""Other parts of the project run as processes: their progress is shown, their failure is one message."""

import os
import sys
from pathlib import Path

import pytest

from kosearch.errors import ModelError, NotFoundError
from kosearch.wing import require_trainer, run_wing


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which `python -m` runs modules."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return tmp_path


def write(folder: Path, *lines: str) -> None:
    (folder / "some_wing.py").write_text("\n".join(["import os, sys, time", *lines]))


def test_its_output_is_returned_and_its_progress_shown(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(modules, "print(sys.argv[1:])", "sys.stderr.write('10 %\\r100 %\\rdone\\n')")
    assert run_wing("some_wing", ["--check", "글"], captures_output=True) == "['--check', '글']\n"
    assert capsys.readouterr().err == "10 %\r100 %\rdone\n"


def test_its_own_error_is_raised_and_not_shown_twice(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(modules, "sys.stderr.write('loading\\nerror: no room;\\nmake some\\n')", "sys.exit(2)")
    with pytest.raises(ModelError, match=r"^no room;\nmake some$"):
        run_wing("some_wing", [])
    assert capsys.readouterr().err == "loading\n"


def test_a_traceback_is_shown_and_its_last_line_raised(modules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(modules, "raise RuntimeError('unforeseen')")
    with pytest.raises(ModelError, match=r"^RuntimeError: unforeseen$"):
        run_wing("some_wing", [])
    assert "Traceback" in capsys.readouterr().err


def test_being_killed_is_told_from_failing(modules: Path) -> None:
    write(modules, "os.kill(os.getpid(), 9)")
    with pytest.raises(ModelError, match="ended by signal 9; was there enough memory"):
        run_wing("some_wing", [])


def test_failing_in_silence_tells_the_exit_code(modules: Path) -> None:
    write(modules, "sys.exit(7)")
    with pytest.raises(ModelError, match="ended with exit code 7"):
        run_wing("some_wing", [])


def test_without_the_trainer_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(NotFoundError, match=r'pip install "kosearch\[trainer\]"'):
        require_trainer()
