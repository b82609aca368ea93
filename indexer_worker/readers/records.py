"""Records of a source: one JSONL line, one CSV or TSV row, one line of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_DISCARD_BYTES = 1 << 20


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
    """Yield the records of a stream in order. `is_quoted`: a line break between double quotes does not end one."""
    line, position = first_line, start
    while True:
        record_line, record_start = line, position
        content, size = _read_line(stream, max_bytes)
        if size == 0:
            return
        position += size
        if is_quoted and content is not None and content.count(b'"') % 2:
            content, position, line = _read_quoted_rest(stream, content, position, line, max_bytes)
        yield Record(record_start, position, record_line, line, None if content is None else content.rstrip(b"\r\n"))
        line += 1


def _read_line(stream: IO[bytes], max_bytes: int) -> tuple[bytes | None, int]:
    """Return (line with its end, its bytes); (None, bytes) for a line over the limit; (b"", 0) at the end."""
    content = stream.readline(max_bytes + 1)
    size = len(content)
    if size <= max_bytes:
        return content, size
    while not content.endswith(b"\n"):
        content = stream.readline(_DISCARD_BYTES)
        if not content:
            break
        size += len(content)
    return None, size


def _read_quoted_rest(
    stream: IO[bytes], content: bytes, position: int, line: int, max_bytes: int
) -> tuple[bytes | None, int, int]:
    """Read on to the line that closes an open quote. Returns (record, position after it, its last line)."""
    parts, total, is_open = [content], len(content), True
    while is_open:
        more, size = _read_line(stream, max_bytes)
        if size == 0:
            break  # the quote is never closed: the CSV reader will say so
        position, line, total = position + size, line + 1, total + size
        if more is None or total > max_bytes:
            return None, position, line
        parts.append(more)
        is_open = more.count(b'"') % 2 == 0
    return b"".join(parts), position, line
