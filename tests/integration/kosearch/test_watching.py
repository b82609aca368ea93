"""Changes of real files, as the system tells of them and as they are polled for."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kosearch.watching import changes_of


@pytest.fixture(params=[False, True], ids=["told", "polled"])
def is_polled(request: Any) -> bool:
    return bool(request.param)


def next_change(changes: Iterator[bool]) -> bool:
    """Return whether something changes within some seconds."""
    return any(next(changes) for _ in range(8))


def test_files_that_come_change_and_go_are_noticed(tmp_path: Path, is_polled: bool) -> None:
    """Below a folder, at any depth; temporary ones are not."""
    changes = changes_of([tmp_path], is_polled=is_polled)
    assert next(changes) is False
    (tmp_path / "새").mkdir()
    (tmp_path / "새/a.txt").write_text("x")
    assert next_change(changes)
    (tmp_path / "새/a.txt").unlink()
    assert next_change(changes)


def test_temporary_files_are_not_noticed(tmp_path: Path) -> None:
    """A program that saves is no change until it has saved."""
    changes = changes_of([tmp_path])
    assert next(changes) is False
    (tmp_path / "~$a.docx").write_text("x")
    assert not any(next(changes) for _ in range(2))


def test_a_named_file_that_is_replaced_is_noticed(tmp_path: Path) -> None:
    """Programs write a new file and put it in the place of the old one."""
    (tmp_path / "a.txt").write_text("x")
    changes = changes_of([tmp_path / "a.txt"])
    assert next(changes) is False
    (tmp_path / "b.txt").write_text("y")
    (tmp_path / "b.txt").replace(tmp_path / "a.txt")
    assert next_change(changes)


def test_a_folder_that_is_made_anew_is_watched_again(tmp_path: Path) -> None:
    """What was watched is gone; the one in its place is told of as well."""
    folder = tmp_path / "data"
    folder.mkdir()
    changes = changes_of([folder])
    assert next(changes) is False
    shutil.rmtree(folder)
    assert next_change(changes)
    folder.mkdir()
    assert next_change(changes)
    assert next(changes) is False
    (folder / "a.txt").write_text("x")
    assert next_change(changes)
