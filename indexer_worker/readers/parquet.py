"""Parquet files as JSON lines, read by a process of their own that may break down, hang or grow alone."""

import io
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import orjson

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers.regular_files import open_regular

PARQUET_SUFFIX = ".parquet"
_BUFFER_BYTES = 1 << 20
# Between two pieces of output. A file of any length may be read; one page of it takes no minutes.
_SILENCE_S = 120.0


def open_parquet(path: Path) -> IO[bytes]:
    """Return the rows of a file, a JSON object a line. Raises OSError; reading raises ConversionError."""
    open_regular(path).close()  # what is wrong with the file itself is told as for any other
    return io.BufferedReader(_Rows(path), _BUFFER_BYTES)


class _Rows(io.RawIOBase):
    """What the process writes; the end of it is told from its breaking down."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._process = subprocess.Popen(
            [sys.executable, "-m", "indexer_worker.conversion.parquet", str(path.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdout
        assert self._process.stderr
        self._output, self._complaints = self._process.stdout, self._process.stderr
        self._waiting = select.poll()
        self._waiting.register(self._output, select.POLLIN)

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        if not self._waiting.poll(_SILENCE_S * 1000):
            raise ConversionError(Reason.TOO_SLOW, f"{self._path.name} takes too much time to read")
        count: int = self._output.readinto(buffer)  # type: ignore[attr-defined]
        if count == 0:
            self._check_end()
        return count

    def close(self) -> None:
        """End the process."""
        if not self.closed:
            self._process.kill()
            self._output.close()
            self._complaints.close()
            self._process.wait()
        super().close()

    def _check_end(self) -> None:
        complaint = self._complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
        code = self._process.wait()
        if code == 0:
            return
        try:
            fault = orjson.loads(complaint)
            raise ConversionError(Reason(fault["reason"]), fault["detail"])
        except (ValueError, TypeError, KeyError) as error:
            raise ConversionError(
                Reason.DAMAGED, f"the reader of {self._path.name} broke down (exit code {code}): {complaint[:200]}"
            ) from error
