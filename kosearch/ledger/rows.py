"""Rows of jobs and partitions as the values that `job_states` decides about, and back. Reading locks the row."""

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm

from kosearch.errors import NotFoundError
from kosearch.job_states import JobStatus, Lease, PartitionStatus, settle_job
from kosearch.jobs import Job, JobOptions, JobState, Partition, PartitionState, Rejection, Source, SourceFields, Span
from kosearch.ledger.documents import doubt_removals, was_deleted
from kosearch.ledger.tables import (
    GONE,
    CollectionRow,
    DocumentRow,
    FileRow,
    JobRow,
    LeaseColumns,
    PartitionRow,
    PathRow,
    RejectionRow,
    RemovalRow,
)

ENDED_STATES = [state for state in JobState if state.is_ended]
# Pushed documents are kept as long as a job that began before them may be at work on older versions of them.
KEEP_PUSHED_S = 86_400.0
# What stands where the path of a file would.
PUSHED_PATH = "(pushed)"
# What is wrong with a record or file lies in itself; it is the same when it is read again. Everything else may pass.
LASTING_REASONS = (
    "bad_id",
    "damaged",
    "distribution_only",
    "drm_protected",
    "empty_file",
    "empty_text",
    "encrypted",
    "fields_too_large",
    "invalid_utf8",
    "line_too_long",
    "malformed_csv",
    "malformed_json",
    "missing_field",
    "nested_too_deep",
    "no_text",
    "too_large",
    "unknown_format",
    "wrong_column_count",
)


def job_row(session: orm.Session, job_id: str, *, locks: bool = False) -> JobRow:
    """Return the row of a job. Raises NotFoundError."""
    query = sa.select(JobRow).where(JobRow.id == job_id)
    row = session.scalar(query.with_for_update() if locks else query)
    if row is None:
        raise NotFoundError(f"there is no job {job_id!r} in the ledger; `kosearch jobs` lists them")
    return row


def job_of(session: orm.Session, row: JobRow) -> Job:
    """Return a row's job."""
    paths = session.scalars(sa.select(PathRow.path).where(PathRow.job_number == row.number).order_by(PathRow.place))
    return Job(
        id=row.id,
        number=row.number,
        collection=session.get_one(CollectionRow, row.collection_id).name,
        paths=tuple(Path(path) for path in paths),
        fields=SourceFields(row.id_field, row.text_field, row.title_field),
        state=JobState(row.state),
        replaces=row.replaces,
        builds_index=row.builds_index,
        options=JobOptions(row.drops_duplicates, row.rereads, row.retries, row.retry_reason),
    )


def partition_of(session: orm.Session, row: PartitionRow, job: JobRow) -> Partition:
    """Return a row's partition."""
    rejected = session.scalars(
        sa.select(RejectionRow.line).where(
            RejectionRow.job_number == row.job_number,
            RejectionRow.path == row.path,
            RejectionRow.line.between(row.first_line, row.last_line),
        )
    )
    return Partition(
        id=row.id,
        job=job_of(session, job),
        span=Span(
            Source(Path(row.path), row.size, row.mtime_ns),
            row.start,
            row.end,
            row.first_line,
            row.last_line,
            row.documents,
        ),
        rejected_lines=frozenset(rejected),
        lines=(row.own_first_line, row.own_last_line),
        content=row.content,
        file_id=row.file_id,
        is_first_try=row.claims <= 1,
    )


def job_status(row: JobRow) -> JobStatus:
    """Return where a job stands."""
    return JobStatus(JobState(row.state), lease_of(row), row.error, row.ended_at)


def partition_status(row: PartitionRow) -> PartitionStatus:
    """Return where a partition stands."""
    return PartitionStatus(PartitionState(row.state), lease_of(row), row.waits_for)


def write_partition(row: PartitionRow, status: PartitionStatus) -> None:
    """Write down where a partition stands."""
    row.state, row.waits_for = status.state, status.waits_for
    write_lease(row, status.lease)


def write_job(session: orm.Session, row: JobRow, status: JobStatus) -> None:
    """Write down where a job stands; one that succeeded leaves its files complete, another one's removals are due."""
    if status.state is JobState.SUCCEEDED and row.state != JobState.SUCCEEDED:
        _complete_files(session, row.number)
        _forget_old_deletions(session, row, status.ended_at or 0.0)
    elif status.state.is_ended and not JobState(row.state).is_ended:
        doubt_removals(session, row.collection_id, row.number)
    row.state, row.error, row.ended_at = status.state, status.error, status.ended_at
    write_lease(row, status.lease)


def settle(session: orm.Session, row: JobRow, now: float) -> None:
    """Let a job go on whose last partition may just have ended."""
    status = settle_job(
        job_status(row),
        now,
        open_partitions=has_open_partitions(session, row.number),
        has_rest=has_rest(session, row),
    )
    write_job(session, row, status)


def has_open_partitions(session: orm.Session, job_number: int) -> bool:
    """Tell whether partitions are left to do."""
    is_open = PartitionRow.state != PartitionState.DONE
    query = sa.select(PartitionRow.id).where(PartitionRow.job_number == job_number, is_open).limit(1)
    return session.scalar(query) is not None


def has_removals(session: orm.Session, job_number: int) -> bool:
    """Tell whether documents are left to remove."""
    query = sa.select(RemovalRow.document_id).where(RemovalRow.job_number == job_number).limit(1)
    return session.scalar(query) is not None


def has_rest(session: orm.Session, row: JobRow) -> bool:
    """Tell whether something is to be done behind the last partition."""
    return row.builds_index or has_removals(session, row.number)


def rejection_values(job_number: int, rejection: Rejection) -> dict[str, object]:
    """Return the values of a rejection's row."""
    return {
        "job_number": job_number,
        "path": rejection.path,
        "line": rejection.line,
        "document_id": rejection.document_id,
        "reason": rejection.reason,
        "detail": rejection.detail,
        "documents": rejection.documents,
    }


def rejection_of(row: RejectionRow) -> Rejection:
    """Return a row's value."""
    return Rejection(row.path, row.line, row.document_id, row.reason, row.detail, row.documents)


def lease_of(row: LeaseColumns) -> Lease:
    """Return a row's lease."""
    return Lease(row.lease_owner, row.lease_since, row.lease_until, row.attempts, row.dispatched_at)


def write_lease(row: LeaseColumns, lease: Lease) -> None:
    """Write a row's lease down."""
    row.lease_owner, row.lease_since, row.lease_until = lease.owner, lease.since, lease.until
    row.attempts, row.dispatched_at = lease.attempts, lease.dispatched_at


def _complete_files(session: orm.Session, job_number: int) -> None:
    """Call the files complete that the job read, but for those of which something may go in another time.

    Those that it found gone are forgotten.
    """
    session.flush()
    may_pass = sa.exists().where(
        RejectionRow.job_number == job_number,
        RejectionRow.path == FileRow.path,
        RejectionRow.reason.not_in(LASTING_REASONS),
    )
    of_job = FileRow.job_number == job_number
    for query in (
        sa.delete(FileRow).where(of_job, FileRow.size == GONE),
        sa.update(FileRow).where(of_job, ~may_pass).values(is_complete=True),
    ):
        session.execute(query.execution_options(synchronize_session=False))


def _forget_old_deletions(session: orm.Session, row: JobRow, now: float) -> None:
    """Forget deleted documents that no open job is old enough to bring back, nor a push that is stored again."""
    oldest_open = session.scalar(
        sa.select(sa.func.min(JobRow.number)).where(
            JobRow.collection_id == row.collection_id, JobRow.state.not_in(ENDED_STATES), JobRow.number != row.number
        )
    )
    newest_old = session.scalar(sa.select(sa.func.max(JobRow.number)).where(JobRow.created_at < now - KEEP_PUSHED_S))
    query = sa.delete(DocumentRow).where(
        DocumentRow.collection_id == row.collection_id,
        was_deleted(),
        DocumentRow.job_number <= (newest_old or 0),
        DocumentRow.job_number < (oldest_open or row.number + 1),
    )
    session.execute(query.execution_options(synchronize_session=False))
