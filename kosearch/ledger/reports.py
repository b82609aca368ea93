"""What is told of jobs: how far they are, and what they left out. Functions that read, inside a transaction."""

import sqlalchemy as sa
from sqlalchemy import orm

from kosearch.jobs import JobProgress, JobState, JobSummary, PartitionState, Rejection, StoredDocument
from kosearch.ledger.documents import document_key
from kosearch.ledger.rows import PUSHED_PATH, job_of, rejection_of
from kosearch.ledger.tables import CollectionRow, DocumentRow, JobRow, PartitionRow, RejectionRow


def newest_jobs(session: orm.Session, limit: int, now: float) -> list[JobSummary]:
    """Return the newest jobs, newest first. `now`: seconds since 1970."""
    summaries = []
    for row in session.scalars(sa.select(JobRow).order_by(JobRow.number.desc()).limit(limit)):
        job = job_of(session, row)
        paths = tuple(str(path) for path in job.paths) or (PUSHED_PATH,)
        summaries.append(JobSummary(row.id, job.collection, paths, row.created_at, progress_of(session, row, now)))
    return summaries


def progress_of(session: orm.Session, job: JobRow, now: float) -> JobProgress:
    """Return how far a job is. `now`: seconds since 1970."""
    is_done = PartitionRow.state == PartitionState.DONE
    indexed = PartitionRow.documents - PartitionRow.rejected - PartitionRow.unchanged
    sums = {
        "documents": PartitionRow.documents,
        "rejected": PartitionRow.rejected,
        "unchanged": PartitionRow.unchanged,
        "indexed": sa.case((is_done, indexed), else_=0),
        "chunks": PartitionRow.chunks,
        "truncated": PartitionRow.truncated,
        "tokens": PartitionRow.tokens,
        "tokens_embedded": PartitionRow.tokens_embedded,
    }
    row = session.execute(
        sa.select(
            *(sa.func.coalesce(sa.func.sum(number), 0).label(name) for name, number in sums.items()),
            sa.func.coalesce(sa.func.max(PartitionRow.waits_for), "").label("waits_for"),
        ).where(PartitionRow.job_number == job.number)
    ).one()
    of_job = RejectionRow.job_number == job.number
    rejected = int(session.scalar(sa.select(sa.func.sum(RejectionRow.documents)).where(of_job)) or 0)
    return JobProgress(
        state=JobState(job.state),
        # Those that were rejected while they were indexed belong to partitions, too.
        documents_total=int(row.documents) + rejected - int(row.rejected) + job.documents_unchanged,
        documents_indexed=int(row.indexed),
        documents_rejected=rejected,
        documents_unchanged=job.documents_unchanged + int(row.unchanged),
        documents_removed=job.documents_removed,
        chunks_indexed=int(row.chunks),
        documents_truncated=int(row.truncated),
        tokens=int(row.tokens),
        tokens_embedded=int(row.tokens_embedded),
        elapsed_s=(job.ended_at or now) - job.created_at,
        error=job.error or row.waits_for,
    )


def rejections_after(session: orm.Session, job_number: int, last_id: int, limit: int) -> tuple[list[Rejection], int]:
    """Return what a job left out, in the order in which it was found, behind the row `last_id`; and the last one's id.

    Before the first row is row 0.
    """
    query = sa.select(RejectionRow).where(RejectionRow.job_number == job_number, RejectionRow.id > last_id)
    rows = session.scalars(query.order_by(RejectionRow.id).limit(limit)).all()
    return [rejection_of(row) for row in rows], rows[-1].id if rows else last_id


def rejected_paths(session: orm.Session, job_number: int, reason: str) -> set[str]:
    """Return the files of which something was left out, for one reason, or any where it is empty."""
    query = sa.select(RejectionRow.path).where(RejectionRow.job_number == job_number)
    return set(session.scalars((query.where(RejectionRow.reason == reason) if reason else query).distinct()))


def stored_documents(session: orm.Session, name: str) -> list[StoredDocument]:
    """Return where a document of this identifier is stored."""
    rows = session.execute(
        sa.select(CollectionRow.name, DocumentRow.document_id, DocumentRow.chunks, JobRow.id)
        .join(CollectionRow, CollectionRow.id == DocumentRow.collection_id)
        .join(JobRow, JobRow.number == DocumentRow.job_number)
        .where(DocumentRow.key == document_key(name))
    )
    return [StoredDocument(collection, found, chunks, job_id) for collection, found, chunks, job_id in rows]


def rejections_of(session: orm.Session, name: str, limit: int) -> list[tuple[str, Rejection]]:
    """Return (job id, rejection) of documents of this identifier and of files of this path, newest first."""
    rows = session.execute(
        sa.select(JobRow.id, RejectionRow)
        .join(JobRow, JobRow.number == RejectionRow.job_number)
        .where(sa.or_(RejectionRow.document_id == name, RejectionRow.path == name))
        .order_by(RejectionRow.id.desc())
        .limit(limit)
    )
    return [(job_id, rejection_of(row)) for job_id, row in rows]
