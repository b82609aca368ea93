"""The files of a job, and the names that documents get from them."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from kosearch.text import clean


def files_of(paths: Iterable[Path], on_error: Callable[[OSError], None]) -> Iterator[Path]:
    """Yield files as they are named, and of folders all files below, by name; each once.

    Left out are hidden files and folders, and links to folders, which may go round in circles. `on_error` hears of
    folders that cannot be read.
    """
    seen: set[Path] = set()
    for path in paths:
        for file in _below(path, on_error) if path.is_dir() else (path,):
            if file not in seen:
                seen.add(file)
                yield file


def name_of(file: Path, paths: Iterable[Path]) -> str:
    """The name of a file of a job: its own, or its path within the folder that was named, with `/` on every system.

    So it stays when the folder is moved, and differs for files of one name.
    """
    for path in paths:
        if path == file:
            break
        if path in file.parents:
            return clean(file.relative_to(path).as_posix())
    return clean(file.name)


def _below(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    for where, folders, names in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where, name) for name in sorted(names) if not name.startswith("."))
