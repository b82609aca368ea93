"""Reads the sources of a job once: checks every record and cuts the sources into spans for the workers.

What is wrong with a record is found here, so the number of documents is known before the first one is indexed, and
an identifier that stands twice is seen wherever its second place is. What the ledger knows already is found here too:
files that are as they were are not read, documents that are stored as they are go to no worker, and documents that
left their source are listed for removal.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Protocol

import orjson

from indexer_worker.conversion.failure import ConversionError
from indexer_worker.digests import content_digest, document_digest, signature_of
from indexer_worker.readers.byte_streams import READ_ERRORS, open_bytes, record_suffix
from indexer_worker.readers.converted import CONVERTED_SUFFIXES
from indexer_worker.readers.documents import RecordError, RecordFormat, record_format
from indexer_worker.readers.records import Record, iterate_records
from indexer_worker.scratch import Place, Scratch
from indexer_worker.sources import Fault, Listing, SourceFile, fault_of, fault_of_change, list_sources, source_of
from kosearch.documents import MAX_FIELDS_BYTES, Document
from kosearch.errors import InvalidRequestError, UnavailableError
from kosearch.field_kinds import FieldKinds
from kosearch.jobs import WHOLE_FILE, Job, Rejection, Source, Span
from kosearch.ledger import KnownDocument, KnownFile, PlannedSpan
from kosearch.settings import WorkerSettings
from kosearch.source_paths import pattern_of
from kosearch.vector_store import FieldType

# Records that are looked up in the ledger at once.
_RECORDS_AT_ONCE = 1000
_IDS_AT_ONCE = 5000
# So many faults are no faults of records: the file is something else than its name says.
_MAX_FAULTS_IN_FILE = 100_000


class PlanBook(Protocol):
    """Where a plan is written, and what is known from earlier jobs; see `kosearch.ledger.PlanWriter`."""

    def known_file(self, path: str) -> KnownFile | None: ...
    def known_files(self) -> Iterator[KnownFile]: ...
    def keep_file(self, known: KnownFile) -> int: ...
    def open_file(self, source: Source, signature: str) -> int: ...
    def known_documents(self, document_ids: Sequence[str]) -> dict[str, KnownDocument]: ...
    def claim_contents(self, wanted: Sequence[tuple[bytes, str]]) -> dict[str, str]: ...
    def documents_of_file(self, file_id: int) -> Iterator[str]: ...
    def add(self, spans: Sequence[PlannedSpan], rejections: Sequence[Rejection], unchanged: int) -> None: ...
    def remove(self, file_id: int, document_ids: Sequence[str]) -> None: ...
    def call_gone(self, file_id: int) -> None: ...


@dataclass(slots=True)
class Planned:
    """What a plan came to. `field_types`: payload indexes by field name; the rest counts."""

    spans: int = 0
    rejected: int = 0
    unchanged: int = 0
    removals: int = 0
    field_types: dict[str, FieldType] = field(default_factory=dict)


def plan_job(
    job: Job,
    settings: WorkerSettings,
    book: PlanBook,
    signature: str,
    retried: set[str] | None,
    check_lease: Callable[[], None],
) -> Planned:
    """Read the sources of the job and write its plan.

    signature: of all that, beside a document itself, decides about its points: the model and the way of chunking
    retried: the files that are to be read, all others are passed over; None: all
    check_lease: called every thousand records; what it raises ends the planning
    Raises UnavailableError when the disk of temporary files is full.
    """
    scratch = Scratch()
    try:
        return _Planner(job, settings, book, signature, scratch, check_lease).run(retried)
    except sqlite3.Error as error:
        raise UnavailableError(
            f"what a plan has to remember cannot be written ({error}); free some room where temporary files go "
            f"({tempfile.gettempdir()}; TMPDIR names another folder)"
        ) from error
    finally:
        scratch.close()


class _Planner:
    """The planning of one job."""

    def __init__(
        self,
        job: Job,
        settings: WorkerSettings,
        book: PlanBook,
        signature: str,
        scratch: Scratch,
        check_lease: Callable[[], None],
    ) -> None:
        self._job = job
        self._settings = settings
        self._book = book
        self._signature = signature
        self._scratch = scratch
        self._check_lease = check_lease
        self._kinds = FieldKinds()
        # By the ledger's numbers: files whose documents stay as they are, and files whose every document was seen.
        self._kept: dict[int, str] = {}
        self._read: list[int] = []
        self._planned = Planned()

    def run(self, retried: set[str] | None) -> Planned:
        """Plan all files, then what is to be removed."""
        listing = list_sources(self._job.paths, self._settings.roots)
        for file in listing:
            self._check_lease()
            self._scratch.add_path(str(file.path))
            if retried is None or str(file.path) in retried:
                self._plan_file(file)
            elif known := self._book.known_file(str(file.path)):
                # Nothing is to be done about it, and its documents are no other file's.
                self._kept[known.id] = known.path
        for fault in listing.faults:
            self._scratch.add_path(fault.path)
            self._reject_whole(fault)
        for file_id in self._read:
            self._plan_removals(file_id)
        if retried is None:
            self._plan_gone_files(listing)
        self._planned.field_types = self._kinds.types()
        return self._planned

    def _plan_file(self, file: SourceFile) -> None:
        """Plan a file; what is wrong with it as a whole becomes one rejection."""
        try:
            source = source_of(file.path)
            # Who wants equal content once has the contents of all files looked at, also of those stored before.
            options = ("unique",) if self._job.options.drops_duplicates else ()
            signature = signature_of(self._signature, orjson.dumps(self._job.fields).decode(), file.name, *options)
            known = self._book.known_file(str(file.path))
            if known and not self._job.options.rereads and _is_as_it_was(known, source, signature):
                self._keep(known)
                return
            record_reader = record_format(file.path, self._job.fields, file.name)
            self._plan_content(file, source, record_reader, self._book.open_file(source, signature))
        except ConversionError as error:
            self._reject_whole(Fault(str(file.path), error.reason, str(error)))
        except OSError as error:
            self._reject_whole(fault_of(file.path, error))
        except READ_ERRORS as error:
            self._reject_whole(Fault(str(file.path), "unreadable_file", f"cannot be read: {error}"))
        except InvalidRequestError as error:
            self._reject_whole(Fault(str(file.path), "unknown_format", str(error)))

    def _keep(self, known: KnownFile) -> None:
        self._planned.unchanged += self._book.keep_file(known)
        self._kept[known.id] = known.path

    def _plan_content(self, file: SourceFile, source: Source, record_reader: RecordFormat, file_id: int) -> None:
        if record_suffix(file.path) in CONVERTED_SUFFIXES:
            self._plan_converted(file, source, file_id)
            return
        scan = _SourceScan(file, source, record_reader, file_id, self)
        # Half of a damaged archive would look like success: nothing of it is written before its end was read.
        scan.run()
        fault = fault_of_change(source)
        if fault:
            self._reject_whole(fault)
            return
        self._write(scan.spans, scan.rejections, scan.unchanged)
        if not scan.has_nameless_rejections:
            self._read.append(file_id)

    def _plan_converted(self, file: SourceFile, source: Source, file_id: int) -> None:
        """Plan a file that is one document; reading it takes long, so that is left to the workers."""
        span = PlannedSpan(Span(source, 0, WHOLE_FILE, 1, 1, documents=1), file_id)
        place = self._scratch.places([file.name]).get(file.name)
        place = place or self._kept_place(self._book.known_documents([file.name]).get(file.name))
        if place is not None:
            detail = f"identifier {file.name!r} stands in {place.path} already; the first one is indexed"
            self._write([], [Rejection(str(source.path), 0, file.name, "duplicate_id", detail)], 0)
            return
        self._scratch.add_documents(str(source.path), [(file.name, 1)])
        self._write([span], [], 0)
        self._read.append(file_id)

    def _plan_removals(self, file_id: int) -> None:
        """List the documents of a file that stand in no source any more."""
        names = iter(self._book.documents_of_file(file_id))
        while some := list(islice(names, _IDS_AT_ONCE)):
            self._check_lease()
            gone = self._scratch.unknown(some)
            self._book.remove(file_id, gone)
            self._planned.removals += len(gone)

    def _plan_gone_files(self, listing: Listing) -> None:
        """List the documents of files that are gone from folders and patterns that were listed completely."""
        complete = [pattern_of(root) for root in self._job.paths if root not in listing.incomplete_roots]
        for known in self._book.known_files():
            path = Path(known.path)
            if not self._scratch.has_path(known.path) and any(pattern.matches(path) for pattern in complete):
                self._plan_removals(known.id)
                self._book.call_gone(known.id)

    def _reject_whole(self, fault: Fault) -> None:
        self._scratch.forget_documents(fault.path)
        self._write([], [Rejection(fault.path, 0, "", fault.reason, fault.detail)], 0)

    def _write(self, spans: Sequence[PlannedSpan], rejections: Sequence[Rejection], unchanged: int) -> None:
        self._book.add(spans, rejections, unchanged)
        self._planned.spans += len(spans)
        self._planned.rejected += len(rejections)
        self._planned.unchanged += unchanged

    # What the scan of a file asks

    def check_lease(self) -> None:
        """Raise when another worker plans the job now."""
        self._check_lease()

    @property
    def settings(self) -> WorkerSettings:
        """The limits."""
        return self._settings

    def judge(self, path: Path, file_id: int, found: Sequence["_Found"]) -> list["_Verdict"]:
        """Say of each document of a file what is to be done with it, in order."""
        ids = [each.document.id for each in found]
        known = self._book.known_documents(ids)
        places = self._scratch.places(ids)
        verdicts: list[_Verdict] = []
        first: dict[str, int] = {}
        wanted: list[tuple[bytes, str]] = []
        for each in found:
            document, before = each.document, known.get(each.document.id)
            place = places.get(document.id) or self._kept_place(before)
            if document.id in first:
                place = Place(str(path), first[document.id])
            if place is not None:
                verdicts.append(_duplicate(path, document, place))
                continue
            first[document.id] = each.record.line
            is_unchanged = _is_stored(before, document_digest(document, self._signature), file_id)
            verdicts.append(_Verdict(is_unchanged=is_unchanged))
            if self._job.options.drops_duplicates:
                wanted.append((content_digest(document), document.id))
        self._scratch.add_documents(str(path), first.items())
        return self._without_equal_content(found, verdicts, wanted)

    def _kept_place(self, known: KnownDocument | None) -> Place | None:
        """Return where a document stands that comes from a file whose documents stay as they are."""
        if known is None or known.is_deleted or known.file_id not in self._kept:
            return None
        return Place(self._kept[known.file_id], 0)

    def _without_equal_content(
        self, found: Sequence["_Found"], verdicts: list["_Verdict"], wanted: list[tuple[bytes, str]]
    ) -> list["_Verdict"]:
        if not wanted:
            return verdicts
        taken = self._book.claim_contents(wanted)
        return [
            _same_content(each.document, taken[each.document.id])
            if verdict.is_due and each.document.id in taken
            else verdict
            for each, verdict in zip(found, verdicts, strict=True)
        ]

    def note_fields(self, document: Document) -> None:
        """Take a sound document into the choice of payload indexes."""
        self._kinds.add(document)

    def mention(self, document_ids: Iterable[str]) -> None:
        """Remember documents that stand in a source but are left out: their earlier version stays."""
        self._scratch.mention(document_ids)


@dataclass(frozen=True, slots=True)
class _Found:
    """A sound document and its record, without its content."""

    record: Record
    document: Document


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What is to be done with a document: it is due to be stored, unless it is unchanged or wrong."""

    is_unchanged: bool = False
    error: RecordError | None = None
    is_document: bool = True

    @property
    def is_due(self) -> bool:
        """Tell whether a worker is to store it."""
        return self.is_document and not self.is_unchanged and self.error is None


_NO_DOCUMENT = _Verdict(is_document=False)


class _SourceScan:
    """The scan of one file of records."""

    def __init__(
        self, file: SourceFile, source: Source, record_reader: RecordFormat, file_id: int, planner: _Planner
    ) -> None:
        self.spans: list[PlannedSpan] = []
        self.rejections: list[Rejection] = []
        self.unchanged = 0
        self.has_nameless_rejections = False
        self._path = file.path
        self._source = source
        self._record_reader = record_reader
        self._file_id = file_id
        self._planner = planner
        self._span: _OpenSpan | None = None

    def run(self) -> None:
        """Read the file. Raises READ_ERRORS for a damaged one."""
        with open_bytes(self._path) as stream:
            records = iterate_records(
                stream,
                is_quoted=self._record_reader.is_quoted,
                max_bytes=self._planner.settings.max_line_bytes,
            )
            first = next(records, None)
            if first is None or not self._takes_header(first):
                self._reject_if_empty()
                return
            rest = records if self._is_header else chain((first,), records)
            while some := list(islice(rest, _RECORDS_AT_ONCE)):
                self._planner.check_lease()
                self._take(some)
                if len(self.rejections) > _MAX_FAULTS_IN_FILE:
                    raise InvalidRequestError(
                        f"{self._path.name}: {len(self.rejections):,} records cannot be read, the last one because "
                        f"{self.rejections[-1].detail}; is it what its suffix says?"
                    )
        self._close_span()
        self._reject_if_empty()
        self._planner.mention(each.document_id for each in self.rejections if each.document_id)

    _is_header = False

    def _takes_header(self, record: Record) -> bool:
        """Take the header where there is one; tell whether anything behind it can be read."""
        try:
            self._is_header = self._record_reader.takes_header(record)
        except RecordError as error:
            self._reject(record, error)
            return not self._record_reader.needs_header
        return True

    def _take(self, records: Sequence[Record]) -> None:
        found: list[_Found] = []
        faults: dict[int, RecordError] = {}
        for record in records:
            try:
                document = self._record_reader.document(record)
                if document is not None:
                    _check_fields(document)
                    found.append(_Found(record, document))
            except RecordError as error:
                faults[record.start] = error
        judged = self._planner.judge(self._path, self._file_id, found)
        verdicts = {each.record.start: verdict for each, verdict in zip(found, judged, strict=True)}
        for each, verdict in zip(found, judged, strict=True):
            if verdict.error is None:
                self._planner.note_fields(each.document)
        for record in records:
            verdict = verdicts.get(record.start, _NO_DOCUMENT)
            fault = faults.get(record.start) or verdict.error
            if fault:
                self._reject(record, fault)
            self.unchanged += verdict.is_unchanged
            self._add_to_span(record, is_due=verdict.is_due)

    def _add_to_span(self, record: Record, *, is_due: bool) -> None:
        # An overlong record stays outside: a worker reads a span whole. So does what comes before the first document.
        if record.content is not None and (self._span or is_due):
            self._span = self._span or _OpenSpan(self._source, record)
            self._span.add(record, is_due=is_due)
        if self._span and (record.content is None or self._span.is_full(self._planner.settings)):
            self._close_span()

    def _close_span(self) -> None:
        if self._span:
            self.spans.append(PlannedSpan(self._span.closed(), self._file_id))
        self._span = None

    def _reject_if_empty(self) -> None:
        if not (self.spans or self.rejections or self.unchanged):
            self.rejections.append(Rejection(str(self._path), 0, "", "empty_file", "holds no document"))

    def _reject(self, record: Record, error: RecordError) -> None:
        self.has_nameless_rejections |= not error.document_id
        self.rejections.append(Rejection(str(self._path), record.line, error.document_id, error.reason, str(error)))


class _OpenSpan:
    """A span that is being filled; it ends with the last document that is to be indexed."""

    def __init__(self, source: Source, first: Record) -> None:
        self._source = source
        self._first = first
        self._last = self._end = first
        self._documents = 0

    def add(self, record: Record, *, is_due: bool) -> None:
        """Take the next record."""
        self._end = record
        if is_due:
            self._last = record
            self._documents += 1

    def is_full(self, settings: WorkerSettings) -> bool:
        """Tell whether the span is as large as a partition may be."""
        return (
            self._documents >= settings.partition_documents
            or self._end.end - self._first.start >= settings.partition_bytes
        )

    def closed(self) -> Span:
        """Return the span."""
        first, last = self._first, self._last
        return Span(self._source, first.start, last.end, first.line, last.last_line, self._documents)


def _is_as_it_was(known: KnownFile, source: Source, signature: str) -> bool:
    then = (known.size, known.mtime_ns, known.signature)
    return known.is_complete and then == (source.size, source.mtime_ns, signature)


def _is_stored(known: KnownDocument | None, digest: bytes, file_id: int) -> bool:
    return known is not None and known.chunks > 0 and (known.digest, known.file_id) == (digest, file_id)


def _duplicate(path: Path, document: Document, place: Place) -> _Verdict:
    where = f"line {place.line}" if place.path == str(path) else place.path
    if place.line and place.path != str(path):
        where = f"line {place.line} of {place.path}"
    detail = f"identifier {document.id!r} stands in {where} already; the first one is indexed"
    return _Verdict(error=RecordError("duplicate_id", detail, document.id))


def _same_content(document: Document, owner: str) -> _Verdict:
    detail = f"title and text are those of {owner!r}, which is stored"
    return _Verdict(error=RecordError("duplicate_content", detail, document.id))


def _check_fields(document: Document) -> None:
    size = len(orjson.dumps(document.fields)) if document.fields else 0
    if size > MAX_FIELDS_BYTES:
        raise RecordError(
            "fields_too_large",
            f"its fields beside text and title have {size:,} bytes, and every chunk carries them: at most "
            f"{MAX_FIELDS_BYTES:,}; name the long one with --text-field, or leave it out",
            document.id,
        )
