"""Jobs, partitions, rejections; files and documents by collection."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "collections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "contents",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("content", sa.LargeBinary(length=16), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("job_number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
        ),
        sa.PrimaryKeyConstraint("collection_id", "content"),
        sqlite_with_rowid=False,
    )
    op.create_index("contents_by_document", "contents", ["collection_id", "key"], unique=False)
    op.create_table(
        "documents",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_number", sa.BigInteger(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
        ),
        sa.PrimaryKeyConstraint("collection_id", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("documents_by_file", "documents", ["file_id"], unique=False)
    op.create_table(
        "files",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("path", _BYTEWISE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.String(), nullable=False),
        sa.Column("job_number", sa.BigInteger(), nullable=False),
        sa.Column("is_complete", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("collection_id", "path"),
    )
    op.create_index("ix_files_job_number", "files", ["job_number"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("number", _SERIAL, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("id_field", sa.String(), nullable=False),
        sa.Column("text_field", sa.String(), nullable=False),
        sa.Column("title_field", sa.String(), nullable=False),
        sa.Column("drops_duplicates", sa.Boolean(), nullable=False),
        sa.Column("rereads", sa.Boolean(), nullable=False),
        sa.Column("retries", sa.String(), nullable=False),
        sa.Column("retry_reason", sa.String(), nullable=False),
        sa.Column("is_push", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("replaces", sa.Boolean(), nullable=False),
        sa.Column("builds_index", sa.Boolean(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("documents_unchanged", sa.BigInteger(), nullable=False),
        sa.Column("documents_removed", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=False),
        sa.Column("lease_since", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dispatched_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["collections.id"],
        ),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
    )
    op.create_index(op.f("ix_jobs_collection_id"), "jobs", ["collection_id"], unique=False)
    op.create_index(op.f("ix_jobs_state"), "jobs", ["state"], unique=False)
    op.create_table(
        "partitions",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("job_number", _SERIAL, nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=True),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("end", sa.BigInteger(), nullable=False),
        sa.Column("first_line", sa.BigInteger(), nullable=False),
        sa.Column("last_line", sa.BigInteger(), nullable=False),
        sa.Column("own_first_line", sa.BigInteger(), nullable=False),
        sa.Column("own_last_line", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("unchanged", sa.Integer(), nullable=False),
        sa.Column("chunks", sa.Integer(), nullable=False),
        sa.Column("truncated", sa.Integer(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("tokens_embedded", sa.BigInteger(), nullable=False),
        sa.Column("waits_for", sa.String(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(), nullable=False),
        sa.Column("lease_since", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dispatched_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_number"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("partitions_by_job", "partitions", ["job_number", "state"], unique=False)
    op.create_table(
        "paths",
        sa.Column("job_number", _SERIAL, nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_number"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job_number", "place"),
    )
    op.create_table(
        "rejections",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("job_number", _SERIAL, nullable=False),
        sa.Column("path", _BYTEWISE, nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_number"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_rejections_document_id"), "rejections", ["document_id"], unique=False)
    op.create_index("rejections_by_place", "rejections", ["job_number", "path", "line"], unique=False)
    op.create_table(
        "removals",
        sa.Column("job_number", _SERIAL, nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("document_id", sa.String(), nullable=False),
        sa.Column("file_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_number"],
            ["jobs.number"],
        ),
        sa.PrimaryKeyConstraint("job_number", "key"),
        sqlite_with_rowid=False,
    )
