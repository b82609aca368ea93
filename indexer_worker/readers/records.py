"""Records of a source: one JSONL line, one CSV or TSV row, one line of text."""

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_DISCARD_BYTES = 1 << 20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_QUOTE, _COMMA, _LINE_ENDS = b'"', b",", b"\r\n"


@dataclass(frozen=True, slots=True)
class Record:
    """The bytes of one record, without its line end.

    start, end: its place in the decompressed file, line end included
    line, last_line: its lines, from 1; a quoted CSV field may hold line breaks
    content: None when it was longer than allowed and has been skipped
    """

    start: int
    end: int
    line: int
    last_line: int
    content: bytes | None


def iterate_records(
    stream: IO[bytes], *, is_quoted: bool, max_bytes: int, first_line: int = 1, start: int = 0
) -> Iterator[Record]:
    """Yield the records of a stream in order. `is_quoted`: as in CSV, a quoted field may hold line breaks.

    A quote that is not closed, or not closed properly, costs its own line only: the lines after it are records.
    """
    lines = _Lines(stream, max_bytes)
    line, position = first_line, start
    while (first := lines.next()).size:
        taken = [first]
        if is_quoted and first.content is not None:
            head = first.content.removeprefix(_BYTE_ORDER_MARK) if position == 0 else first.content
            if _scan_quotes(head, is_open=False) is _Quotes.OPEN:
                taken += _quoted_rest(lines, max_bytes - first.size)
        end, last_line = position + sum(each.size for each in taken), line + len(taken) - 1
        content = None if first.content is None else b"".join(each.content or b"" for each in taken)
        yield Record(position, end, line, last_line, None if content is None else content.rstrip(_LINE_ENDS))
        position, line = end, last_line + 1


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with its end, and its size in bytes; no content when it is over the limit; size 0 at the end."""

    content: bytes | None
    size: int


class _Lines:
    """The lines of a stream; they can be put back."""

    def __init__(self, stream: IO[bytes], max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self._returned: deque[_Line] = deque()

    def next(self) -> _Line:
        """Return the next line."""
        return self._returned.popleft() if self._returned else self._read()

    def put_back(self, lines: list[_Line]) -> None:
        """Let `next` return these lines again, in this order."""
        self._returned.extendleft(reversed(lines))

    def _read(self) -> _Line:
        content = self._stream.readline(self._max_bytes + 1)
        size = len(content)
        if size <= self._max_bytes:
            return _Line(content, size)
        while not content.endswith(b"\n"):
            content = self._stream.readline(_DISCARD_BYTES)
            if not content:
                break
            size += len(content)
        return _Line(None, size)


class _Quotes(enum.Enum):
    """How a line of CSV leaves the quotes."""

    CLOSED = enum.auto()
    OPEN = enum.auto()
    BROKEN = enum.auto()


def _quoted_rest(lines: _Lines, max_bytes: int) -> list[_Line]:
    """Return the further lines of a record whose first line ends between quotes; none when they never close."""
    rest: list[_Line] = []
    size, quotes = 0, _Quotes.OPEN
    while quotes is _Quotes.OPEN:
        line = lines.next()
        rest.append(line)
        size += line.size
        is_usable = line.size and line.content is not None and size <= max_bytes
        quotes = _scan_quotes(line.content or b"", is_open=True) if is_usable else _Quotes.BROKEN
    if quotes is _Quotes.CLOSED:
        return rest
    lines.put_back(rest)
    return []


def _scan_quotes(line: bytes, *, is_open: bool) -> _Quotes:
    """Tell how a line that begins between quotes, or not, leaves them. A quote opens at the start of a field only."""
    position = 0
    while True:
        if not is_open:
            if not line.startswith(_QUOTE, position):
                position = line.find(_COMMA, position) + 1
                if position == 0:
                    return _Quotes.CLOSED
                continue
            position += 1
        position = _closing_quote(line, position)
        if position < 0:
            return _Quotes.OPEN
        is_open = False
        if not line[position + 1 :].rstrip(_LINE_ENDS):
            return _Quotes.CLOSED
        if not line.startswith(_COMMA, position + 1):
            return _Quotes.BROKEN
        position += 2


def _closing_quote(line: bytes, position: int) -> int:
    """Return the place of the quote that closes a field, -1 when the line has none; a double quote is a character."""
    while (position := line.find(_QUOTE, position)) >= 0 and line.startswith(_QUOTE, position + 1):
        position += 2
    return position
