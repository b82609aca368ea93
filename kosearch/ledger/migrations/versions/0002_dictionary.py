"""Words of the user, changes of them, and the reanalyses that these ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_BYTEWISE = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, with the version of the empty dictionary."""
    op.create_table(
        "user_words",
        sa.Column("form", _BYTEWISE, nullable=False),
        sa.Column("tag", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("form"),
    )
    changes = op.create_table(
        "dictionary_changes",
        sa.Column("version", _SERIAL, autoincrement=False, nullable=False),
        sa.Column("forms", sa.String(), nullable=False),
        sa.Column("changed_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("version"),
    )
    op.bulk_insert(changes, [{"version": 0, "forms": "", "changed_at": 0.0}])
    op.create_table(
        "reanalyses",
        sa.Column("id", _SERIAL, nullable=False),
        sa.Column("collection", sa.String(), nullable=False),
        sa.Column("first_version", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("words", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("cursor", sa.String(), nullable=False),
        sa.Column("doubtful_to", sa.String(), nullable=False),
        sa.Column("points_seen", sa.BigInteger(), nullable=False),
        sa.Column("points_changed", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("lease_owner", sa.String(), nullable=False),
        sa.Column("lease_since", sa.Double(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("dispatched_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_reanalyses_state"), "reanalyses", ["state"], unique=False)
