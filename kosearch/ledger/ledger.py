"""Jobs and partitions in the ledger."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm

from kosearch import job_states
from kosearch.errors import InvalidRequestError, LeaseLostError, OutdatedError
from kosearch.jobs import (
    WHOLE_FILE,
    Job,
    JobOptions,
    JobProgress,
    JobState,
    JobSummary,
    Partition,
    PartitionState,
    Rejection,
    SourceFields,
    StoredDocument,
)
from kosearch.ledger import reports
from kosearch.ledger.database import Database
from kosearch.ledger.dictionary import DictionaryBook
from kosearch.ledger.documents import (
    DocumentVersion,
    KnownDocument,
    NewerDocument,
    begin_documents,
    claim_contents,
    collection_id,
    distrust_documents,
    document_key,
    known_documents,
    newer_documents,
    record_deletions,
    record_documents,
)
from kosearch.ledger.plan_writer import PlanWriter
from kosearch.ledger.rows import (
    ENDED_STATES,
    KEEP_PUSHED_S,
    PUSHED_PATH,
    has_removals,
    job_of,
    job_row,
    job_status,
    partition_of,
    partition_status,
    rejection_values,
    settle,
    write_job,
    write_partition,
)
from kosearch.ledger.tables import JobRow, PartitionRow, PathRow, RejectionRow, RemovalRow

_ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class PartitionResult:
    """What became of a partition.

    documents: records found in it that were to be indexed; versions: those that are stored now
    doubtful: documents that a newer job stored or deleted, over which an earlier try may have written
    unchanged: documents that needed nothing; truncated: documents of which the encoder left out a tail
    tokens: of all chunks; tokens_embedded: those that the encoder read
    """

    documents: int = 0
    versions: Sequence[DocumentVersion] = ()
    rejections: Sequence[Rejection] = ()
    doubtful: Sequence[str] = ()
    unchanged: int = 0
    truncated: int = 0
    tokens: int = 0
    tokens_embedded: int = 0

    @property
    def written(self) -> list[str]:
        """Return the documents of which something was, or may have been, written."""
        return [*(version.document_id for version in self.versions), *self.doubtful]

    @property
    def chunks(self) -> int:
        """Return the number of chunks that were stored."""
        return sum(version.chunks for version in self.versions)


class Ledger:
    """The ledger's operations; every one is a transaction of its own. Safe to use from several threads."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        """Open the database, made when missing. Raises SettingsError for a bad URL, UnavailableError, ConflictError."""
        self._clock = clock
        self._database = Database(url)
        self.dictionary = DictionaryBook(self._database, clock)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # Submitting and watching

    def create_job(
        self, collection: str, paths: Sequence[Path], fields: SourceFields, options: JobOptions | None = None
    ) -> str:
        """Record a job, which the caller dispatches at once. Returns its id, a UUID."""
        with self._database.session() as session:
            return self._new_source_job(session, collection, paths, fields, options or JobOptions())

    def retry_job(self, job_id: str, reason: str) -> str:
        """Record a job that tries the left out files of an ended one again. Returns its id.

        Raises NotFoundError, InvalidRequestError when the job goes on or nothing was left out for this reason.
        """
        with self._database.session() as session:
            former = job_row(session, job_id)
            if not JobState(former.state).is_ended:
                raise InvalidRequestError(f"job {job_id} is {former.state}; wait until it has ended, or cancel it")
            if former.is_push:
                raise InvalidRequestError(f"the documents of job {job_id} were pushed; push them again")
            rejected = sa.select(RejectionRow.id).where(RejectionRow.job_number == former.number)
            if reason:
                rejected = rejected.where(RejectionRow.reason == reason)
            if former.state == JobState.SUCCEEDED and session.scalar(rejected.limit(1)) is None:
                why = f" for the reason {reason!r}" if reason else ""
                raise InvalidRequestError(f"job {job_id} left out nothing{why}; there is nothing to retry")
            job = job_of(session, former)
            # What did not come to its end is begun anew, and skips what is stored.
            is_partial = former.state == JobState.SUCCEEDED
            options = JobOptions(
                drops_duplicates=job.options.drops_duplicates,
                retries=job_id if is_partial else job.options.retries,
                retry_reason=reason if is_partial else job.options.retry_reason,
            )
            return self._new_source_job(session, job.collection, job.paths, job.fields, options)

    def push_documents(self, collection: str, content: bytes, documents: int) -> tuple[str, int]:
        """Record documents, JSON objects one a line, to be indexed at once. Returns (job id, partition number)."""
        with self._database.session() as session:
            self._drop_old_pushes(session)
            row = self._new_job(session, collection, SourceFields(), JobOptions(), JobState.RUNNING, is_push=True)
            return row.id, self._add_pushed(session, row.number, content, documents)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> None:
        """Record that documents are deleted, before their points are: no job that began earlier brings them back."""
        with self._database.session() as session:
            row = self._new_job(session, collection, SourceFields(), JobOptions(), JobState.RUNNING, is_push=True)
            record_deletions(session, row.collection_id, row.number, document_ids)
            row.state, row.ended_at, row.documents_removed = JobState.SUCCEEDED, self._clock(), len(document_ids)

    def progress(self, job_id: str) -> JobProgress:
        """Return how far the job is. Raises NotFoundError."""
        with self._database.session() as session:
            return reports.progress_of(session, job_row(session, job_id), self._clock())

    def open_jobs(self) -> int:
        """Return how many jobs have not ended."""
        with self._database.session() as session:
            count = sa.select(sa.func.count()).select_from(JobRow).where(JobRow.state.not_in(ENDED_STATES))
            return session.scalar(count) or 0

    def jobs(self, limit: int) -> list[JobSummary]:
        """Return the newest jobs, newest first."""
        with self._database.session() as session:
            return reports.newest_jobs(session, limit, self._clock())

    def rejections(self, job_id: str) -> Iterator[Rejection]:
        """Yield what the job left out, in the order in which it was found. Raises NotFoundError."""
        with self._database.session() as session:
            number = job_row(session, job_id).number
        last_id = 0
        while True:
            with self._database.session() as session:
                batch, last_id = reports.rejections_after(session, number, last_id, _ROWS_AT_ONCE)
            if not batch:
                return
            yield from batch

    def rejected_paths(self, job_id: str, reason: str) -> set[str]:
        """Return the files of which something was left out, for one reason or any. Raises NotFoundError."""
        with self._database.session() as session:
            return reports.rejected_paths(session, job_row(session, job_id).number, reason)

    def find_document(self, name: str, limit: int) -> tuple[list[StoredDocument], list[tuple[str, Rejection]]]:
        """Return where a document of this identifier is stored, and what was wrong with it or a file of this path.

        The latter as (job id, rejection), newest first.
        """
        with self._database.session() as session:
            return reports.stored_documents(session, name), reports.rejections_of(session, name, limit)

    # Dispatching

    def due_jobs(self, quiet_s: float) -> list[str]:
        """Take the jobs that wait for a planner or finisher and were not sent in the last `quiet_s` seconds."""
        with self._database.session() as session:
            now = self._clock()
            waiting = [JobState.PENDING, JobState.PLANNING, JobState.FINISHING]
            query = sa.select(JobRow).where(JobRow.state.in_(waiting)).order_by(JobRow.number)
            due = []
            for row in session.scalars(query.with_for_update(skip_locked=True)):
                is_due = job_status(row).lease.is_due(now, quiet_s)
                if is_due and not self._waits_for_another(session, row):
                    row.dispatched_at = now
                    due.append(row.id)
            return due

    def due_partitions(self, quiet_s: float, limit: int, *, is_push: bool) -> list[int]:
        """Take partitions without a living lease that were not sent in the last `quiet_s` seconds, in order.

        is_push: those of pushed documents, for which somebody waits, or those of sources
        """
        with self._database.session() as session:
            now = self._clock()
            slack = job_states.CLOCK_SLACK_S
            is_held = sa.and_(
                PartitionRow.lease_owner != "",
                PartitionRow.lease_since - slack <= now,
                PartitionRow.lease_until > now,
            )
            was_just_sent = PartitionRow.dispatched_at.between(now - quiet_s, now + slack)
            due = (
                sa.select(PartitionRow.id)
                .join(JobRow, JobRow.number == PartitionRow.job_number)
                .where(
                    JobRow.state == JobState.RUNNING,
                    JobRow.is_push.is_(is_push),
                    PartitionRow.state != PartitionState.DONE,
                    ~is_held,
                    ~was_just_sent,
                )
                .order_by(PartitionRow.id)
                .limit(limit)
                .with_for_update(of=PartitionRow, skip_locked=True)
            )
            numbers = list(session.scalars(due))
            if numbers:  # mostly there are none, and nobody else should wait for a write of nothing
                session.execute(sa.update(PartitionRow).where(PartitionRow.id.in_(numbers)).values(dispatched_at=now))
            return numbers

    # Planning and finishing

    def claim_job(self, job_id: str, owner: str, lease_s: float, max_attempts: int) -> Job | None:
        """Take the lease to plan the job, or to finish it; its state says which.

        Returns None when there is nothing to do, another worker does it, or an earlier job on the collection goes on.
        A job on which `max_attempts` workers died fails.
        """
        with self._database.session() as session:
            row = job_row(session, job_id, locks=True)
            if self._waits_for_another(session, row):
                return None
            claimed = job_states.claim_job(job_status(row), owner, self._clock(), lease_s, max_attempts)
            if claimed is None:
                return None
            write_job(session, row, claimed)
            return None if claimed.state.is_ended else job_of(session, row)

    def renew_job(self, job_id: str, owner: str, lease_s: float) -> None:
        """Extend the lease of planner or finisher. Raises LeaseLostError when it was lost."""
        with self._database.session() as session:
            row = job_row(session, job_id, locks=True)
            write_job(session, row, job_states.renew_job(job_status(row), owner, self._clock(), lease_s))

    def release_job(self, job_id: str, owner: str, waits_for: str) -> None:
        """Give the lease back because a neighbour does not answer; it is sent again. Raises LeaseLostError."""
        with self._database.session() as session:
            row = job_row(session, job_id, locks=True)
            write_job(session, row, job_states.release_job(job_status(row), owner, waits_for))

    def fail_job(self, job_id: str, error: str) -> None:
        """End the job as failed; nothing of it is sent or claimed any more."""
        with self._database.session() as session:
            row = job_row(session, job_id, locks=True)
            write_job(session, row, job_states.fail_job(job_status(row), error, self._clock()))

    def cancel_job(self, job_id: str) -> JobState:
        """End the job; what it has stored stays. Returns its state: an ended one is as it was. Raises NotFoundError."""
        with self._database.session() as session:
            row = job_row(session, job_id, locks=True)
            status = job_states.cancel_job(job_status(row), self._clock())
            write_job(session, row, status)
            return status.state

    def plan_writer(self, job: Job, owner: str) -> PlanWriter:
        """Return what the planner of a claimed job reads and writes."""
        return PlanWriter(self._database, self._clock, job, owner)

    def next_removals(self, job: Job, owner: str, limit: int) -> list[str]:
        """Write down the deletion of some documents that left their source. Returns them: their points are to go.

        They are named again until `drop_removals`; documents that came back meanwhile are not. Raises LeaseLostError.
        """
        with self._database.session() as session:
            row = job_row(session, job.id, locks=True)
            job_status(row).lease.check(owner)
            removals = session.scalars(
                sa.select(RemovalRow)
                .where(RemovalRow.job_number == job.number)
                .order_by(RemovalRow.document_id)
                .limit(limit)
            ).all()
            known = known_documents(session, row.collection_id, [removal.document_id for removal in removals])
            gone: list[RemovalRow] = []
            back: list[RemovalRow] = []
            for removal in removals:
                (gone if _is_to_go(removal, known.get(removal.document_id)) else back).append(removal)
            record_deletions(session, row.collection_id, job.number, [removal.document_id for removal in gone])
            for removal in back:
                session.delete(removal)
            return [removal.document_id for removal in gone]

    def drop_removals(self, job: Job, owner: str, document_ids: Sequence[str]) -> None:
        """Call documents removed. Raises LeaseLostError."""
        with self._database.session() as session:
            row = job_row(session, job.id, locks=True)
            job_status(row).lease.check(owner)
            keys = [document_key(document_id) for document_id in document_ids]
            session.execute(sa.delete(RemovalRow).where(RemovalRow.job_number == job.number, RemovalRow.key.in_(keys)))
            if row.is_push:
                # Deleted by others before; what was pushed since they were named may have gone with them.
                self._store_again(session, row, newer_documents(session, row.collection_id, row.number, document_ids))
            else:
                row.documents_removed += len(document_ids)

    def finish_job(self, job: Job, owner: str) -> bool:
        """End the job unless documents are left to remove, and tell whether. Raises LeaseLostError."""
        with self._database.session() as session:
            row = job_row(session, job.id, locks=True)
            status = job_states.finish_job(job_status(row), owner, self._clock())
            if has_removals(session, job.number):
                return False
            write_job(session, row, status)
            return True

    # Indexing

    def claim_partition(self, partition_id: int, owner: str, lease_s: float, max_attempts: int) -> Partition | None:
        """Take the lease of a partition. Returns None when it is done, leased, or its job does not run.

        One on which `max_attempts` workers died is halved, until the document to blame stands alone and is left out.
        """
        with self._database.session() as session:
            row, job = self._locked(session, partition_id)
            if row is None or job is None:
                return None
            now = self._clock()
            claimed = job_states.claim_partition(partition_status(row), job_status(job), owner, now, lease_s)
            if claimed is None:
                return None
            if job_states.is_poisonous(claimed, max_attempts):
                self._divide(session, row, job, max_attempts)
                return None
            write_partition(row, claimed)
            row.claims += 1
            return partition_of(session, row, job)

    def renew_partition(self, partition_id: int, owner: str, lease_s: float) -> None:
        """Extend the lease. Raises LeaseLostError when it was lost to another worker, or the job has ended."""
        with self._database.session() as session:
            row, job = self._required(session, partition_id)
            now = self._clock()
            write_partition(
                row, job_states.renew_partition(partition_status(row), job_status(job), owner, now, lease_s)
            )

    def known_documents(self, job: Job, document_ids: Sequence[str]) -> dict[str, KnownDocument]:
        """Return what is known of these documents, by identifier."""
        with self._database.session() as session:
            return known_documents(session, collection_id(session, job.collection), document_ids)

    def claim_contents(self, job: Job, wanted: Sequence[tuple[bytes, str]]) -> dict[str, str]:
        """Give contents to documents, see `documents.claim_contents`."""
        with self._database.session() as session:
            return claim_contents(session, collection_id(session, job.collection), job.number, wanted)

    def newer_documents(self, job: Job, document_ids: Sequence[str]) -> frozenset[NewerDocument]:
        """Return those of the documents that a newer job stored or deleted."""
        with self._database.session() as session:
            return newer_documents(session, collection_id(session, job.collection), job.number, document_ids)

    def begin_documents(self, partition: Partition, document_ids: Sequence[str]) -> None:
        """Write down what is about to be stored, before it is; see `documents.begin_documents`."""
        job = partition.job
        with self._database.session() as session:
            collection = collection_id(session, job.collection)
            begin_documents(session, collection, partition.file_id, job.number, document_ids)

    def finish_partition(
        self, partition_id: int, owner: str, result: PartitionResult, newer: frozenset[NewerDocument] = frozenset()
    ) -> JobState:
        """Record what became of a partition whose chunks are durable. Returns the job's state, which may be a new one.

        newer: as `newer_documents` told; the deleted ones of them have no points any more. The others are stored again,
        for an older version may have been written over them.
        Raises LeaseLostError when the lease was lost, OutdatedError when there are more of them by now.
        """
        with self._database.session() as session:
            row, job = self._required(session, partition_id)
            status = job_states.finish_partition(partition_status(row), job_status(job), owner)
            if newer_documents(session, job.collection_id, job.number, result.written) != newer:
                raise OutdatedError("newer versions came in meanwhile")
            self._store_again(session, job, newer)
            record_documents(session, job.collection_id, row.file_id, job.number, result.versions)
            if result.rejections:
                values = [rejection_values(job.number, rejection) for rejection in result.rejections]
                session.execute(sa.insert(RejectionRow), values)
            row.documents, row.unchanged = result.documents, result.unchanged
            row.rejected = sum(rejection.documents for rejection in result.rejections)
            row.chunks, row.truncated = result.chunks, result.truncated
            row.tokens, row.tokens_embedded = result.tokens, result.tokens_embedded
            write_partition(row, status)
            session.flush()
            # The neighbours answer again: what its other partitions waited for is over.
            session.execute(
                sa.update(PartitionRow)
                .where(PartitionRow.job_number == job.number, PartitionRow.waits_for != "")
                .values(waits_for="")
            )
            settle(session, job, self._clock())
            return JobState(job.state)

    def repair(self, job: Job, newer: frozenset[NewerDocument]) -> None:
        """Store newer versions again after a worker wrote older ones over them without being allowed to."""
        with self._database.session() as session:
            self._store_again(session, job_row(session, job.id), newer)

    def release_partition(self, partition_id: int, owner: str, waits_for: str) -> None:
        """Give the lease back because a neighbour does not answer; the try does not count. Raises LeaseLostError."""
        with self._database.session() as session:
            row, _ = self._required(session, partition_id)
            write_partition(row, job_states.release_partition(partition_status(row), owner, waits_for))

    def _new_source_job(
        self,
        session: orm.Session,
        collection: str,
        paths: Sequence[Path],
        fields: SourceFields,
        options: JobOptions,
    ) -> str:
        row = self._new_job(session, collection, fields, options, JobState.PENDING)
        session.add_all(PathRow(job_number=row.number, place=place, path=str(path)) for place, path in enumerate(paths))
        return row.id

    def _new_job(
        self,
        session: orm.Session,
        collection: str,
        fields: SourceFields,
        options: JobOptions,
        state: JobState,
        *,
        is_push: bool = False,
    ) -> JobRow:
        now = self._clock()
        row = JobRow(
            id=str(uuid.uuid4()),
            collection_id=collection_id(session, collection),
            id_field=fields.id,
            text_field=fields.text,
            title_field=fields.title,
            drops_duplicates=options.drops_duplicates,
            rereads=options.rereads,
            retries=options.retries,
            retry_reason=options.retry_reason,
            is_push=is_push,
            # Pushed documents may be there already, in an older version.
            replaces=is_push,
            state=state,
            created_at=now,
            dispatched_at=now,
        )
        session.add(row)
        session.flush()
        return row

    def _add_pushed(self, session: orm.Session, job_number: int, content: bytes, documents: int) -> int:
        row = PartitionRow(
            job_number=job_number,
            path=PUSHED_PATH,
            size=len(content),
            mtime_ns=0,
            start=0,
            end=len(content),
            first_line=1,
            last_line=documents,
            own_first_line=1,
            own_last_line=documents,
            content=content,
            documents=documents,
            state=PartitionState.PENDING,
            dispatched_at=self._clock(),
        )
        session.add(row)
        session.flush()
        return row.id

    def _store_again(self, session: orm.Session, job: JobRow, newer: Iterable[NewerDocument]) -> None:
        """Let those jobs run again that pushed these documents; what came from files is left to the next job on them.

        They keep their numbers: what was pushed after them stays the newer version.
        """
        stored = [document for document in newer if not document.is_deleted]
        for number in sorted({document.job_number for document in stored}):
            pusher = session.scalar(sa.select(JobRow).where(JobRow.number == number, JobRow.is_push).with_for_update())
            pushed = sa.select(PartitionRow).where(PartitionRow.job_number == number, PartitionRow.content.is_not(None))
            rows = session.scalars(pushed).all()
            if pusher is not None and rows:
                write_job(session, pusher, job_states.JobStatus(JobState.RUNNING, job_states.Lease()))
                # What it left out it leaves out again.
                session.execute(sa.delete(RejectionRow).where(RejectionRow.job_number == number))
                for row in rows:
                    row.rejected = 0
                    write_partition(row, job_states.PartitionStatus(PartitionState.PENDING, job_states.Lease()))
        # Behind the locks of the jobs: their workers take those first, too.
        distrust_documents(session, job.collection_id, [document.document_id for document in stored])

    def _drop_old_pushes(self, session: orm.Session) -> None:
        old = sa.select(JobRow.number).where(JobRow.is_push, JobRow.ended_at < self._clock() - KEEP_PUSHED_S)
        query = sa.update(PartitionRow).where(PartitionRow.job_number.in_(old), PartitionRow.content.is_not(None))
        session.execute(query.values(content=None).execution_options(synchronize_session=False))

    def _divide(self, session: orm.Session, row: PartitionRow, job: JobRow, max_attempts: int) -> None:
        """Halve a partition on which workers die, or leave out the one document that it is."""
        halves = job_states.halve_lines(row.own_first_line, row.own_last_line)
        if halves is None or row.end == WHOLE_FILE:
            detail = f"{max_attempts} workers died on it; look for the cause in the worker's log"
            rejection = Rejection(row.path, row.own_first_line, "", "worker_died", detail)
            session.execute(sa.insert(RejectionRow), [rejection_values(job.number, rejection)])
            row.documents, row.rejected = 1, 1
            write_partition(row, job_states.PartitionStatus(PartitionState.DONE, job_states.Lease()))
            self._repair_given_up(session, row, job)
            session.flush()
            settle(session, job, self._clock())
            return
        first, second = halves
        # One more death is enough now: it is known that there is a cause.
        pending = job_states.PartitionStatus(PartitionState.PENDING, job_states.Lease(attempts=max_attempts - 1))
        twin = PartitionRow(
            **{name: getattr(row, name) for name in _SPAN_COLUMNS},
            own_first_line=second[0],
            own_last_line=second[1],
            documents=row.documents // 2,
        )
        row.own_first_line, row.own_last_line = first
        row.documents -= twin.documents
        for half in (row, twin):
            write_partition(half, pending)
        session.add(twin)

    def _repair_given_up(self, session: orm.Session, row: PartitionRow, job: JobRow) -> None:
        """See to it that what dead workers may have written of a pushed document hides nothing newer.

        Documents of files are put in order by the next job on their source.
        """
        if row.content is None:
            return
        lines = row.content.splitlines()[row.own_first_line - 1 : row.own_last_line]
        document_ids = [str(json.loads(line)[job.id_field]) for line in lines]
        newer = newer_documents(session, job.collection_id, job.number, document_ids)
        # The end of the job deletes once more what was deleted.
        session.add_all(
            RemovalRow(job_number=job.number, key=document_key(each.document_id), document_id=each.document_id)
            for each in newer
            if each.is_deleted and each.job_number > job.number  # of others nothing was ever begun
        )
        self._store_again(session, job, newer)

    def _waits_for_another(self, session: orm.Session, row: JobRow) -> bool:
        """Tell whether an earlier job reads sources into the same collection."""
        if row.is_push or row.state != JobState.PENDING:
            return False
        earlier = sa.select(JobRow.number).where(
            JobRow.collection_id == row.collection_id,
            JobRow.number < row.number,
            JobRow.state.not_in(ENDED_STATES),
            ~JobRow.is_push,
        )
        return session.scalar(earlier.limit(1)) is not None

    def _required(self, session: orm.Session, partition_id: int) -> tuple[PartitionRow, JobRow]:
        row, job = self._locked(session, partition_id)
        if row is None or job is None:
            raise LeaseLostError("the partition was planned anew")
        return row, job

    def _locked(self, session: orm.Session, partition_id: int) -> tuple[PartitionRow | None, JobRow | None]:
        """Lock a partition and its job, the job first: whoever ends the last partition must see all the others."""
        of_partition = sa.select(PartitionRow.job_number).where(PartitionRow.id == partition_id).scalar_subquery()
        job = session.scalar(sa.select(JobRow).where(JobRow.number == of_partition).with_for_update())
        row = session.scalar(sa.select(PartitionRow).where(PartitionRow.id == partition_id).with_for_update())
        return row, job


def _is_to_go(removal: RemovalRow, document: KnownDocument | None) -> bool:
    """Tell whether nothing has come into the place of a document since its removal was planned."""
    if document is None:
        return False
    is_of_its_source = document.file_id == removal.file_id
    if document.job_number > removal.job_number:  # deleted behind a push that was given up
        return is_of_its_source and document.is_deleted
    return is_of_its_source or (document.is_deleted and document.job_number == removal.job_number)


_SPAN_COLUMNS = (
    "job_number",
    "file_id",
    "path",
    "size",
    "mtime_ns",
    "start",
    "end",
    "first_line",
    "last_line",
    "content",
    "claims",
)
