"""Documents from standard input, kept as files in the data directory until their jobs no longer need them.

A file is called by its content, so the same content is the same source. It goes when every job that was submitted for
it has succeeded and left nothing out, and otherwise a week after its last submission: until then a worker that died
is made up for, and `kosearch retry` finds it.
"""

import errno
import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kosearch.errors import InvalidRequestError, KosearchError, NotFoundError, UnavailableError
from kosearch.jobs import JobProgress, JobState

_CHUNK_BYTES = 1 << 20
_DIGEST_CHARACTERS = 32
_JOBS_SUFFIX = ".jobs"  # beside a spooled file: a line for each job
_KEPT_S = 7 * 24 * 3600


class Spool:
    """A folder of spooled files."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def submit(self, stream: IO[bytes], suffix: str, submit: Callable[[Path], str]) -> str:
        """Keep what the stream holds, submit a job for it, and return the job's id.

        Raises InvalidRequestError when there is nothing, KosearchError when the disk is full, and what `submit` does.
        """
        with self._translated():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._folder / f".{os.getpid()}-{time.monotonic_ns()}.part"
            try:
                with part.open("wb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX)  # who sweeps sees that somebody writes it
                    digest = _copy(stream, file)
                    path = self._folder / f"stdin-{digest[:_DIGEST_CHARACTERS]}{suffix}"
                    # Named by its content, it is the same file whenever it was made.
                    os.utime(part, (0, 0))
                    with self._locked():
                        part.replace(path)
                        return self._submit(path, submit)
            finally:
                part.unlink(missing_ok=True)

    def sweep(self, progress_of: Callable[[str], JobProgress]) -> None:
        """Remove what no job needs. While the service is away, nothing is."""
        if not self._folder.is_dir():
            return
        with self._locked():
            for path in sorted(self._folder.iterdir()):
                if path.suffix == ".part":
                    _remove_if_abandoned(path)
                elif path.suffix != _JOBS_SUFFIX and not path.name.startswith("."):
                    try:
                        if not self._is_needed(path, progress_of):
                            path.unlink(missing_ok=True)
                            _jobs_file(path).unlink(missing_ok=True)
                    except UnavailableError:
                        return

    def _submit(self, path: Path, submit: Callable[[Path], str]) -> str:
        try:
            job_id = submit(path)
        except BaseException:
            if not _jobs_file(path).exists():
                path.unlink(missing_ok=True)
            raise
        with _jobs_file(path).open("a", encoding="utf-8") as file:
            file.write(f"{job_id}\n")
        return job_id

    def _is_needed(self, path: Path, progress_of: Callable[[str], JobProgress]) -> bool:
        """Tell whether one of the file's jobs may read it still."""
        jobs = _jobs_file(path)
        if not jobs.exists():  # nobody who submits it is alive, as the folder is locked
            return False
        for job_id in jobs.read_text(encoding="utf-8").split():
            try:
                progress = progress_of(job_id)
            except NotFoundError:
                continue
            if not progress.state.is_ended:
                return True
            is_clean = progress.state is JobState.SUCCEEDED and not progress.documents_rejected
            if not is_clean and self._clock() - jobs.stat().st_mtime < _KEPT_S:
                return True
        return False

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise KosearchError(
                    f"{self._folder} has no space left for what is piped in; free some, or choose a larger disk with "
                    "--data-dir or KOSEARCH_DATA_DIR"
                ) from error
            raise KosearchError(
                f"what is piped in cannot be kept in {self._folder}: {error}; make the folder writable, or choose "
                "another one with --data-dir or KOSEARCH_DATA_DIR"
            ) from error


def _copy(stream: IO[bytes], file: IO[bytes]) -> str:
    """Copy a stream to the disk. Returns the digest of its content. Raises InvalidRequestError when it is empty."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
        file.write(chunk)
    if not file.tell():
        raise InvalidRequestError("standard input holds nothing; pipe documents in: cat laws.jsonl | kosearch index -")
    file.flush()
    os.fsync(file.fileno())
    return digest.hexdigest()


def _jobs_file(path: Path) -> Path:
    return path.with_name(path.name + _JOBS_SUFFIX)


def _remove_if_abandoned(part: Path) -> None:
    """Remove a file that nobody writes any more."""
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        part.unlink(missing_ok=True)
