"""Runs a wing of the project as a person would, `python -m trainer ...`, since nothing here may import it."""

import importlib.util
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from typing import IO

from kosearch.errors import ModelError, NotFoundError

_ERROR_MARKS = ("error: ", "encoder_service: ")  # how the wings begin an error that is meant for the user
_REMEMBERED_LINES = 20
_CHUNK_BYTES = 1 << 16


def require_trainer() -> None:
    """Raise NotFoundError when the trainer's libraries are not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise NotFoundError('this needs the trainer; install it with: pip install "kosearch[trainer]"')


def run_wing(module: str, arguments: Sequence[str], *, captures_output: bool = False) -> str:
    """Run `python -m module`, its progress shown as it comes; return its standard output when captured, else "".

    Raises ModelError with the wing's own error message when it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    sys.stdout.flush()
    stdout = subprocess.PIPE if captures_output else None
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            message = _show_progress(process.stderr) if process.stderr is not None else ""
            # What is captured is one line of JSON: the pipe holds it while standard error is read to its end.
            output = process.stdout.read().decode() if process.stdout is not None else ""
        except BaseException:  # an interrupt must not leave the wing at work
            process.terminate()
            raise
    if process.returncode < 0:
        raise ModelError(f"python -m {module} was ended by signal {-process.returncode}; was there enough memory?")
    if process.returncode != 0:
        raise ModelError(message or f"python -m {module} ended with exit code {process.returncode}")
    return output


def _show_progress(stream: IO[bytes]) -> str:
    """Copy lines and progress bars to standard error as they come. Returns the wing's own error, which is held back.

    Without one, the last line, which ends a traceback.
    """
    held: list[str] = []
    shown: deque[str] = deque(maxlen=_REMEMBERED_LINES)
    for segment in _segments(stream):
        if held or segment.startswith(_ERROR_MARKS):
            held.append(segment)
            continue
        shown.append(segment)
        sys.stderr.write(segment)
        sys.stderr.flush()
    if held:
        message = "".join(held).strip()
        return message.removeprefix(next(mark for mark in _ERROR_MARKS if message.startswith(mark)))
    return next((line.strip() for line in reversed(shown) if line.strip()), "")


def _segments(stream: IO[bytes]) -> Iterator[str]:
    """Split what comes at line ends and at the carriage returns of progress bars, without waiting for more."""
    rest = b""
    while chunk := stream.read1(_CHUNK_BYTES):  # type: ignore[attr-defined]  # a pipe of Popen is a BufferedReader
        *whole, rest = re.split(rb"(?<=[\r\n])", rest + chunk)
        yield from (segment.decode(errors="replace") for segment in whole)
    if rest:
        yield rest.decode(errors="replace")
