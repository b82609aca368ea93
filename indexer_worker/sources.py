"""The files of a job, and the names that documents get from them."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kosearch.errors import InvalidRequestError
from kosearch.jobs import Source
from kosearch.source_paths import Pattern, Places, is_ignored, is_pattern, pattern_of
from kosearch.source_roots import check_source, is_inside
from kosearch.text import clean

_KINDS = {
    stat.S_IFIFO: "a named pipe; pipe what it gives into `kosearch index -`",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
# Stable words, as they stand in the ledger, and what is wrong.
_REASONS = {
    errno.ELOOP: ("link_loop", "is a link that leads back to itself; remove it"),
    errno.ENAMETOOLONG: ("path_too_long", "has a path that is too long; shorten names or move it up"),
    errno.ENOENT: ("vanished", "is gone since it was listed; submit the job again when nothing moves any more"),
    errno.ENOTDIR: ("vanished", "is gone since it was listed; submit the job again when nothing moves any more"),
    errno.ESTALE: ("vanished", "is gone from its network file system; submit the job again when it is back"),
}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be read; `root` is the path of the job that it was found by, `name` what documents are called by."""

    path: Path
    root: Path
    name: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What is left out and why; `reason` is a stable word, `path` printable whatever the name is made of."""

    path: str
    reason: str
    detail: str


class Listing:
    """The files of a job, listed while it is iterated over, once; each file comes once.

    faults: what was left out on the way
    incomplete_roots: paths of the job of which not everything could be listed, or nothing was there; that a file of
        them is missing does not say that it was deleted. Both are complete when the iteration has ended.
    """

    def __init__(self, paths: Sequence[Path], allowed: Sequence[Path]) -> None:
        self.faults: list[Fault] = []
        self.incomplete_roots: set[Path] = set()
        self._paths = paths
        self._allowed = allowed
        self._listed: set[Path] = set()

    def __iter__(self) -> Iterator[SourceFile]:
        for root in self._paths:
            faults, is_empty = len(self.faults), True
            for path in self._of_root(root):
                is_empty = False
                if path not in self._listed:
                    self._listed.add(path)
                    yield SourceFile(path, root, name_of(path, [root]))
            if is_empty:
                self.incomplete_roots.add(root)
                if len(self.faults) == faults:
                    self.faults.append(_nothing_in(root))

    def _of_root(self, root: Path) -> Iterator[Path]:
        """Yield the files of one path of the job. A folder that is named may be a link itself."""
        try:
            check_source(root, self._allowed)
            pattern = pattern_of(root)
            if pattern.base.is_dir():
                yield from self._below(root, pattern)
            elif not is_pattern(root):
                root.lstat()
                if fault := _oddness(root):
                    self.faults.append(fault)
                else:
                    yield root
        except InvalidRequestError as error:
            self.faults.append(Fault(printable(root), "outside_roots", str(error)))
        except (FileNotFoundError, NotADirectoryError):
            detail = "does not exist; look at its spelling, and whether its disk is there"
            self.faults.append(Fault(printable(root), "no_such_path", detail))
        except OSError as error:
            self.incomplete_roots.add(root)
            self.faults.append(fault_of(root, error))

    def _below(self, root: Path, pattern: Pattern) -> Iterator[Path]:
        """Yield files by name, those of a folder before those of the folders in it."""
        waiting = [(pattern.base, pattern.start())]
        while waiting:
            folder, places = waiting.pop()
            inner: list[tuple[Path, Places]] = []
            for entry in self._entries(root, folder):
                reached = frozenset[int]() if is_ignored(entry.name) else pattern.step(places, entry.name)
                path = folder / entry.name
                if not reached or not self._is_nameable(path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    inner.append((path, reached))
                elif entry.is_symlink() and path.is_dir():
                    self._note_linked_folder(path, pattern.base)
                elif pattern.is_match(reached) and self._is_usable(path, entry):
                    yield path
            waiting += reversed(inner)

    def _entries(self, root: Path, folder: Path) -> list[os.DirEntry[str]]:
        """Return what lies in a folder, by name; nothing when it cannot be read, which makes its root incomplete."""
        try:
            with os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.incomplete_roots.add(root)
            reason, detail = _reason(error) or ("unreadable_folder", f"cannot be read: {error}")
            self.faults.append(Fault(printable(folder), reason, detail))
            return []

    def _is_nameable(self, path: Path) -> bool:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            detail = "has a name that is no UTF-8; rename it, for example with `convmv -f cp949 -t utf8`"
            self.faults.append(Fault(printable(path), "bad_file_name", detail))
            return False
        return True

    def _is_usable(self, path: Path, entry: os.DirEntry[str]) -> bool:
        """Tell whether something that is no folder can be read as a file."""
        if entry.is_file(follow_symlinks=False):
            return True
        if fault := _oddness(path):
            self.faults.append(fault)
            return False
        return self._is_allowed(path)

    def _note_linked_folder(self, path: Path, base: Path) -> None:
        """Tell of a link to a folder, which may go round in circles and is not followed.

        One that leads to below the folder that is listed is left out in silence: its files are found where they lie.
        """
        if self._is_allowed(path) and not is_inside(path, [base]):
            detail = f"is a link to the folder {os.path.realpath(path)}, which is not followed; name that folder, too"
            self.faults.append(Fault(printable(path), "linked_folder", detail))

    def _is_allowed(self, path: Path) -> bool:
        try:
            check_source(path, self._allowed)
        except InvalidRequestError as error:
            self.faults.append(Fault(printable(path), "outside_roots", str(error)))
            return False
        return True


def list_sources(paths: Sequence[Path], allowed: Sequence[Path] = ()) -> Listing:
    """Return the files of a job's paths: files as they are named; of folders and patterns, all files below, by name.

    Left out are hidden and temporary files and folders, in silence; links to folders, special files, and what leads
    out of the `allowed` folders (none: all are), each with a fault.
    """
    return Listing(paths, allowed)


def name_of(file: Path, paths: Iterable[Path]) -> str:
    """The name of a file of a job: its own, or its path within the folder that was named, with `/` on every system.

    So it stays when the folder is moved, and differs for files of one name. In a pattern, the folder is what stands
    before the first wild part.
    """
    for path in paths:
        if path == file:
            break
        pattern = pattern_of(path)
        if pattern.matches(file):
            return clean(file.relative_to(pattern.base).as_posix())
    return clean(file.name)


def source_of(path: Path) -> Source:
    """Return the file as it is now. Raises OSError."""
    status = path.stat()
    return Source(path, status.st_size, status.st_mtime_ns)


def fault_of(path: Path, error: OSError) -> Fault:
    """Return what it means for a source that it cannot be listed, opened or read."""
    reason, detail = _reason(error) or ("unreadable_file", f"cannot be read: {error}")
    return Fault(printable(path), reason, detail)


def fault_of_change(source: Source) -> Fault | None:
    """Return the fault of a file that is no longer what it was before it was read; None when it is the same."""
    try:
        if source_of(source.path) == source:
            return None
    except OSError as error:
        return fault_of(source.path, error)
    detail = "changed while it was read; submit the job again when nobody writes to it any more"
    return Fault(printable(source.path), "changed_while_read", detail)


def printable(path: Path) -> str:
    """Return a path as text that has a UTF-8 form: bytes of a name that is none are shown as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _oddness(path: Path) -> Fault | None:
    """Return why something that is no folder cannot be read as a file; None for a file, or a link to one."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError as error:
        if path.is_symlink():
            return Fault(printable(path), "broken_link", f"leads to {printable(path.readlink())}, which does not exist")
        return fault_of(path, error)
    except OSError as error:
        return fault_of(path, error)
    if kind == stat.S_IFREG:
        return None
    return Fault(printable(path), "not_a_file", f"is {_KINDS.get(kind, 'no file')}")


def _reason(error: OSError) -> tuple[str, str] | None:
    if isinstance(error, PermissionError):
        return "no_permission", "may not be read by the user that the worker runs as; change its permissions"
    return _REASONS.get(error.errno or 0)


def _nothing_in(root: Path) -> Fault:
    if is_pattern(root):
        detail = "fits no file; quote the pattern, and look at what stands before its first `*`, `?` or `[`"
        return Fault(printable(root), "no_match", detail)
    return Fault(printable(root), "empty_folder", "holds no file")
