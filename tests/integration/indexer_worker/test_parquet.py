"""Parquet files, through the process that reads them."""

import datetime
import random
import sys
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest

from indexer_worker.conversion import parquet as conversion
from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers.byte_streams import ForwardReader, open_bytes
from indexer_worker.sources import source_of

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, table: Any, **options: Any) -> Path:
    pq.write_table(table, path, **options)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    with open_bytes(path) as stream:
        return [orjson.loads(line) for line in stream]


def refused(path: Path) -> Reason:
    with pytest.raises(ConversionError) as caught:
        read(path)
    assert path.name in str(caught.value)
    return caught.value.reason


@pytest.fixture
def laws(tmp_path: Path) -> Path:
    """Ten thousand rows in three row groups."""
    rows = range(10_000)
    table = pa.table({"id": [f"민법-{n}" for n in rows], "text": [f"제{n}조" for n in rows], "year": list(rows)})
    return write(tmp_path / "laws.parquet", table, row_group_size=4000)


def test_a_row_is_a_json_object(laws: Path) -> None:
    """In order, over all row groups."""
    assert read(laws) == [{"id": f"민법-{n}", "text": f"제{n}조", "year": n} for n in range(10_000)]


def test_ranges_of_the_stream_are_read_as_of_any_file(laws: Path) -> None:
    """A worker takes the part of the rows that is its own, forward and backward."""
    with open_bytes(laws) as stream:
        content = stream.read()
    source, reader = source_of(laws), ForwardReader()
    for start, end in [(0, 100), (5000, 6000), (20, 40), (len(content) - 5, len(content))]:
        assert reader.read(source, start, end) == content[start:end]
    reader.close()


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["가", None], "string", ["가", None]),
        (["가", "나"], pa.dictionary(pa.int8(), pa.string()), ["가", "나"]),
        ([True, None], "bool_", [True, None]),
        ([2**64 - 1], "uint64", [2**64 - 1]),
        ([1.5, float("nan"), float("inf")], "float64", [1.5, None, None]),
        ([Decimal("1.50"), Decimal("2.00")], pa.decimal128(9, 2), [1.5, 2]),
        ([Decimal(10**30)], pa.decimal128(38, 0), [1e30]),
        ([datetime.date(2024, 1, 31)], "date32", ["2024-01-31"]),
        ([datetime.datetime(2024, 1, 31, 9, 30)], pa.timestamp("ns"), ["2024-01-31T09:30:00"]),  # noqa: DTZ001
        ([0], pa.timestamp("ms", "Asia/Seoul"), ["1970-01-01T09:00:00+09:00"]),
        ([0], pa.timestamp("ms", "Nowhere/Land"), ["1970-01-01T00:00:00+00:00"]),
        ([datetime.time(9, 30)], pa.time64("ns"), ["09:30:00"]),
        ([datetime.timedelta(seconds=90)], pa.duration("us"), [90.0]),
        ([["a", None], []], pa.list_(pa.string()), [["a", None], []]),
        ([{"a": 1, "b": b"x"}], pa.struct({"a": pa.int64(), "b": pa.binary()}), [{"a": 1}]),
        (
            [[{"t": datetime.datetime(2024, 1, 31)}]],  # noqa: DTZ001
            pa.list_(pa.struct({"t": pa.timestamp("ns")})),
            [[{"t": "2024-01-31T00:00:00"}]],
        ),
        ([[("a", 1)]], pa.map_(pa.string(), pa.int64()), [[["a", 1]]]),
        ([None, None], pa.null(), [None, None]),
    ],
)
def test_values_are_json(values: list[Any], kind: Any, expected: list[Any], tmp_path: Path) -> None:
    """Dates and times in ISO 8601; what JSON has no word for is null."""
    column = pa.array(values, getattr(pa, kind)() if isinstance(kind, str) else kind)
    path = write(tmp_path / "a.parquet", pa.table({"value": column}))
    lines = b"".join(conversion.rows_as_lines(path)).splitlines()
    assert [orjson.loads(line)["value"] for line in lines] == expected


def test_binary_columns_are_left_out(tmp_path: Path) -> None:
    """Pictures and sounds of a data set are no text."""
    table = pa.table({"id": ["1"], "image": [b"\x89PNG"], "text": ["글"]})
    assert read(write(tmp_path / "a.parquet", table)) == [{"id": "1", "text": "글"}]


def test_a_value_that_cannot_be_read_costs_its_own_row(tmp_path: Path) -> None:
    """It is refused by its line as what is no UTF-8."""
    texts = pa.array([b"a", b"\xff", b"b"], pa.binary()).view(pa.string())
    lines = b"".join(conversion.rows_as_lines(write(tmp_path / "a.parquet", pa.table({"text": texts}))))
    assert lines == b'{"text":"a"}\n\xff\n{"text":"b"}\n'


def test_an_empty_table_has_no_row(tmp_path: Path) -> None:
    """It is no fault of the file."""
    assert read(write(tmp_path / "a.parquet", pa.table({"text": pa.array([], pa.string())}))) == []


def test_a_damaged_file_is_refused_with_its_reason(laws: Path) -> None:
    """Cut off, emptied, another format, or with a flipped byte: a reason or rows, and no crash."""
    whole, dice = laws.read_bytes(), random.Random(3)
    for content in (b"", b"PAR1", b"id,text\n", whole[:-10], whole[: len(whole) // 2]):
        laws.write_bytes(content)
        assert refused(laws) is Reason.DAMAGED
    for _ in range(4):
        flipped = bytearray(whole)
        flipped[dice.randrange(len(whole))] ^= 0xFF
        laws.write_bytes(flipped)
        with suppress(ConversionError):
            read(laws)


def test_without_its_library_the_message_says_what_to_install(laws: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow is an extra: it is larger than everything else together."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConversionError, match=r"kosearch\[parquet\]") as caught:
        list(conversion.rows_as_lines(laws))
    assert caught.value.reason is Reason.NOT_INSTALLED


def test_a_reader_that_is_closed_early_leaves_no_process(laws: Path) -> None:
    """Who has seen enough ends it."""
    stream = open_bytes(laws)
    assert stream.readline()
    stream.close()
