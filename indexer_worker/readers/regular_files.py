"""Opening files that are nothing but files."""

import errno
import os
import stat
from pathlib import Path
from typing import IO


def open_regular(path: Path, buffer_bytes: int = -1) -> IO[bytes]:
    """Open a file for reading. Raises OSError, for a pipe or a device too, where reading might never end."""
    return open(path, "rb", buffering=buffer_bytes, opener=_open_at_once)


def _open_at_once(path: str, flags: int) -> int:
    file = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # otherwise a pipe waits for its other end
    if stat.S_ISREG(os.fstat(file).st_mode) or stat.S_ISDIR(os.fstat(file).st_mode):  # `open` refuses folders itself
        return file
    os.close(file)
    raise OSError(errno.EINVAL, "is a pipe, a socket or a device, not a file", path)
