"""From records to documents, for each format."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from indexer_worker.readers.byte_streams import record_suffix
from indexer_worker.readers.converted import CONVERTED_SUFFIXES
from indexer_worker.readers.parquet import PARQUET_SUFFIX
from indexer_worker.readers.records import Record
from kosearch.documents import MAX_ID_BYTES, Document
from kosearch.errors import InvalidRequestError
from kosearch.jobs import SourceFields
from kosearch.text import clean

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# Payloads and answers travel as protobuf: 64-bit integers, and three messages for each level of at most a hundred.
_INTEGERS = range(-(1 << 63), 1 << 63)
_MAX_LEVELS = 20


class RecordError(Exception):
    """A record that is left out; `reason` is a stable word, the message says what is wrong."""

    def __init__(self, reason: str, detail: str, document_id: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.document_id = document_id


class RecordFormat(Protocol):
    """How records of one file become documents."""

    @property
    def is_quoted(self) -> bool:
        """Tell whether a record may hold line breaks between double quotes."""

    @property
    def needs_header(self) -> bool:
        """Tell whether nothing can be read without the header."""

    def takes_header(self, record: Record) -> bool:
        """Take the file's first record as its header, if the format has one; it is no document then."""

    def document(self, record: Record) -> Document | None:
        """Return the record's document; None for a blank line. Raises RecordError."""


class _WithoutHeader:
    """A format whose first line is a document, and whose records are lines."""

    is_quoted = False
    needs_header = False

    def takes_header(self, record: Record) -> bool:
        """Return False: the first line is a document."""
        return False


@dataclass(slots=True)
class JsonlFormat(_WithoutHeader):
    """One JSON object a line."""

    fields: SourceFields

    def document(self, record: Record) -> Document | None:
        """Read an object with the named keys; the other keys become the document's fields."""
        text = _decoded(record)
        if not text.strip():
            return None
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise RecordError("malformed_json", f"not JSON: {error}") from error
        if not isinstance(value, dict):
            raise RecordError("malformed_json", f"a JSON object is wanted, not {type(value).__name__}")
        return _document_from_fields(value, self.fields)


@dataclass(slots=True)
class TableFormat:
    """CSV (comma, double quotes) or TSV (tab, no quoting, as KorSTS and KorNLI are) with a header line."""

    fields: SourceFields
    delimiter: str
    is_quoted: bool
    needs_header: bool = True
    columns: Sequence[str] = ()

    def takes_header(self, record: Record) -> bool:
        """Take the column names. Raises RecordError when identifier or text have no column."""
        self.columns = [clean(name) for name in self._row(record)]
        for names, option in (((self.fields.id,), "--id-field"), (self.fields.texts, "--text-field")):
            if not any(name in self.columns for name in names):
                name = " or ".join(names)
                raise RecordError(
                    "missing_field", f"no column {name!r} among {', '.join(self.columns)}; name it with {option}"
                )
        return True

    def document(self, record: Record) -> Document | None:
        """Read a row; the columns without a role become the document's fields."""
        row = self._row(record)
        if not any(row):
            return None
        if len(row) != len(self.columns):
            raise RecordError("wrong_column_count", f"{len(row)} columns where the header has {len(self.columns)}")
        return _document_from_fields(dict(zip(self.columns, row, strict=True)), self.fields)

    def _row(self, record: Record) -> list[str]:
        text = _decoded(record)
        if not self.is_quoted:
            return text.split(self.delimiter)
        # The csv module refuses fields over 128 KiB until told otherwise, for the whole process.
        csv.field_size_limit(max(csv.field_size_limit(), len(text)))
        try:
            # One record is one item: csv would split a text at each of Unicode's line ends, and all but the first
            # part would be lost.
            rows = list(csv.reader([text], delimiter=self.delimiter, strict=True))
        except csv.Error as error:
            raise RecordError("malformed_csv", f"not CSV: {error}") from error
        return rows[0] if rows else []


@dataclass(slots=True)
class ConvertedFormat(_WithoutHeader):
    """One document a file, which `open_converted` has made a line of JSON; its identifier is the file's name."""

    name: str

    def document(self, record: Record) -> Document | None:
        """Read the line."""
        value = orjson.loads(_decoded(record))
        return _document_from_fields({**value, "id": self.name}, SourceFields())


@dataclass(slots=True)
class LineFormat(_WithoutHeader):
    """One document a line, without fields; its identifier is `<file name>:<line>`."""

    name: str

    def document(self, record: Record) -> Document | None:
        """Read the line as the text."""
        text = clean(_decoded(record))
        return Document(id=f"{self.name}:{record.line}", text=text) if text else None


def record_format(path: Path, fields: SourceFields, name: str = "") -> RecordFormat:
    """Return the format of a file by its suffix. Raises InvalidRequestError for an unknown one.

    name: what identifiers begin with where records have none; empty takes the file's
    """
    name = name or clean(path.name)
    match record_suffix(path):
        case ".jsonl" | ".ndjson" | ".json":
            return JsonlFormat(fields)
        case ".csv":
            return TableFormat(fields, ",", is_quoted=True)
        case ".tsv":
            return TableFormat(fields, "\t", is_quoted=False)
        case ".txt":
            return LineFormat(name)
        case suffix if suffix in CONVERTED_SUFFIXES and suffix == path.suffix.lower():
            return ConvertedFormat(name)
        case suffix if suffix == PARQUET_SUFFIX == path.suffix.lower():
            return JsonlFormat(fields)
        case suffix:
            raise InvalidRequestError(
                f"{path.name}: unknown format {suffix!r}; .jsonl, .json, .csv, .tsv and .txt can be read, also as .zst "
                f"or .gz, and {', '.join((PARQUET_SUFFIX, *CONVERTED_SUFFIXES))}"
            )


def _decoded(record: Record) -> str:
    if record.content is None:
        raise RecordError(
            "line_too_long",
            f"the line has {record.end - record.start:,} bytes; raise KOSEARCH_WORKER__MAX_LINE_BYTES to read it",
        )
    content = record.content.removeprefix(_BYTE_ORDER_MARK) if record.start == 0 else record.content
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(
            "invalid_utf8", f"byte {error.start} is not UTF-8 ({error.reason}); convert the file"
        ) from error


def _document_from_fields(value: dict[str, Any], fields: SourceFields) -> Document:
    value = _storable(value)
    document_id = value.pop(fields.id, None)
    if isinstance(document_id, bool) or not isinstance(document_id, str | int) or document_id == "":
        raise RecordError("missing_field", f"field {fields.id!r} (the identifier) is missing or is no text or number")
    document_id = str(document_id)
    if not 0 < len(document_id.encode()) <= MAX_ID_BYTES:
        raise RecordError("bad_id", f"an identifier has 1 to {MAX_ID_BYTES} bytes", document_id[:64])
    parts = [value.pop(name, None) for name in fields.texts]
    texts = [part for part in parts if isinstance(part, str)]
    if not texts:
        raise RecordError("missing_field", f"field {fields.text!r} (the text) is missing or is no text", document_id)
    text = "\n\n".join(filter(None, texts))
    if not text:
        raise RecordError("empty_text", f"field {fields.text!r} (the text) is empty", document_id)
    title = value.pop(fields.title, None)
    return Document(document_id, text, title if isinstance(title, str) else "", value)


def _storable(value: Any, level: int = 0) -> Any:
    """Return a JSON value as the payload holds it: keys and texts in NFC, so that what is typed today finds them."""
    if level > _MAX_LEVELS:
        raise RecordError("nested_too_deep", f"values are nested more than {_MAX_LEVELS} levels deep")
    match value:
        case str():
            return clean(value)
        case dict():
            return {clean(key): _storable(inner, level + 1) for key, inner in value.items()}
        case list():
            return [_storable(inner, level + 1) for inner in value]
        case int() if value not in _INTEGERS:
            return float(value)
        case _:
            return value
