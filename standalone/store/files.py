"""Files that are whole or absent after a crash, the log of a shard made durable, and one process a directory."""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from kosearch.errors import ConflictError

_LOCK = "store.lock"
_READ_AHEAD_BYTES = 1 << 20


def write_whole(path: Path, text: str) -> None:
    """Write a file so that after a crash it holds the old text or the new, never part of one."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def remove_whole(directory: Path, doomed: Path) -> None:
    """Remove a directory by renaming it to `doomed` first, so that after a crash it is gone or whole."""
    directory.rename(doomed)
    sync_directory(doomed.parent)
    shutil.rmtree(doomed)


def discard(directory: Path, doomed: Path) -> None:
    """Remove what there is of a directory that nobody needs, by way of `doomed`, which the next start removes."""
    with suppress(FileNotFoundError):
        directory.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_wal(directory: Path, sealed: set[str]) -> None:
    """Make a shard's write-ahead log durable while its owner goes on writing; releases the GIL.

    Edge maps its log files into memory, so `fsync` writes what it has put there. `sealed` remembers the files that are
    full and synced. A file that vanishes was renamed when it filled up, or dropped after a flush: look again.
    """
    while True:
        names = [name for name in os.listdir(directory) if name.startswith(("open-", "closed-")) and name not in sealed]
        try:
            for name in names:
                _sync_file(directory / name)
        except FileNotFoundError:
            continue
        break
    sync_directory(directory)
    sealed.update(name for name in names if name.startswith("closed-"))


@contextmanager
def sole_process(directory: Path) -> Iterator[None]:
    """Hold the directory for this process. Raises ConflictError when another one holds it."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ConflictError(
                f"{directory} is open in another store process (pid {owner}): two must not share a data directory; "
                "stop that one with `kosearch down`, or choose another directory with --data-dir"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def sync_tree(directory: Path) -> None:
    """Make everything in a directory durable, names and contents."""
    for folder, _, names in os.walk(directory):
        for name in names:
            _sync_file(Path(folder) / name)
        sync_directory(Path(folder))


def used_bytes(directory: Path) -> int:
    """Return the bytes that a directory's files take on the disk; one that vanishes meanwhile takes none."""
    used = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                used += (Path(folder) / name).stat().st_blocks * 512
    return used


def room_to_read_ahead() -> int:
    """Return half of the memory that is available, in bytes."""
    return int(psutil.virtual_memory().available // 2)


def read_ahead(directory: Path, room_bytes: int, stopping: threading.Event | None = None) -> int:
    """Bring a directory's files into the system's memory, one after the other. Returns the bytes read; blocks.

    Whoever then reads them in any order waits for no disk. 380,000 points by the order of their ids took hours where
    the files as they lie take seconds.
    room_bytes: what may be read, files being taken whole; stopping: set to give up
    """
    read = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError), (Path(folder) / name).open("rb", buffering=0) as file:
                if os.fstat(file.fileno()).st_size > room_bytes - read:
                    continue
                while part := len(file.read(_READ_AHEAD_BYTES)):
                    read += part
                    if stopping is not None and stopping.is_set():
                        return read
    return read


def free_bytes(directory: Path) -> int:
    """Return the bytes that may still be written to the directory's disk."""
    status = os.statvfs(directory)
    return status.f_bavail * status.f_frsize


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
