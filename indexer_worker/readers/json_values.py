"""JSON files as JSON lines: the objects of an array, or one object, or several one after the other."""

import io
import re
from collections.abc import Iterator
from typing import IO

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers.chunk_stream import ChunkStream

_CHUNK_BYTES = 1 << 18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_IN_STRING = re.compile(rb'["\\]')
_BETWEEN_STRINGS = re.compile(rb'["\[\]{},\r\n]')


def as_json_lines(stream: IO[bytes]) -> IO[bytes]:
    """Return a UTF-8 stream of JSON with each value on a line of its own; it closes that stream with itself.

    Values are cut apart, not read: a malformed one is refused by its line, and one of any length takes no memory.
    Reading raises ConversionError when the text ends within a value.
    """
    return io.BufferedReader(ChunkStream(_cut_apart(stream), stream), _CHUNK_BYTES)


def _cut_apart(stream: IO[bytes]) -> Iterator[bytes]:
    cutter = _Cutter()
    chunk = stream.read(_CHUNK_BYTES).removeprefix(_BYTE_ORDER_MARK)
    while chunk:
        if cut := cutter.cut(chunk):
            yield cut
        chunk = stream.read(_CHUNK_BYTES)
    if cutter.is_within_value:
        raise ConversionError(Reason.DAMAGED, "the JSON ends in the middle of a value; copy or download it again")


class _Cutter:
    """Follows brackets and strings. Line ends between values and within them become spaces or go."""

    def __init__(self) -> None:
        self._level = 0  # of brackets, without those of the outer array
        self._is_in_array = False
        self._is_in_string = False
        self._is_escaped = False
        self._is_begun = False  # a value, by something else than white space

    @property
    def is_within_value(self) -> bool:
        """Tell whether something is open."""
        return self._is_in_array or self._is_in_string or self._level > 0

    def cut(self, chunk: bytes) -> bytes:
        """Return the chunk with a line end behind each value, and without what stands between values."""
        pieces: list[bytes] = []
        position = 0
        while position < len(chunk):
            if self._is_escaped:
                pieces.append(chunk[position : position + 1])
                self._is_escaped, position = False, position + 1
                continue
            found = (_IN_STRING if self._is_in_string else _BETWEEN_STRINGS).search(chunk, position)
            end = found.start() if found else len(chunk)
            between = chunk[position:end]
            self._is_begun = self._is_begun or not (between.isspace() or not between)
            pieces.append(between)
            if found:
                pieces.append(self._follow(found.group()))
            position = end + 1
        return b"".join(pieces)

    def _follow(self, mark: bytes) -> bytes:
        """Take a character with a meaning. Returns what is written for it."""
        if self._is_in_string:
            self._is_in_string, self._is_escaped = mark != b'"', mark == b"\\"
            return mark
        if mark in b"\r\n":
            return b" " if self._is_begun else b""
        return self._follow_within(mark) if self._level else self._follow_between(mark)

    def _follow_between(self, mark: bytes) -> bytes:
        """Take a character that stands in no bracket but that of the outer array."""
        if self._is_in_array and mark in b",]":
            self._is_in_array = mark == b","
            return self._ended(b"") if self._is_begun or self._is_in_array else b""
        if mark == b"[" and not (self._is_in_array or self._is_begun):
            self._is_in_array = True
            return b""
        self._level += mark in b"[{"
        self._is_in_string = mark == b'"'
        self._is_begun = True
        return mark

    def _follow_within(self, mark: bytes) -> bytes:
        self._level += (mark in b"[{") - (mark in b"]}")
        self._is_in_string = mark == b'"'
        return mark if self._level or self._is_in_array else self._ended(mark)

    def _ended(self, mark: bytes) -> bytes:
        self._is_begun = False
        return mark + b"\n"
