"""Files as streams of bytes, decompressed on the way."""

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, cast

import zstandard

from kosearch.errors import InvalidRequestError

# kowiki and other large archives are packed with a window of 128 MiB (`zstd --long=27`).
_ZSTD_WINDOW_BYTES = 1 << 27
_BUFFER_BYTES = 1 << 20
_COMPRESSIONS = (".zst", ".gz")

# What reading a damaged archive raises.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, zstandard.ZstdError)


def record_suffix(path: Path) -> str:
    """Return the suffix that names the record format: `.jsonl` for `laws.jsonl.zst`."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file for reading, decompressed. Raises OSError."""
    match path.suffix.lower():
        case ".zst":
            decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            raw = decompressor.stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
            return io.BufferedReader(raw, _BUFFER_BYTES)
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        case _:
            return path.open("rb", buffering=_BUFFER_BYTES)


class ForwardReader:
    """Keeps the last opened file at its place, so that reading one partition after the other decompresses once.

    A compressed file cannot be entered in the middle; a worker takes partitions in order, so it seldom has to go back.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._stream: IO[bytes] = io.BytesIO()
        self._position = 0

    def read(self, path: Path, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of the decompressed file. Raises InvalidRequestError when it is shorter."""
        if path != self._path or start < self._position:
            self.close()
            self._stream, self._path, self._position = open_bytes(path), path, 0
        self._skip(start - self._position)
        content = self._stream.read(end - start)
        self._position = start + len(content)
        if self._position != end:
            raise InvalidRequestError(f"{path} ends at byte {self._position}; it was longer when the job was planned")
        return content

    def close(self) -> None:
        """Close the file that is open."""
        self._stream.close()
        self._stream, self._path, self._position = io.BytesIO(), None, 0

    def _skip(self, count: int) -> None:
        if self._stream.seekable():
            self._position = self._stream.seek(self._position + count)
            return
        while count > 0:
            skipped = len(self._stream.read(min(count, _BUFFER_BYTES)))
            if skipped == 0:
                return
            self._position += skipped
            count -= skipped
