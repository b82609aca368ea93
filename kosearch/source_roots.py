"""The folders that sources may lie in, for services whose callers are not to read every file of the machine."""

import os
from collections.abc import Sequence
from pathlib import Path

from kosearch.errors import InvalidRequestError


def check_source(path: Path, allowed: Sequence[Path]) -> None:
    """Raise InvalidRequestError when a path leads out of the allowed folders, by `..` or by a link; none allow any."""
    if not allowed or is_inside(path, allowed):
        return
    raise InvalidRequestError(
        f"{path} lies outside of the folders that may be indexed ({', '.join(map(str, allowed))}); move it there, or "
        "let the service's operator add its folder to KOSEARCH_WORKER__SOURCE_ROOTS"
    )


def is_inside(path: Path, folders: Sequence[Path]) -> bool:
    """Tell whether a path, with all links followed, is one of the folders or lies in one; it need not exist."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)
