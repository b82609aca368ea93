"""Keeps a collection like its sources: a job whenever something in them has changed. Ends by Ctrl-C."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from watchfiles import watch

from kosearch.errors import KosearchError, NotFoundError, OverloadedError, UnavailableError
from kosearch.jobs import JobProgress, JobState
from kosearch.source_paths import is_pattern, pattern_of

# A program saves a file in several steps: it is at rest after the first time, and indexed after the other at last.
_QUIET_MS = 500
_LONGEST_WAIT_MS = 10_000
_TICK_MS = 1000
_POLL_MS = 2000


class Jobs(Protocol):
    """How jobs are submitted and waited for. All raise UnavailableError while the service is away."""

    def submit(self) -> str:
        """Submit the job. Returns its id."""

    def wait(self, job_id: str) -> JobProgress:
        """Wait for a job's end."""

    def reconnect(self) -> None:
        """Look where the service is now: it may come back elsewhere."""


def keep_indexed(changes: Iterable[bool], jobs: Jobs, say: Callable[[str], None]) -> None:
    """Run a job at once and after each change, one at a time; what changes meanwhile is for the next one.

    changes: about one a second, whether something has changed since the last
    """
    is_due, job_id, is_away = True, "", False
    for is_changed in changes:
        is_due = is_due or is_changed
        try:
            if is_due and not job_id:
                job_id, is_due = jobs.submit(), False
            if job_id:
                say(outcome(job_id, jobs.wait(job_id)))
                job_id, is_away = "", False
        except NotFoundError:  # the ledger was replaced meanwhile
            if not job_id:
                raise
            job_id, is_due = "", True
        except (UnavailableError, OverloadedError) as error:
            if not is_away:
                say(f"서비스를 기다립니다 / waiting for the service: {error}")
            is_away = True
            jobs.reconnect()


def outcome(job_id: str, progress: JobProgress) -> str:
    """Return in one line what became of a job."""
    counts = (
        f"색인 / indexed {progress.documents_indexed:,}, 그대로 / unchanged {progress.documents_unchanged:,}, "
        f"지움 / removed {progress.documents_removed:,}, 빠짐 / left out {progress.documents_rejected:,} "
        f"({progress.elapsed_s:.1f} s)"
    )
    line = f"{time.strftime('%H:%M:%S')} {counts}"
    if progress.state is not JobState.SUCCEEDED:
        return f"{line}; {progress.state.value}: {progress.error}"
    return f"{line}; kosearch watch {job_id}" if progress.documents_rejected else line


def changes_of(paths: Sequence[Path], *, is_polled: bool = False) -> Iterator[bool]:
    """Yield about once a second whether files of a job's paths have changed; first when watching has begun.

    is_polled: look at all files every two seconds, for file systems that do not tell of changes. Raises KosearchError.
    """
    is_anew = False
    while True:
        marks = _marks(paths)
        folders = {folder: mark for folder, mark in marks.items() if folder.is_dir()}
        try:
            for changed in _ticks(list(folders), is_polled=is_polled):
                before, marks = marks, _marks(paths)
                # A folder that was moved away and made anew is another one, of which nothing would be heard.
                if folders != {folder: mark for folder, mark in marks.items() if folder.is_dir()}:
                    break
                yield is_anew or marks != before or any(concerns(path, paths) for path in changed)
                is_anew = False
        except FileNotFoundError:
            time.sleep(_TICK_MS / 1000)
        except OSError as error:
            raise KosearchError(
                f"the sources cannot be watched ({error}); watch fewer folders, raise fs.inotify.max_user_watches, or "
                "use --poll"
            ) from error
        is_anew = True


def concerns(path: Path, paths: Sequence[Path]) -> bool:
    """Tell whether a file or folder is, or may hold, something of a job's paths; temporary files do not."""
    return any(path == named or pattern_of(named).may_hold(path) for named in paths)


def _ticks(folders: Sequence[Path], *, is_polled: bool) -> Iterator[list[Path]]:
    """Yield at least once a second what has changed below the folders."""
    if not folders:
        while True:
            yield []
            time.sleep(_TICK_MS / 1000)
    for changes in watch(
        *folders,
        watch_filter=None,
        debounce=_LONGEST_WAIT_MS,
        step=_QUIET_MS,
        rust_timeout=_TICK_MS,
        yield_on_timeout=True,
        force_polling=is_polled or None,
        poll_delay_ms=_POLL_MS,
        ignore_permission_denied=True,
    ):
        yield [Path(changed) for _, changed in changes]


def _marks(paths: Sequence[Path]) -> dict[Path, tuple[int, ...]]:
    """Return what tells a folder or a named file from another one in its place; of a file, its content too."""
    return {named: _mark(named) for path in paths for named in [pattern_of(path).base if is_pattern(path) else path]}


def _mark(path: Path) -> tuple[int, ...]:
    try:
        status = path.stat()
    except OSError:
        return ()
    where = (status.st_dev, status.st_ino)
    return where if os.path.isdir(path) else (*where, status.st_size, status.st_mtime_ns)
