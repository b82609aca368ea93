"""The job ledger: the truth about every indexing job, whatever happens to broker and workers.

    job:        pending -> planning -> running -> succeeded | failed
    partition:  pending -> running -> done                        (running -> pending when its lease runs out)

A worker may touch a partition only while it holds its lease; it takes the lease with a compare-and-set, so a task
delivered twice does its work once. Times are seconds since the epoch. Rows change in short transactions only.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.engine import make_url

from kosearch.errors import (
    ConflictError,
    KosearchError,
    LeaseLostError,
    NotFoundError,
    SettingsError,
    UnavailableError,
)
from kosearch.jobs import Job, JobProgress, JobState, Partition, PartitionState, Rejection, Source, SourceFields, Span

_SCHEMA_VERSION = 1
_INSERT_ROWS = 5000


class _Base(orm.DeclarativeBase): ...


class _Meta(_Base):
    __tablename__ = "meta"
    key: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    value: orm.Mapped[str]


class _JobRow(_Base):
    __tablename__ = "jobs"
    id: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    collection: orm.Mapped[str]
    id_field: orm.Mapped[str]
    text_field: orm.Mapped[str]
    title_field: orm.Mapped[str]
    state: orm.Mapped[str]
    # The collection had points when the job began, so older versions of its documents have to go.
    replaces: orm.Mapped[bool]
    error: orm.Mapped[str] = orm.mapped_column(default="")
    attempts: orm.Mapped[int] = orm.mapped_column(default=0)
    created_at: orm.Mapped[float]
    ended_at: orm.Mapped[float | None]
    lease_owner: orm.Mapped[str] = orm.mapped_column(default="")
    lease_until: orm.Mapped[float] = orm.mapped_column(default=0.0)
    dispatched_at: orm.Mapped[float] = orm.mapped_column(default=0.0)


class _PathRow(_Base):
    __tablename__ = "paths"
    job_id: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("jobs.id"), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    path: orm.Mapped[str]


class _PartitionRow(_Base):
    __tablename__ = "partitions"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    job_id: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("jobs.id"), index=True)
    path: orm.Mapped[str]
    size: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    mtime_ns: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    start: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    end: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    first_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    last_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    documents: orm.Mapped[int]
    state: orm.Mapped[str]
    attempts: orm.Mapped[int] = orm.mapped_column(default=0)
    chunks: orm.Mapped[int] = orm.mapped_column(default=0)
    truncated: orm.Mapped[int] = orm.mapped_column(default=0)
    # What it waits for, when a neighbour did not answer.
    waits_for: orm.Mapped[str] = orm.mapped_column(default="")
    lease_owner: orm.Mapped[str] = orm.mapped_column(default="")
    lease_until: orm.Mapped[float] = orm.mapped_column(default=0.0)
    dispatched_at: orm.Mapped[float] = orm.mapped_column(default=0.0)


class _RejectionRow(_Base):
    __tablename__ = "rejections"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    job_id: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("jobs.id"), index=True)
    path: orm.Mapped[str]
    line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    document_id: orm.Mapped[str]
    reason: orm.Mapped[str]
    detail: orm.Mapped[str]


class Ledger:
    """The ledger's operations; every one is a transaction of its own. Safe to use from several threads."""

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        """Open the database, made when missing. Raises SettingsError for a bad URL, UnavailableError, ConflictError."""
        try:
            self._where = make_url(url).render_as_string(hide_password=True)
            self._engine = _make_engine(url)
        except (sa.exc.ArgumentError, ValueError, ImportError) as error:
            raise SettingsError(
                f"KOSEARCH_LEDGER__URL cannot be used ({error}); write a SQLAlchemy URL such as "
                "postgresql+psycopg://user@host/kosearch, and install its driver"
            ) from error
        except OSError as error:
            raise UnavailableError(f"the job ledger {self._where} cannot be used: {error}") from error
        with self._translated():
            _Base.metadata.create_all(self._engine)
            self._check_schema()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    # Submitting and watching

    def create_job(self, collection: str, paths: Sequence[Path], fields: SourceFields) -> str:
        """Record a job, which the caller dispatches at once. Returns its id, a UUID."""
        job_id, now = str(uuid.uuid4()), self._clock()
        with self._session() as session:
            session.add(
                _JobRow(
                    id=job_id,
                    collection=collection,
                    id_field=fields.id,
                    text_field=fields.text,
                    title_field=fields.title,
                    state=JobState.PENDING,
                    replaces=False,
                    created_at=now,
                    dispatched_at=now,
                )
            )
            session.flush()
            session.add_all(_PathRow(job_id=job_id, number=n, path=str(path)) for n, path in enumerate(paths))
        return job_id

    def progress(self, job_id: str) -> JobProgress:
        """Return how far the job is. Raises NotFoundError."""
        with self._session() as session:
            job = _job_row(session, job_id)
            done = _PartitionRow.state == PartitionState.DONE
            sums = session.execute(
                sa.select(
                    sa.func.coalesce(sa.func.sum(_PartitionRow.documents), 0),
                    sa.func.coalesce(sa.func.sum(sa.case((done, _PartitionRow.documents), else_=0)), 0),
                    sa.func.coalesce(sa.func.sum(_PartitionRow.chunks), 0),
                    sa.func.coalesce(sa.func.sum(_PartitionRow.truncated), 0),
                    sa.func.coalesce(sa.func.max(_PartitionRow.waits_for), ""),
                ).where(_PartitionRow.job_id == job_id)
            ).one()
            rejected = session.scalar(
                sa.select(sa.func.count()).select_from(_RejectionRow).where(_RejectionRow.job_id == job_id)
            )
            return JobProgress(
                state=JobState(job.state),
                documents_total=int(sums[0]) + int(rejected or 0),
                documents_indexed=int(sums[1]),
                documents_rejected=int(rejected or 0),
                chunks_indexed=int(sums[2]),
                documents_truncated=int(sums[3]),
                elapsed_s=(job.ended_at or self._clock()) - job.created_at,
                error=job.error or str(sums[4]),
            )

    def rejections(self, job_id: str) -> Iterator[Rejection]:
        """Yield what the job left out, in the order of files and lines. Raises NotFoundError."""
        last_id = 0
        with self._session() as session:
            _job_row(session, job_id)
        while True:
            with self._session() as session:
                query = sa.select(_RejectionRow).where(_RejectionRow.job_id == job_id, _RejectionRow.id > last_id)
                rows = session.scalars(query.order_by(_RejectionRow.id).limit(_INSERT_ROWS)).all()
                if not rows:
                    return
                last_id = rows[-1].id
                batch = [Rejection(row.path, row.line, row.document_id, row.reason, row.detail) for row in rows]
            yield from batch

    # Dispatching

    def due_jobs(self, quiet_s: float) -> list[str]:
        """Take the jobs that wait for a planner and were not dispatched in the last `quiet_s` seconds."""
        with self._session() as session:
            now = self._clock()
            query = (
                sa.update(_JobRow)
                .where(
                    _JobRow.state.in_([JobState.PENDING, JobState.PLANNING]),
                    _JobRow.lease_until < now,
                    _JobRow.dispatched_at < now - quiet_s,
                )
                .values(dispatched_at=now)
                .returning(_JobRow.id)
            )
            return list(session.scalars(query))

    def due_partitions(self, quiet_s: float, limit: int) -> list[int]:
        """Take partitions without a living lease that were not dispatched in the last `quiet_s` seconds, in order."""
        with self._session() as session:
            now = self._clock()
            due = (
                sa.select(_PartitionRow.id)
                .join(_JobRow, _JobRow.id == _PartitionRow.job_id)
                .where(
                    _JobRow.state == JobState.RUNNING,
                    _PartitionRow.state != PartitionState.DONE,
                    _PartitionRow.lease_until < now,
                    _PartitionRow.dispatched_at < now - quiet_s,
                )
                .order_by(_PartitionRow.id)
                .limit(limit)
            )
            ids = list(session.scalars(due))
            session.execute(sa.update(_PartitionRow).where(_PartitionRow.id.in_(ids)).values(dispatched_at=now))
            return ids

    # Planning

    def claim_job(self, job_id: str, owner: str, lease_s: float, max_attempts: int) -> Job | None:
        """Take the lease to plan the job. Returns None when it is planned already or another worker plans it.

        A job whose planner died `max_attempts` times fails.
        """
        with self._session() as session:
            now = self._clock()
            claimed = session.execute(
                sa.update(_JobRow)
                .where(
                    _JobRow.id == job_id,
                    _JobRow.state.in_([JobState.PENDING, JobState.PLANNING]),
                    _JobRow.lease_until < now,
                )
                .values(
                    state=JobState.PLANNING,
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    attempts=_JobRow.attempts + 1,
                    error="",
                )
                .returning(_JobRow.attempts)
            ).first()
            if claimed is None:
                return None
            if claimed[0] > max_attempts:
                _fail(session, job_id, f"{max_attempts} workers died planning it; see the worker's log", now)
                return None
            return _job(session, job_id)

    def renew_job(self, job_id: str, owner: str, lease_s: float) -> None:
        """Extend the planner's lease. Raises LeaseLostError when it was lost."""
        with self._session() as session:
            _renew(session, _JobRow, _JobRow.id == job_id, owner, self._clock() + lease_s)

    def save_plan(
        self, job_id: str, owner: str, spans: Sequence[Span], rejections: Sequence[Rejection], *, replaces: bool
    ) -> list[int]:
        """Write the plan and set the job running, in one transaction. Returns the ids of its partitions, in order.

        Raises LeaseLostError when the planner's lease was lost: another worker has planned it then.
        """
        with self._session() as session:
            now = self._clock()
            _renew(session, _JobRow, _JobRow.id == job_id, owner, 0.0)
            session.execute(
                sa.update(_JobRow).where(_JobRow.id == job_id).values(state=JobState.RUNNING, replaces=replaces)
            )
            for begin in range(0, len(rejections), _INSERT_ROWS):
                session.execute(
                    sa.insert(_RejectionRow),
                    [_rejection_values(job_id, rejection) for rejection in rejections[begin : begin + _INSERT_ROWS]],
                )
            rows = [
                _PartitionRow(
                    job_id=job_id,
                    path=str(span.source.path),
                    size=span.source.size,
                    mtime_ns=span.source.mtime_ns,
                    start=span.start,
                    end=span.end,
                    first_line=span.first_line,
                    last_line=span.last_line,
                    documents=span.documents,
                    state=PartitionState.PENDING,
                    dispatched_at=now,
                )
                for span in spans
            ]
            session.add_all(rows)
            session.flush()
            self._end_if_done(session, job_id)
            return [row.id for row in rows]

    def release_job(self, job_id: str, owner: str, waits_for: str) -> None:
        """Give the planner's lease back because a neighbour does not answer; it is dispatched again later."""
        with self._session() as session:
            session.execute(
                sa.update(_JobRow)
                .where(_JobRow.id == job_id, _JobRow.state == JobState.PLANNING, _JobRow.lease_owner == owner)
                .values(state=JobState.PENDING, lease_until=0.0, error=waits_for, attempts=_JobRow.attempts - 1)
            )

    def fail_job(self, job_id: str, error: str) -> None:
        """End the job as failed; nothing of it is dispatched or claimed any more."""
        with self._session() as session:
            _fail(session, job_id, error, self._clock())

    # Indexing

    def claim_partition(self, partition_id: int, owner: str, lease_s: float, max_attempts: int) -> Partition | None:
        """Take the lease of a partition. Returns None when it is done, leased, or its job has ended.

        A partition that was tried `max_attempts` times without an answer (its worker died every time) fails its job.
        """
        with self._session() as session:
            now = self._clock()
            row = session.get(_PartitionRow, partition_id)
            if row is None or _job_row(session, row.job_id).state != JobState.RUNNING:
                return None
            claimed = session.execute(
                sa.update(_PartitionRow)
                .where(
                    _PartitionRow.id == partition_id,
                    _PartitionRow.state != PartitionState.DONE,
                    _PartitionRow.lease_until < now,
                )
                .values(
                    state=PartitionState.RUNNING,
                    lease_owner=owner,
                    lease_until=now + lease_s,
                    attempts=_PartitionRow.attempts + 1,
                )
                .returning(_PartitionRow.attempts)
            ).first()
            if claimed is None:
                return None
            if claimed[0] > max_attempts:
                error = (
                    f"{row.path}, lines from {row.first_line}: {max_attempts} workers died on this partition; "
                    "look for the cause in the worker's log, then submit the job again"
                )
                _fail(session, row.job_id, error, now)
                return None
            session.refresh(row)
            return _partition(session, row)

    def renew_partition(self, partition_id: int, owner: str, lease_s: float) -> None:
        """Extend the lease. Raises LeaseLostError when it was lost to another worker."""
        with self._session() as session:
            _renew(session, _PartitionRow, _PartitionRow.id == partition_id, owner, self._clock() + lease_s)

    def finish_partition(self, partition_id: int, owner: str, chunks: int, truncated: int) -> None:
        """Record that every document of the partition is stored; ends the job with its last partition.

        Raises LeaseLostError when the lease was lost; the points are the same whoever wrote them.
        """
        with self._session() as session:
            _renew(session, _PartitionRow, _PartitionRow.id == partition_id, owner, 0.0)
            row = session.get_one(_PartitionRow, partition_id)
            row.state, row.chunks, row.truncated = PartitionState.DONE, chunks, truncated
            session.flush()
            # The neighbours answer again: what its other partitions waited for is over.
            session.execute(
                sa.update(_PartitionRow)
                .where(_PartitionRow.job_id == row.job_id, _PartitionRow.waits_for != "")
                .values(waits_for="")
            )
            self._end_if_done(session, row.job_id)

    def release_partition(self, partition_id: int, owner: str, waits_for: str) -> None:
        """Give the lease back because a neighbour does not answer; the try does not count."""
        with self._session() as session:
            session.execute(
                sa.update(_PartitionRow)
                .where(
                    _PartitionRow.id == partition_id,
                    _PartitionRow.state == PartitionState.RUNNING,
                    _PartitionRow.lease_owner == owner,
                )
                .values(
                    state=PartitionState.PENDING,
                    lease_until=0.0,
                    waits_for=waits_for,
                    attempts=_PartitionRow.attempts - 1,
                )
            )

    def _end_if_done(self, session: orm.Session, job_id: str) -> None:
        is_open = sa.exists().where(_PartitionRow.job_id == job_id, _PartitionRow.state != PartitionState.DONE)
        session.execute(
            sa.update(_JobRow)
            .where(_JobRow.id == job_id, _JobRow.state == JobState.RUNNING, ~is_open)
            .values(state=JobState.SUCCEEDED, ended_at=self._clock(), error="")
        )

    def _check_schema(self) -> None:
        with orm.Session(self._engine) as session, session.begin():
            found = session.get(_Meta, "schema_version")
            if found is None:
                session.add(_Meta(key="schema_version", value=str(_SCHEMA_VERSION)))
            elif found.value != str(_SCHEMA_VERSION):
                raise ConflictError(
                    f"the job ledger {self._where} has schema {found.value}, this version of kosearch reads "
                    f"{_SCHEMA_VERSION}; use the version that wrote it, or another data directory"
                )

    @contextmanager
    def _session(self) -> Iterator[orm.Session]:
        with self._translated(), orm.Session(self._engine) as session, session.begin():
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KosearchError:
            raise
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise UnavailableError(f"the job ledger {self._where} cannot be used: {cause}") from error


def _make_engine(url: str) -> sa.Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _set_pragmas(connection: sa.engine.interfaces.DBAPIConnection, _record: object) -> None:
        # The driver's own implicit BEGIN is deferred, and a reader that turns writer then fails at once with
        # "database is locked"; BEGIN IMMEDIATE below waits its turn instead.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin_immediate(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _job_row(session: orm.Session, job_id: str) -> _JobRow:
    row = session.get(_JobRow, job_id)
    if row is None:
        raise NotFoundError(f"there is no job {job_id!r} in the ledger")
    return row


def _fail(session: orm.Session, job_id: str, error: str, now: float) -> None:
    session.execute(
        sa.update(_JobRow)
        .where(_JobRow.id == job_id, _JobRow.ended_at.is_(None))
        .values(state=JobState.FAILED, error=error, ended_at=now, lease_until=0.0)
    )


def _job(session: orm.Session, job_id: str) -> Job:
    row = _job_row(session, job_id)
    paths = session.scalars(sa.select(_PathRow.path).where(_PathRow.job_id == job_id).order_by(_PathRow.number))
    return Job(
        id=row.id,
        collection=row.collection,
        paths=tuple(Path(path) for path in paths),
        fields=SourceFields(row.id_field, row.text_field, row.title_field),
        state=JobState(row.state),
        replaces=row.replaces,
    )


def _partition(session: orm.Session, row: _PartitionRow) -> Partition:
    rejected = session.scalars(
        sa.select(_RejectionRow.line).where(
            _RejectionRow.job_id == row.job_id,
            _RejectionRow.path == row.path,
            _RejectionRow.line.between(row.first_line, row.last_line),
        )
    )
    source = Source(Path(row.path), row.size, row.mtime_ns)
    span = Span(source, row.start, row.end, row.first_line, row.last_line, row.documents)
    return Partition(row.id, _job(session, row.job_id), span, frozenset(rejected))


def _renew(
    session: orm.Session,
    table: type[_JobRow | _PartitionRow],
    which: sa.ColumnElement[bool],
    owner: str,
    lease_until: float,
) -> None:
    query = sa.update(table).where(which, table.lease_owner == owner, table.lease_until > 0.0)
    if session.execute(query.values(lease_until=lease_until).returning(table.id)).first() is None:
        raise LeaseLostError("the lease was lost to another worker, which finishes the work")


def _rejection_values(job_id: str, rejection: Rejection) -> dict[str, object]:
    return {
        "job_id": job_id,
        "path": rejection.path,
        "line": rejection.line,
        "document_id": rejection.document_id,
        "reason": rejection.reason,
        "detail": rejection.detail,
    }
