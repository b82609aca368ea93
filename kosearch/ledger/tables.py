"""The tables of the ledger. A change here comes with a migration in `migrations/versions` and a new SCHEMA_REVISION."""

import sqlalchemy as sa
from sqlalchemy import orm

# The newest migration.
SCHEMA_REVISION = "0002"

# PostgreSQL would order texts by the rules of a language.
_Bytewise = sa.String().with_variant(sa.String(collation="C"), "postgresql")
# SQLite counts up in this type alone.
_Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


class Base(orm.DeclarativeBase): ...


class LeaseColumns:
    """The lease of a row, as `kosearch.job_states.Lease`."""

    lease_owner: orm.Mapped[str] = orm.mapped_column(default="")
    lease_since: orm.Mapped[float] = orm.mapped_column(default=0.0)
    lease_until: orm.Mapped[float] = orm.mapped_column(default=0.0)
    attempts: orm.Mapped[int] = orm.mapped_column(default=0)
    dispatched_at: orm.Mapped[float] = orm.mapped_column(default=0.0)


class CollectionRow(Base):
    """A collection that jobs write to."""

    __tablename__ = "collections"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)


class JobRow(LeaseColumns, Base):
    """A job. Its number orders jobs: the higher one has the newer documents."""

    __tablename__ = "jobs"
    number: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    id: orm.Mapped[str] = orm.mapped_column(unique=True)
    collection_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("collections.id"), index=True)
    id_field: orm.Mapped[str]
    text_field: orm.Mapped[str]
    title_field: orm.Mapped[str]
    drops_duplicates: orm.Mapped[bool] = orm.mapped_column(default=False)
    rereads: orm.Mapped[bool] = orm.mapped_column(default=False)
    retries: orm.Mapped[str] = orm.mapped_column(default="")
    retry_reason: orm.Mapped[str] = orm.mapped_column(default="")
    # Its documents came with the call; jobs that read sources wait for each other, these wait for none.
    is_push: orm.Mapped[bool] = orm.mapped_column(default=False)
    state: orm.Mapped[str] = orm.mapped_column(index=True)
    replaces: orm.Mapped[bool] = orm.mapped_column(default=False)
    builds_index: orm.Mapped[bool] = orm.mapped_column(default=False)
    error: orm.Mapped[str] = orm.mapped_column(default="")
    documents_unchanged: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    documents_removed: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    created_at: orm.Mapped[float]
    ended_at: orm.Mapped[float | None]


class PathRow(Base):
    """A path that a job was given."""

    __tablename__ = "paths"
    job_number: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("jobs.number"), primary_key=True)
    place: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    path: orm.Mapped[str]


class PartitionRow(LeaseColumns, Base):
    """A run of records that one worker indexes at a time."""

    __tablename__ = "partitions"
    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    job_number: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("jobs.number"))
    file_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    path: orm.Mapped[str]
    size: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    mtime_ns: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    start: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    end: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    first_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    last_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    # The lines that are its own, within those of its bytes.
    own_first_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    own_last_line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    content: orm.Mapped[bytes | None] = orm.mapped_column(deferred=True)
    documents: orm.Mapped[int]
    state: orm.Mapped[str]
    # Documents that were rejected while it was indexed.
    rejected: orm.Mapped[int] = orm.mapped_column(default=0)
    # Documents that a newer job had stored or deleted, or that were stored as they are.
    unchanged: orm.Mapped[int] = orm.mapped_column(default=0)
    chunks: orm.Mapped[int] = orm.mapped_column(default=0)
    truncated: orm.Mapped[int] = orm.mapped_column(default=0)
    tokens: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    tokens_embedded: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    # What it waits for, when a neighbour did not answer.
    waits_for: orm.Mapped[str] = orm.mapped_column(default="")
    # How often it was taken, also when it was given back.
    claims: orm.Mapped[int] = orm.mapped_column(default=0)
    __table_args__ = (sa.Index("partitions_by_job", "job_number", "state"),)


class RejectionRow(Base):
    """A dead letter."""

    __tablename__ = "rejections"
    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    job_number: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("jobs.number"))
    path: orm.Mapped[str] = orm.mapped_column(_Bytewise)
    line: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    document_id: orm.Mapped[str] = orm.mapped_column(index=True)
    reason: orm.Mapped[str]
    detail: orm.Mapped[str]
    documents: orm.Mapped[int] = orm.mapped_column(default=1)
    __table_args__ = (sa.Index("rejections_by_place", "job_number", "path", "line"),)


# In place of the size of a file that is there no more.
GONE = -1


class FileRow(Base):
    """A file of a collection's sources, as the last job that read it found it.

    signature: of all that, beside its bytes, decides what its documents and chunks are
    is_complete: everything in it is stored, or would be refused again; it need not be read until it changes
    """

    __tablename__ = "files"
    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    collection_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("collections.id"))
    path: orm.Mapped[str] = orm.mapped_column(_Bytewise)
    size: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    mtime_ns: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    signature: orm.Mapped[str]
    job_number: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, index=True)
    is_complete: orm.Mapped[bool] = orm.mapped_column(default=False)
    __table_args__ = (sa.UniqueConstraint("collection_id", "path"),)


class DocumentRow(Base):
    """A document that is stored, or may be, or was deleted, which keeps older jobs from storing it.

    key: of its identifier, see `document_key`
    file_id: where it comes from; None for pushed documents
    digest: of its content and of what decides about its chunks; or a word of `documents` for what is not known
    job_number: the job whose version it is
    """

    __tablename__ = "documents"
    collection_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("collections.id"), primary_key=True)
    key: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(16), primary_key=True)
    document_id: orm.Mapped[str]
    file_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    digest: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(16))
    job_number: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    chunks: orm.Mapped[int]
    __table_args__ = (
        sa.Index("documents_by_file", "file_id"),
        {"sqlite_with_rowid": False},
    )


class ContentRow(Base):
    """Whose content something is, in collections that store equal content once."""

    __tablename__ = "contents"
    collection_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("collections.id"), primary_key=True)
    content: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(16), primary_key=True)
    key: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(16))
    document_id: orm.Mapped[str]
    job_number: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    __table_args__ = (
        sa.Index("contents_by_document", "collection_id", "key"),
        {"sqlite_with_rowid": False},
    )


class RemovalRow(Base):
    """A document that left its source and is removed at the end of the job."""

    __tablename__ = "removals"
    job_number: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("jobs.number"), primary_key=True)
    key: orm.Mapped[bytes] = orm.mapped_column(sa.LargeBinary(16), primary_key=True)
    document_id: orm.Mapped[str]
    file_id: orm.Mapped[int | None] = orm.mapped_column(sa.BigInteger)
    __table_args__ = ({"sqlite_with_rowid": False},)


class UserWordRow(Base):
    """A word that the user added."""

    __tablename__ = "user_words"
    form: orm.Mapped[str] = orm.mapped_column(_Bytewise, primary_key=True)
    tag: orm.Mapped[str]


class DictionaryChangeRow(Base):
    """A change of the words; the highest version is that of the dictionary, 0 that of the empty one.

    forms: added, changed and removed ones, one a line
    """

    __tablename__ = "dictionary_changes"
    version: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True, autoincrement=False)
    forms: orm.Mapped[str]
    changed_at: orm.Mapped[float]


class ReanalysisRow(LeaseColumns, Base):
    """A collection that is to learn of changes of the words; see `kosearch.reanalyses`.

    collection: by its name, for there may be some that no job of this ledger wrote to
    """

    __tablename__ = "reanalyses"
    id: orm.Mapped[int] = orm.mapped_column(_Serial, primary_key=True)
    collection: orm.Mapped[str]
    first_version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    version: orm.Mapped[int] = orm.mapped_column(sa.BigInteger)
    words: orm.Mapped[int]
    state: orm.Mapped[str] = orm.mapped_column(index=True)
    cursor: orm.Mapped[str] = orm.mapped_column(default="")
    doubtful_to: orm.Mapped[str] = orm.mapped_column(default="")
    points_seen: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    points_changed: orm.Mapped[int] = orm.mapped_column(sa.BigInteger, default=0)
    error: orm.Mapped[str] = orm.mapped_column(default="")
    created_at: orm.Mapped[float]
    ended_at: orm.Mapped[float | None]
