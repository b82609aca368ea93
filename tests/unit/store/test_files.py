"""Files that are whole or absent, and the lock."""

import os
import threading
from pathlib import Path

import pytest

from kosearch.errors import ConflictError
from standalone.store.files import read_ahead, remove_whole, sole_process, sync_wal, write_whole


def test_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_whole(path, "old")
    write_whole(path, "새")
    assert path.read_text(encoding="utf-8") == "새"
    assert os.listdir(tmp_path) == ["file.json"]


def test_remove_takes_the_whole_tree(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").write_text("")
    remove_whole(tmp_path / "a", tmp_path / ".deleted-a")
    assert os.listdir(tmp_path) == []


def test_full_log_files_are_synced_once(tmp_path: Path) -> None:
    for name in ("open-1", "closed-0", "first-index"):
        (tmp_path / name).write_bytes(b"x")
    sealed: set[str] = set()
    sync_wal(tmp_path, sealed)
    assert sealed == {"closed-0"}


def test_log_file_that_vanishes_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open-1").write_bytes(b"x")
    listings = iter([["open-9"], ["open-1"]])
    monkeypatch.setattr(os, "listdir", lambda _directory: next(listings))
    sync_wal(tmp_path, set())
    assert next(listings, None) is None


def test_log_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_wal(tmp_path / "nowhere", set())


def test_files_are_read_ahead_as_far_as_there_is_room(tmp_path: Path) -> None:
    """Whole files, in all folders; what vanishes meanwhile does no harm."""
    (tmp_path / "segment").mkdir()
    (tmp_path / "segment/large").write_bytes(bytes(3 << 20))
    (tmp_path / "small").write_bytes(bytes(10))
    (tmp_path / "gone").symlink_to("nowhere")
    assert read_ahead(tmp_path, room_bytes=4 << 20) == (3 << 20) + 10
    assert read_ahead(tmp_path, room_bytes=1 << 20) == 10
    assert read_ahead(tmp_path / "nowhere", room_bytes=1) == 0


def test_reading_ahead_gives_up_when_told(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(64 << 20))
    stopping = threading.Event()
    stopping.set()
    assert read_ahead(tmp_path, 1 << 30, stopping) < 64 << 20


def test_directory_is_for_one_at_a_time(tmp_path: Path) -> None:
    with sole_process(tmp_path), pytest.raises(ConflictError, match=str(os.getpid())), sole_process(tmp_path):
        pass
    with sole_process(tmp_path):
        pass
