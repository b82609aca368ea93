"""What a planner reads from the ledger and writes into it; nobody works on a plan before it is finished."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import orm

from kosearch.job_states import finish_plan
from kosearch.jobs import Job, PartitionState, Rejection, Source, Span
from kosearch.ledger.database import Database
from kosearch.ledger.documents import (
    KnownDocument,
    claim_contents,
    collection_id,
    document_key,
    forget_documents,
    is_there,
    known_documents,
    stored_chunks,
)
from kosearch.ledger.rows import (
    has_open_partitions,
    has_rest,
    job_row,
    job_status,
    rejection_values,
    write_job,
)
from kosearch.ledger.tables import GONE, DocumentRow, FileRow, JobRow, PartitionRow, RejectionRow, RemovalRow

_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as the last job that read it found it; see `tables.FileRow`."""

    id: int
    path: str
    size: int
    mtime_ns: int
    signature: str
    job_number: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class PlannedSpan:
    """A span with the ledger's number of its file."""

    span: Span
    file_id: int


class PlanWriter:
    """The plan of one job in the hands of one planner; every method is a transaction that checks its lease.

    Raises LeaseLostError when another planner took over or the job was cancelled.
    """

    def __init__(self, database: Database, clock: Callable[[], float], job: Job, owner: str) -> None:
        self._database = database
        self._clock = clock
        self._job = job
        self._owner = owner
        with self._database.session() as session:
            self._collection = collection_id(session, job.collection)

    def begin(self) -> None:
        """Drop what an earlier planner of the job left."""
        with self._database.session() as session:
            row = self._checked_row(session)
            row.documents_unchanged = 0
            for table in (PartitionRow, RejectionRow, RemovalRow):
                session.execute(sa.delete(table).where(table.job_number == self._job.number))

    def stored_chunks(self) -> int:
        """Return how many chunks the store should have at least."""
        with self._database.session() as session:
            return stored_chunks(session, self._collection)

    def forget_documents(self) -> None:
        """Forget what is said to be in the collection, because it is not."""
        with self._database.session() as session:
            self._checked_row(session)
            forget_documents(session, self._collection)
            files = sa.update(FileRow).where(FileRow.collection_id == self._collection)
            session.execute(files.values(is_complete=False))

    def known_file(self, path: str) -> KnownFile | None:
        """Return what is known of a file."""
        with self._database.session() as session:
            row = session.scalar(
                sa.select(FileRow).where(FileRow.collection_id == self._collection, FileRow.path == path)
            )
            return None if row is None else _known_file(row)

    def known_files(self) -> Iterator[KnownFile]:
        """Yield all files of the collection, by number."""
        last_id = 0
        while True:
            with self._database.session() as session:
                query = sa.select(FileRow).where(FileRow.collection_id == self._collection, FileRow.id > last_id)
                rows = [_known_file(row) for row in session.scalars(query.order_by(FileRow.id).limit(_ROWS_AT_ONCE))]
            if not rows:
                return
            yield from rows
            last_id = rows[-1].id

    def open_file(self, source: Source, signature: str) -> int:
        """Write down a file that is about to be read. Returns its number."""
        with self._database.session() as session:
            self._checked_row(session)
            path = str(source.path)
            row = session.scalar(
                sa.select(FileRow).where(FileRow.collection_id == self._collection, FileRow.path == path)
            ) or FileRow(collection_id=self._collection, path=path)
            row.size, row.mtime_ns, row.signature = source.size, source.mtime_ns, signature
            row.job_number, row.is_complete = self._job.number, False
            session.add(row)
            session.flush()
            return row.id

    def keep_file(self, known: KnownFile) -> int:
        """Count the documents of a file that is as it was, and repeat what was wrong with it. Returns that count."""
        with self._database.session() as session:
            row = self._checked_row(session)
            of_file = sa.and_(DocumentRow.file_id == known.id, DocumentRow.chunks > 0)
            documents = int(session.scalar(sa.select(sa.func.count()).select_from(DocumentRow).where(of_file)) or 0)
            row.documents_unchanged += documents
            former = sa.select(RejectionRow).where(
                RejectionRow.job_number == known.job_number, RejectionRow.path == known.path
            )
            repeated = [
                rejection_values(row.number, Rejection(r.path, r.line, r.document_id, r.reason, r.detail, r.documents))
                for r in session.scalars(former)
            ]
            if repeated:
                session.execute(sa.insert(RejectionRow), repeated)
            return documents

    def known_documents(self, document_ids: Sequence[str]) -> dict[str, KnownDocument]:
        """Return what is known of these documents, by identifier."""
        with self._database.session() as session:
            return known_documents(session, self._collection, document_ids)

    def claim_contents(self, wanted: Sequence[tuple[bytes, str]]) -> dict[str, str]:
        """Give contents to documents, see `documents.claim_contents`."""
        with self._database.session() as session:
            self._checked_row(session)
            return claim_contents(session, self._collection, self._job.number, wanted)

    def documents_of_file(self, file_id: int) -> Iterator[str]:
        """Yield the identifiers of the documents that come from a file, as far as something of them may be stored."""
        last_key = b""
        while True:
            with self._database.session() as session:
                query = sa.select(DocumentRow.key, DocumentRow.document_id).where(
                    DocumentRow.collection_id == self._collection,
                    DocumentRow.file_id == file_id,
                    is_there(),
                    DocumentRow.key > last_key,
                )
                rows = session.execute(query.order_by(DocumentRow.key).limit(_ROWS_AT_ONCE)).all()
            if not rows:
                return
            yield from (name for _, name in rows)
            last_key = rows[-1][0]

    def add(self, spans: Sequence[PlannedSpan], rejections: Sequence[Rejection], unchanged: int) -> None:
        """Write down a part of the plan; `unchanged`: documents that are stored as they are."""
        with self._database.session() as session:
            row = self._checked_row(session)
            row.documents_unchanged += unchanged
            if rejections:
                session.execute(sa.insert(RejectionRow), [rejection_values(row.number, each) for each in rejections])
            if spans:
                session.execute(sa.insert(PartitionRow), [_partition_values(row.number, each) for each in spans])

    def remove(self, file_id: int, document_ids: Sequence[str]) -> None:
        """Write down documents that are to be removed at the end of the job."""
        with self._database.session() as session:
            row = self._checked_row(session)
            values = [
                {"job_number": row.number, "key": document_key(name), "document_id": name, "file_id": file_id}
                for name in document_ids
            ]
            if values:
                session.execute(sa.insert(RemovalRow), values)

    def call_gone(self, file_id: int) -> None:
        """Write down that a file is gone; its row goes with its documents, at the end of the job."""
        with self._database.session() as session:
            row = self._checked_row(session)
            gone = {"job_number": row.number, "size": GONE, "is_complete": False}
            session.execute(sa.update(FileRow).where(FileRow.id == file_id).values(gone))

    def finish(self, *, replaces: bool, builds_index: bool) -> list[int]:
        """Set the job running, see `kosearch.jobs.Job`. Returns the numbers of its partitions, in order."""
        with self._database.session() as session:
            now = self._clock()
            row = self._checked_row(session)
            row.replaces, row.builds_index = replaces, builds_index
            of_job = PartitionRow.job_number == row.number
            session.execute(sa.update(PartitionRow).where(of_job).values(dispatched_at=now))
            status = finish_plan(
                job_status(row),
                self._owner,
                now,
                open_partitions=has_open_partitions(session, row.number),
                has_rest=has_rest(session, row),
            )
            write_job(session, row, status)
            return list(session.scalars(sa.select(PartitionRow.id).where(of_job).order_by(PartitionRow.id)))

    def _checked_row(self, session: orm.Session) -> JobRow:
        row = job_row(session, self._job.id, locks=True)
        job_status(row).lease.check(self._owner)
        return row


def _known_file(row: FileRow) -> KnownFile:
    return KnownFile(row.id, row.path, row.size, row.mtime_ns, row.signature, row.job_number, row.is_complete)


def _partition_values(job_number: int, planned: PlannedSpan) -> dict[str, object]:
    span = planned.span
    return {
        "job_number": job_number,
        "file_id": planned.file_id,
        "path": str(span.source.path),
        "size": span.source.size,
        "mtime_ns": span.source.mtime_ns,
        "start": span.start,
        "end": span.end,
        "first_line": span.first_line,
        "last_line": span.last_line,
        "own_first_line": span.first_line,
        "own_last_line": span.last_line,
        "documents": span.documents,
        "state": PartitionState.PENDING,
    }
