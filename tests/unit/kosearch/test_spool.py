"""Documents from standard input, kept until no job needs them."""

import errno
import fcntl
import io
from pathlib import Path
from typing import Any

import pytest

from kosearch.errors import InvalidRequestError, KosearchError, NotFoundError, UnavailableError
from kosearch.jobs import JobProgress, JobState
from kosearch.spool import Spool

WEEK_S = 7 * 24 * 3600


def progress(state: JobState, rejected: int = 0) -> JobProgress:
    return JobProgress(state, 1, 1, rejected, 1, 0, 1.0, "")


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".") and path.suffix != ".jobs"]


def submit(folder: Path, content: bytes = b"x\n", job_id: str = "job") -> Path:
    submitted: list[Path] = []

    def note(path: Path) -> str:
        assert path.read_bytes() == content
        submitted.append(path)
        return job_id

    assert Spool(folder).submit(io.BytesIO(content), ".jsonl", note) == job_id
    return submitted[0]


def test_the_same_content_is_the_same_source(tmp_path: Path) -> None:
    """By name, size and time; other content is another one."""
    first = submit(tmp_path / "spool")
    status = first.stat()
    second = submit(tmp_path / "spool")
    assert (second, second.stat().st_mtime_ns, first.suffix) == (first, status.st_mtime_ns, ".jsonl")
    assert submit(tmp_path / "spool", b"y\n") != first


def test_nothing_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    """An empty pipe is no job."""
    with pytest.raises(InvalidRequestError, match="nothing"):
        submit(tmp_path, b"")
    assert kept(tmp_path) == []
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "no space"), (errno.EACCES, "writable")])
def test_a_disk_that_takes_no_more_is_said_and_half_a_file_removed(code: int, words: str, tmp_path: Path) -> None:
    """With what to do."""

    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                raise OSError(code, "as told")
            return super().read(3)

    def never(_: Path) -> str:
        raise AssertionError

    with pytest.raises(KosearchError, match=words):
        Spool(tmp_path).submit(Failing(b"much more"), ".jsonl", never)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_a_job_that_is_refused_keeps_no_file(tmp_path: Path) -> None:
    """Unless an earlier job reads it."""

    def refuse(_: Path) -> str:
        raise UnavailableError("away")

    with pytest.raises(UnavailableError):
        Spool(tmp_path).submit(io.BytesIO(b"x\n"), ".jsonl", refuse)
    assert kept(tmp_path) == []
    path = submit(tmp_path)
    with pytest.raises(UnavailableError):
        Spool(tmp_path).submit(io.BytesIO(b"x\n"), ".jsonl", refuse)
    assert kept(tmp_path) == [path]


@pytest.mark.parametrize(
    ("states", "is_kept"),
    [
        ([progress(JobState.SUCCEEDED)], False),
        ([progress(JobState.RUNNING)], True),
        ([progress(JobState.SUCCEEDED), progress(JobState.PENDING)], True),
        ([progress(JobState.FAILED)], True),
        ([progress(JobState.SUCCEEDED, rejected=1)], True),
        ([NotFoundError("no such job")], False),
        ([UnavailableError("away")], True),
    ],
)
def test_a_file_goes_when_no_job_needs_it(states: list[Any], is_kept: bool, tmp_path: Path) -> None:
    """All its jobs have succeeded and left nothing out."""
    for number in range(len(states)):
        path = submit(tmp_path, job_id=str(number))

    def look(job_id: str) -> JobProgress:
        state = states[int(job_id)]
        if isinstance(state, Exception):
            raise state
        assert isinstance(state, JobProgress)
        return state

    Spool(tmp_path).sweep(look)
    assert kept(tmp_path) == ([path] if is_kept else [])


def test_what_was_left_out_can_be_tried_again_for_a_week(tmp_path: Path) -> None:
    """After that, the file goes."""
    path = submit(tmp_path)
    made = path.with_name(path.name + ".jobs").stat().st_mtime
    for age_s, is_kept in ((WEEK_S - 60, True), (WEEK_S + 60, False)):
        Spool(tmp_path, lambda age_s=age_s: made + age_s).sweep(lambda _: progress(JobState.FAILED))
        assert bool(kept(tmp_path)) == is_kept
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_what_a_killed_command_left_goes_and_what_is_written_stays(tmp_path: Path) -> None:
    """Half a file belongs to whoever writes it; nobody does when its lock is free."""
    (tmp_path / ".1.part").write_bytes(b"x")
    (tmp_path / "stdin-1.jsonl").write_bytes(b"x")
    with (tmp_path / ".2.part").open("wb") as written:
        fcntl.flock(written, fcntl.LOCK_EX)
        Spool(tmp_path).sweep(lambda _: progress(JobState.RUNNING))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".2.part", ".lock"]
