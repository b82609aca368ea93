"""`python -m indexer_worker.conversion.parquet FILE`: the rows of a Parquet file as JSON lines on standard output.

Exit code 0: all rows were written. Otherwise the last line of standard error is JSON with `reason` and `detail`.
"""

import os
import resource
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson

from indexer_worker.conversion.failure import ConversionError, Reason

_MAX_MEMORY_BYTES = 4 << 30
# Rows are read so many at once that they have about these bytes, by the average of their row group.
_BATCH_BYTES = 8 << 20
_MAX_BATCH_ROWS = 1024
_BUFFER_BYTES = 1 << 20
_MAX_INTEGER = 1 << 63
# A row with a text that is no UTF-8, or a date that no calendar has, is refused by its line.
_UNREADABLE_ROW = b"\xff\n"


def main() -> int:
    """Write the rows, within limits of memory and files. Returns the exit code."""
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a reader has nothing to write
    # Arrow's own allocators reserve address space far beyond what they use.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
    path = Path(sys.argv[1])
    try:
        for lines in rows_as_lines(path):
            sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    except ConversionError as error:
        return _fail(error.reason, str(error))
    except MemoryError:
        return _fail(Reason.TOO_LARGE, f"{path.name} has rows too large to read")
    except BrokenPipeError:  # whoever read has enough
        os._exit(0)  # without another try to write
    return 0


def rows_as_lines(path: Path) -> Iterator[bytes]:
    """Yield the rows of a file, many lines at once. Raises ConversionError.

    Dates and times become ISO 8601, decimals numbers, maps lists of pairs. Binary values are left out.
    """
    pyarrow, parquet = _library()
    try:
        with parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            for group in range(file.num_row_groups):
                rows = _rows_at_once(file.metadata.row_group(group))
                for batch in file.iter_batches(rows, row_groups=[group], use_threads=False):
                    yield b"".join(_lines(pyarrow, batch))
    except (pyarrow.ArrowMemoryError, MemoryError) as error:
        raise ConversionError(Reason.TOO_LARGE, f"{path.name} has rows too large to read ({error})") from error
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        what = " ".join(str(error).split())[:200]
        if "crypt" in what.lower():
            raise ConversionError(Reason.ENCRYPTED, f"{path.name} is encrypted; write it without keys") from error
        raise ConversionError(Reason.DAMAGED, f"{path.name} is no Parquet file, or damaged ({what})") from error


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise ConversionError(
            Reason.NOT_INSTALLED,
            "Parquet files need the library pyarrow where the workers run: pip install 'kosearch[parquet]'",
        ) from error
    return pyarrow, parquet


def _rows_at_once(group: Any) -> int:
    row_bytes = max(1, group.total_byte_size // max(1, group.num_rows))
    return int(max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // row_bytes)))


def _lines(pyarrow: Any, batch: Any) -> Iterator[bytes]:
    kept = [index for index, field in enumerate(batch.schema) if not _is_binary(pyarrow, field.type)]
    names = [batch.schema.field(index).name for index in kept]
    columns = [_column(pyarrow, batch.column(index)) for index in kept]
    try:
        values = [column.to_pylist() for column in columns]
    except (ValueError, OverflowError):  # one value among thousands
        for index in range(batch.num_rows):
            with suppress(ValueError, OverflowError):
                yield _line(names, [column[index].as_py() for column in columns])
                continue
            yield _UNREADABLE_ROW
        return
    if not values:
        yield from [b"{}\n"] * batch.num_rows
    for row in zip(*values, strict=True):
        yield _line(names, row)


def _line(names: Sequence[str], row: Sequence[Any]) -> bytes:
    return orjson.dumps(dict(zip(names, map(_json_value, row), strict=True)), default=_plain) + b"\n"


def _json_value(value: Any) -> Any:
    """Return a value without the binary ones in it."""
    match value:
        case dict():
            return {name: _json_value(inner) for name, inner in value.items() if not isinstance(inner, bytes)}
        case list():
            return [_json_value(inner) for inner in value if not isinstance(inner, bytes)]
        case tuple():
            return [None if isinstance(inner, bytes) else _json_value(inner) for inner in value]
        case _:
            return value


def _plain(value: Any) -> Any:
    match value:
        case Decimal():
            is_integer = abs(value) < _MAX_INTEGER and value == value.to_integral_value()
            return int(value) if is_integer else float(value)
        case timedelta():
            return value.total_seconds()
        case _:
            return str(value)


def _column(pyarrow: Any, column: Any) -> Any:
    """Return a column whose times have microseconds, as Python's have, in a zone that this machine knows."""
    wanted = _known_type(pyarrow, column.type)
    return column if wanted == column.type else column.cast(wanted, safe=False)


def _known_type(pyarrow: Any, kind: Any) -> Any:
    types = pyarrow.types
    known = kind
    if types.is_timestamp(kind):
        known = pyarrow.timestamp("us", _known_zone(pyarrow, kind.tz))
    elif types.is_time64(kind):
        known = pyarrow.time64("us")
    elif types.is_duration(kind):
        known = pyarrow.duration("us")
    elif types.is_dictionary(kind):
        known = _known_type(pyarrow, kind.value_type)
    elif types.is_list(kind) or types.is_large_list(kind):
        make = pyarrow.list_ if types.is_list(kind) else pyarrow.large_list
        known = make(kind.value_field.with_type(_known_type(pyarrow, kind.value_type)))
    elif types.is_struct(kind):
        known = pyarrow.struct([field.with_type(_known_type(pyarrow, field.type)) for field in kind])
    return known


def _known_zone(pyarrow: Any, zone: str | None) -> str | None:
    if zone is None:
        return None
    try:
        pyarrow.lib.string_to_tzinfo(zone)
    except (KeyError, ValueError, OSError):
        return "UTC"
    return zone


def _is_binary(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _fail(reason: Reason, detail: str) -> int:
    sys.stderr.buffer.write(b"\n" + orjson.dumps({"reason": reason.value, "detail": detail}) + b"\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
