"""Files as streams of bytes, decompressed and brought to UTF-8 on the way."""

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import IO, cast

import zstandard

from indexer_worker.conversion.failure import ConversionError
from indexer_worker.readers.converted import CONVERTED_SUFFIXES, open_converted
from indexer_worker.readers.encodings import as_utf8, detect_encoding
from indexer_worker.readers.json_values import as_json_lines
from indexer_worker.readers.parquet import PARQUET_SUFFIX, open_parquet
from indexer_worker.readers.regular_files import open_regular
from kosearch.errors import InvalidRequestError
from kosearch.jobs import Source

# kowiki and other large archives are packed with a window of 128 MiB (`zstd --long=27`).
_ZSTD_WINDOW_BYTES = 1 << 27
_BUFFER_BYTES = 1 << 20
_COMPRESSIONS = (".zst", ".gz")
_ZSTD_MAX_HEADER_BYTES = 18

# What reading a damaged archive raises, or a file that cannot be converted.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, zstandard.ZstdError, ConversionError)


def record_suffix(path: Path) -> str:
    """Return the suffix that names the record format: `.jsonl` for `laws.jsonl.zst`."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSIONS else path).suffix.lower()


def open_bytes(path: Path) -> IO[bytes]:
    """Open a text for reading: converted, decompressed, in UTF-8, as it needs. Raises READ_ERRORS."""
    match path.suffix.lower():
        case suffix if suffix in CONVERTED_SUFFIXES:
            return open_converted(path)
        case suffix if suffix == PARQUET_SUFFIX:
            return open_parquet(path)
    with _open_decompressed(path) as stream:
        encoding = detect_encoding(stream)
    stream = _open_decompressed(path)
    stream = stream if encoding == "utf-8" else as_utf8(stream, encoding)
    return as_json_lines(stream) if record_suffix(path) == ".json" else stream


def _open_decompressed(path: Path) -> IO[bytes]:
    match path.suffix.lower():
        case ".zst":
            _check_zstd_is_whole(path)
            decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
            raw = decompressor.stream_reader(open_regular(path), read_across_frames=True, closefd=True)
            return io.BufferedReader(raw, _BUFFER_BYTES)
        case ".gz":
            return cast(IO[bytes], _GzipFile(open_regular(path)))
        case _:
            return open_regular(path, _BUFFER_BYTES)


class _GzipFile(gzip.GzipFile):
    """A gzip file that closes what it reads from."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._file = file

    def close(self) -> None:
        """Close both."""
        super().close()
        self._file.close()


class ForwardReader:
    """Keeps the last opened file at its place, so that reading one partition after the other decompresses once.

    A compressed file, or one in another encoding, cannot be entered in the middle; a worker takes partitions in order,
    so it seldom has to go back.
    """

    def __init__(self) -> None:
        self._source: Source | None = None
        self._stream: IO[bytes] = io.BytesIO()
        self._position = 0

    def read(self, source: Source, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of the decompressed file.

        Raises READ_ERRORS for a damaged file and InvalidRequestError for one that is shorter.
        """
        # By source, not by path: a file that was replaced since has another size or time, and must be opened anew.
        if source != self._source or start < self._position:
            self.close()
            self._stream, self._source = open_bytes(source.path), source
        try:
            self._skip(start - self._position)
            content = self._stream.read(end - start)
        except BaseException:
            self.close()  # its place is unknown now
            raise
        if len(content) != end - start:
            self.close()
            raise InvalidRequestError(f"{source.path} ends before byte {end:,}; it was longer when the job was planned")
        self._position = end
        return content

    def close(self) -> None:
        """Close the file that is open."""
        self._stream.close()
        self._stream, self._source, self._position = io.BytesIO(), None, 0

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


def _check_zstd_is_whole(path: Path) -> None:
    """Follow frames and blocks to the end of the file, without decompressing. Raises EOFError when it is cut off.

    zstandard's reader takes the end of a truncated file for the end of the text.
    Source: RFC 8878, section 3.1 (frames and blocks).
    """
    with open_regular(path) as file:
        size, position = os.fstat(file.fileno()).st_size, 0
        while position < size:
            file.seek(position)
            header = file.read(_ZSTD_MAX_HEADER_BYTES)
            if header[1:4] == b"\x2a\x4d\x18" and header[0] & 0xF0 == 0x50:  # a skippable frame
                position += 8 + int.from_bytes(header[4:8], "little")
                continue
            position = _end_of_zstd_frame(file, position + zstandard.frame_header_size(header))
            position += 4 * zstandard.get_frame_parameters(header).has_checksum
        if position > size:
            raise EOFError("the archive is cut off; copy or download it again")


def _end_of_zstd_frame(file: IO[bytes], position: int) -> int:
    """Return the place behind the last block of a frame whose blocks begin at `position`."""
    is_last = False
    while not is_last:
        file.seek(position)
        header = int.from_bytes(file.read(3).ljust(3, b"\xff"), "little")
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        position += 3 + (1 if kind == 1 else size)  # 1: one byte that is repeated `size` times
    return position
