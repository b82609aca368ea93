"""What a user names on the command line, as the paths of a job."""

import os
from pathlib import Path

from kosearch.errors import InvalidRequestError, NotFoundError
from kosearch.source_paths import Pattern, Places, is_ignored, is_pattern, pattern_of


def absolute_source(path: Path) -> Path:
    """Return a file, folder or pattern as an absolute path. Raises NotFoundError, InvalidRequestError.

    A pattern stays one, for the worker to expand: the same command finds what was added since and sees what is gone.
    """
    try:
        str(path).encode()
        if path.is_file() or path.is_dir():
            return path.resolve()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{os.fsencode(path)!r} is a name that is no UTF-8; rename it") from error
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be used: {error.strerror}") from error
    if is_pattern(path):
        pattern = pattern_of(path)
        if not _has_file(pattern):
            raise NotFoundError(f"no file fits the pattern {path}; `**` stands for any number of folders")
        return pattern.base.resolve().joinpath(*pattern.parts)
    if os.path.lexists(path):
        raise InvalidRequestError(
            f"{path} is no file or folder, or a link to nowhere; pipe what a program gives into `kosearch index -`"
        )
    raise NotFoundError(f"there is no file or folder {path}")


def _has_file(pattern: Pattern) -> bool:
    """Tell whether something fits; what cannot be read is for the worker to tell of."""
    waiting: list[tuple[Path, Places]] = [(pattern.base, pattern.start())]
    while waiting:
        folder, places = waiting.pop()
        try:
            entries = [entry for entry in os.scandir(folder) if not is_ignored(entry.name)]
        except OSError:
            continue
        for entry in entries:
            reached = pattern.step(places, entry.name)
            if entry.is_dir(follow_symlinks=False):
                waiting += [(folder / entry.name, reached)] * bool(reached)
            elif pattern.is_match(reached):
                return True
    return False
