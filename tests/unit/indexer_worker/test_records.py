"""Records: where one ends and the next begins."""

import csv
import io
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer_worker.readers.records import Record, iterate_records


def records(content: bytes, *, is_quoted: bool = False, max_bytes: int = 1000) -> list[Record]:
    """Return the records of a content."""
    return list(iterate_records(io.BytesIO(content), is_quoted=is_quoted, max_bytes=max_bytes))


def contents(content: bytes, *, is_quoted: bool = False, max_bytes: int = 1000) -> list[bytes | None]:
    """Return the contents of the records."""
    return [record.content for record in records(content, is_quoted=is_quoted, max_bytes=max_bytes)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a\nb\n", [b"a", b"b"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\n\n\nb\n", [b"a", b"", b"", b"b"]),
        (b"\n", [b""]),
        ("가\u2028나\x85다\n".encode(), ["가\u2028나\x85다".encode()]),
        (b'{"a": "x\n"}\n', [b'{"a": "x', b'"}']),
    ],
)
def test_a_line_break_ends_a_record(content: bytes, expected: list[bytes]) -> None:
    """Only \\n and \\r\\n end a line; the last line needs no end."""
    assert contents(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'1,"a\nb"\n2,c\n', [b'1,"a\nb"', b"2,c"]),
        (b'1,"a\r\nb"\r\n2,c\r\n', [b'1,"a\r\nb"', b"2,c"]),
        (b'"a\n\n",1\n2,c', [b'"a\n\n",1', b"2,c"]),
        (b'1,"say ""hi""\nbye"\n2,c', [b'1,"say ""hi""\nbye"', b"2,c"]),
        (b'1,""\n2,c', [b'1,""', b"2,c"]),
        (b'1,"""\n"""\n2,c', [b'1,"""\n"""', b"2,c"]),
        (b'1,"a\nb","c\nd"\n2,c', [b'1,"a\nb","c\nd"', b"2,c"]),
        (b'\xef\xbb\xbf"i\nd",text\n1,a', [b'\xef\xbb\xbf"i\nd",text', b"1,a"]),
    ],
)
def test_a_quoted_line_break_does_not(content: bytes, expected: list[bytes]) -> None:
    """In CSV a field between double quotes may hold line breaks and doubled quotes."""
    assert contents(content, is_quoted=True) == expected


@pytest.mark.parametrize(
    "first", [b'1,5" \xed\x99\x94\xeb\xa9\xb4', b'1,a"b', b'1,a "b" c"', b'1,"closed"x"', b'1,"never closed', b'"']
)
def test_a_stray_quote_costs_its_own_line_only(first: bytes) -> None:
    """A quote inside a field, or one that is never closed, does not swallow the lines after it."""
    assert contents(first + b'\n2,b\n3,"c"\n', is_quoted=True) == [first, b"2,b", b'3,"c"']


def test_a_quote_closed_by_a_far_one_costs_its_own_line_only() -> None:
    """The opening quote of a later field is no proper end of an earlier one."""
    assert contents(b'1,"open\n2,b\n3,"c"\n4,d\n', is_quoted=True) == [b'1,"open', b"2,b", b'3,"c"', b"4,d"]


def test_places_and_lines_of_records() -> None:
    """Each record tells its bytes, line ends included, and its lines."""
    found = records(b'a\r\n"b\nc"\n\nd', is_quoted=True)
    assert [(each.start, each.end, each.line, each.last_line) for each in found] == [
        (0, 3, 1, 1),
        (3, 9, 2, 3),
        (9, 10, 4, 4),
        (10, 11, 5, 5),
    ]


def test_an_overlong_line_is_skipped_with_its_place() -> None:
    """A line over the limit has no content; those around it are read."""
    found = records(b"a\n" + b"x" * 50 + b"\nb\n", max_bytes=10)
    assert [(each.content, each.start, each.end, each.line) for each in found] == [
        (b"a", 0, 2, 1),
        (None, 2, 53, 2),
        (b"b", 53, 55, 3),
    ]


def test_the_limit_counts_the_line_end() -> None:
    """A line of exactly the limit is read, one more byte is not."""
    assert contents(b"x" * 9 + b"\n" + b"y" * 10 + b"\n", max_bytes=10) == [b"x" * 9, None]


def test_an_overlong_last_line_without_end_is_skipped() -> None:
    """The end of the file ends a long line too."""
    assert contents(b"a\n" + b"x" * 50, max_bytes=10) == [b"a", None]


def test_a_quoted_field_over_the_limit_costs_its_lines_one_by_one() -> None:
    """A record that grows over the limit is given up; no line is lost without a record."""
    found = records(b'1,"' + b"a\n" * 20 + b'"\n2,b\n', is_quoted=True, max_bytes=16)
    assert [each.line for each in found] == list(range(1, 23))
    assert found[-1].content == b"2,b"


class Endless(io.RawIOBase):
    """A stream of one long line, made while it is read."""

    def __init__(self, size: int) -> None:
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        size = min(len(buffer), self._left)
        buffer[:size] = b"x" * size
        self._left -= size
        return size


def test_a_long_line_is_never_held_in_memory() -> None:
    """100 MB in one line pass through a few MB."""
    with io.BufferedReader(Endless(100_000_000)) as stream:
        tracemalloc.start()
        (only,) = iterate_records(stream, is_quoted=False, max_bytes=100_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (only.content, only.end) == (None, 100_000_000)
    assert peak < 8_000_000


@given(st.binary(max_size=200) | st.text('",\n\r가a', max_size=60).map(str.encode), st.booleans(), st.integers(1, 40))
def test_records_cover_the_stream_without_gap(content: bytes, is_quoted: bool, max_bytes: int) -> None:
    """Whatever the content, the records follow each other from the first byte and line to the last."""
    found = records(content, is_quoted=is_quoted, max_bytes=max_bytes)
    position, line = 0, 1
    for record in found:
        assert (record.start, record.line) == (position, line)
        assert record.end > record.start
        if record.content is not None:
            assert content[record.start : record.end].rstrip(b"\r\n") == record.content
        position, line = record.end, record.last_line + 1
    assert position == len(content)


@given(st.text('",\n가a', max_size=60), st.integers(0, 60))
def test_reading_on_from_any_record_gives_the_same_records(text: str, place: int) -> None:
    """A worker that begins at a record's start sees the records that the planner saw."""
    content = text.encode()
    found = records(content, is_quoted=True)
    for number, record in enumerate(found[:place]):
        rest = io.BytesIO(content[record.start :])
        again = iterate_records(rest, is_quoted=True, max_bytes=1000, first_line=record.line, start=record.start)
        assert list(again) == found[number:]


@given(st.text('",\n가a', max_size=60), st.integers(0, 60), st.integers(0, 60))
def test_records_do_not_depend_on_where_the_partition_ends(text: str, first: int, last: int) -> None:
    """A run of records cut out of the file holds the same records."""
    content = text.encode()
    run = records(content, is_quoted=True)[first:last]
    if run:
        cut = io.BytesIO(content[run[0].start : run[-1].end])
        again = iterate_records(cut, is_quoted=True, max_bytes=1000, first_line=run[0].line, start=run[0].start)
        assert list(again) == run


fields = st.text('",\n가a b', max_size=8)


@given(st.lists(st.tuples(fields, fields), max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_the_csv_module_wrote_is_read_row_by_row(
    rows: list[tuple[str, str]], line_end: str, quotes_all: bool
) -> None:
    """Every row of proper CSV is one record."""
    written = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if quotes_all else csv.QUOTE_MINIMAL
    csv.writer(written, lineterminator=line_end, quoting=quoting).writerows(rows)
    found = contents(written.getvalue().encode(), is_quoted=True)
    assert [tuple(next(csv.reader([(each or b"").decode()]))) for each in found] == rows
