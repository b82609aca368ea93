"""Reads the sources of a job once: checks every record and cuts the sources into spans for the workers.

What is wrong with a record is found here, so the number of documents is known before the first one is indexed, and
an identifier that stands twice is seen wherever its second place is.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexer_worker.conversion.failure import ConversionError
from indexer_worker.readers.byte_streams import READ_ERRORS, open_bytes
from indexer_worker.readers.documents import RecordError, RecordFormat, record_format
from indexer_worker.readers.records import Record, iterate_records
from indexer_worker.sources import files_of, name_of
from kosearch.documents import Document
from kosearch.errors import InvalidRequestError
from kosearch.jobs import Job, Rejection, Source, SourceFields, Span
from kosearch.settings import WorkerSettings
from kosearch.vector_store import FieldType, has_field_path

# Fields get a payload index, so that a filter on them is fast; these many documents decide which and of what kind.
_SAMPLED_DOCUMENTS = 1000
_MAX_INDEXED_FIELDS = 16
# A longer text is content, not a category that one filters by.
_MAX_KEYWORD_CHARACTERS = 64
_RECORDS_PER_CHECK = 10_000


@dataclass(slots=True)
class Plan:
    """What is to be done for a job: spans in order, rejections by file and line, payload indexes by field name."""

    spans: list[Span] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    field_types: dict[str, FieldType] = field(default_factory=dict)


def plan_job(job: Job, settings: WorkerSettings, check_lease: Callable[[], None]) -> Plan:
    """Read every source of the job. `check_lease` is called every few thousand records; what it raises ends it."""
    plan, kinds = Plan(), FieldKinds()
    places: dict[str, tuple[Path, int]] = {}

    def note_unreadable(error: OSError) -> None:
        plan.rejections.append(_whole_file(Path(error.filename), "unreadable_folder", f"cannot be read: {error}"))

    for path in files_of(job.paths, note_unreadable):
        scan = _SourceScan(path, name_of(path, job.paths), settings, places, kinds, check_lease)
        try:
            scan.run(job.fields)
        except ConversionError as error:
            plan.rejections.append(_whole_file(path, error.reason, str(error)))
        except READ_ERRORS as error:
            # Half of a damaged archive would look like success: the whole file stays out.
            plan.rejections.append(_whole_file(path, "unreadable_file", f"cannot be read: {error}"))
        except InvalidRequestError as error:
            plan.rejections.append(_whole_file(path, "unknown_format", str(error)))
        else:
            plan.spans += scan.spans
            plan.rejections += scan.rejections
            places |= scan.places
    if not (plan.spans or plan.rejections):
        plan.rejections += [_whole_file(path, "empty_folder", "holds no file") for path in job.paths]
    plan.field_types = kinds.types()
    return plan


def source_of(path: Path) -> Source:
    """Return the file as it is now. Raises OSError."""
    status = path.stat()
    return Source(path, status.st_size, status.st_mtime_ns)


class _SourceScan:
    """The scan of one file."""

    def __init__(
        self,
        path: Path,
        name: str,
        settings: WorkerSettings,
        earlier_places: dict[str, tuple[Path, int]],
        kinds: "FieldKinds",
        check_lease: Callable[[], None],
    ) -> None:
        self.spans: list[Span] = []
        self.rejections: list[Rejection] = []
        self.places: dict[str, tuple[Path, int]] = {}
        self._path = path
        self._name = name
        self._settings = settings
        self._earlier_places = earlier_places
        self._kinds = kinds
        self._check_lease = check_lease

    def run(self, fields: SourceFields) -> None:
        """Read the file. Raises InvalidRequestError for an unknown format and READ_ERRORS for a damaged file."""
        record_reader = record_format(self._path, fields, self._name)
        source = source_of(self._path)
        is_blank, is_header_due = True, True
        span: _OpenSpan | None = None
        with open_bytes(self._path) as stream:
            records = iterate_records(
                stream, is_quoted=record_reader.is_quoted, max_bytes=self._settings.max_line_bytes
            )
            for count, record in enumerate(records, start=1):
                if count % _RECORDS_PER_CHECK == 0:
                    self._check_lease()
                is_blank = False
                if is_header_due:
                    is_header_due = False
                    if self._is_header(record_reader, record):
                        continue
                    if self.rejections and record_reader.needs_header:
                        return
                is_document = self._is_document(record_reader, record)
                # An overlong record stays outside: a worker reads a span whole.
                if record.content is not None:
                    span = span or _OpenSpan(source, record)
                    span.add(record, is_document)
                if span and (record.content is None or span.is_full(self._settings)):
                    self.spans += span.closed()
                    span = None
        self.spans += span.closed() if span else []
        if is_blank or not (self.spans or self.rejections):
            self.rejections.append(_whole_file(self._path, "empty_file", "holds no document"))

    def _is_header(self, record_reader: RecordFormat, record: Record) -> bool:
        try:
            return record_reader.takes_header(record)
        except RecordError as error:
            self._reject(record, error)
            return False

    def _is_document(self, record_reader: RecordFormat, record: Record) -> bool:
        """Tell whether the record is to be indexed; what is wrong with it becomes a rejection."""
        try:
            document = record_reader.document(record)
            if document is None:
                return False
            self._check_unique(document, record)
        except RecordError as error:
            self._reject(record, error)
            return False
        self._kinds.add(document)
        return True

    def _check_unique(self, document: Document, record: Record) -> None:
        path, line = self.places.get(document.id) or self._earlier_places.get(document.id) or (None, 0)
        if path is not None:
            where = f"line {line}" + ("" if path == self._path else f" of {path}")
            raise RecordError(
                "duplicate_id",
                f"identifier {document.id!r} stands in {where} already; the first one is indexed",
                document.id,
            )
        self.places[document.id] = (self._path, record.line)

    def _reject(self, record: Record, error: RecordError) -> None:
        self.rejections.append(Rejection(str(self._path), record.line, error.document_id, error.reason, str(error)))


class _OpenSpan:
    """A span that is being filled."""

    def __init__(self, source: Source, first: Record) -> None:
        self._source = source
        self._first = first
        self._last = first
        self._documents = 0

    def add(self, record: Record, is_document: bool) -> None:
        """Take the next record."""
        self._last = record
        self._documents += is_document

    def is_full(self, settings: WorkerSettings) -> bool:
        """Tell whether the span is as large as a partition may be."""
        return (
            self._documents >= settings.partition_documents
            or self._last.end - self._first.start >= settings.partition_bytes
        )

    def closed(self) -> list[Span]:
        """Return the span, unless nothing in it is to be indexed."""
        if not self._documents:
            return []
        first, last = self._first, self._last
        return [Span(self._source, first.start, last.end, first.line, last.last_line, self._documents)]


class FieldKinds:
    """Finds out which fields can be filtered by, from the first documents of a job."""

    def __init__(self) -> None:
        self._kinds: dict[str, FieldType | None] = {}
        self._seen = 0

    def add(self, document: Document) -> None:
        """Look at a document; only the first ones count."""
        if self._seen >= _SAMPLED_DOCUMENTS:
            return
        self._seen += 1
        for name, value in document.fields.items():
            if value is None:
                continue
            kind = _kind(value)
            known = self._kinds.setdefault(name, kind)
            if {known, kind} == {"integer", "float"}:
                self._kinds[name] = "float"
            elif known != kind:
                self._kinds[name] = None

    def types(self) -> dict[str, FieldType]:
        """Return the payload index of each field that is to have one, in the order of first appearance."""
        kinds = {name: kind for name, kind in self._kinds.items() if kind and has_field_path(name)}
        return dict(list(kinds.items())[:_MAX_INDEXED_FIELDS])


def _kind(value: Any) -> FieldType | None:
    match value:
        case bool():
            return "bool"
        case int():
            return "integer"
        case float():
            return "float"
        case str() if len(value) <= _MAX_KEYWORD_CHARACTERS:
            return "keyword"
        case [*items] if items and all(
            isinstance(item, str) and len(item) <= _MAX_KEYWORD_CHARACTERS for item in items
        ):
            return "keyword"
        case _:
            return None


def _whole_file(path: Path, reason: str, detail: str) -> Rejection:
    return Rejection(str(path), 0, "", reason, detail)
