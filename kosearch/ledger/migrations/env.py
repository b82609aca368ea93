"""What Alembic runs: the migrations on the connection that `Database` gives, within its transaction."""

from alembic import context

from kosearch.ledger.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by writing its table anew
)
with context.begin_transaction():
    context.run_migrations()
