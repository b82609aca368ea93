"""Files of foreign formats as a stream of one JSON line, so that everything behind it works on records."""

import io
import subprocess
import sys
from pathlib import Path
from typing import IO

import orjson

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers.regular_files import open_regular

CONVERTED_SUFFIXES = (".hwp", ".hwpx", ".docx", ".pdf", ".html", ".htm", ".md")
_TIMEOUT_S = 120
_SIGNALS_OF_SLOWNESS = (-24, -9)  # SIGXCPU, and the SIGKILL that comes a second later


def open_converted(path: Path) -> IO[bytes]:
    """Return `{"title", "text"}` of a file and a line end. Raises OSError, ConversionError.

    The title is that of the page, or the file's name without suffix.
    """
    open_regular(path).close()  # what is wrong with the file itself is told as for any other
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "indexer_worker.conversion", str(path.absolute())],
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(Reason.TOO_SLOW, f"{path.name} was not read within {_TIMEOUT_S} s") from error
    if ran.returncode in _SIGNALS_OF_SLOWNESS:
        raise ConversionError(Reason.TOO_SLOW, f"{path.name} takes too much time to read")
    try:
        answer = orjson.loads(ran.stdout)
    except orjson.JSONDecodeError as error:
        last = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConversionError(
            Reason.DAMAGED, f"the reader of {path.name} broke down (exit code {ran.returncode}): {last[:200]}"
        ) from error
    if "reason" in answer:
        raise ConversionError(Reason(answer["reason"]), answer["detail"])
    line = {"title": answer["title"] or path.stem, "text": answer["text"]}
    return io.BytesIO(orjson.dumps(line) + b"\n")
