"""The ledger's database: SQLite or PostgreSQL, brought to the present schema when it is opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.engine import make_url

from kosearch.errors import ConflictError, InvalidRequestError, KosearchError, SettingsError, UnavailableError
from kosearch.ledger.tables import SCHEMA_REVISION

_MIGRATIONS = Path(__file__).parent / "migrations"
# Any number, as long as all versions of kosearch have the same.
_MIGRATION_LOCK = 5_460_731
# Nobody waits for ever for a server that is away, or for a lock.
_LIMITS = {"connect_timeout": 10, "options": "-c lock_timeout=30s -c statement_timeout=120s"}


class Database:
    """Transactions on the ledger's database. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Open it, made or migrated when it has to be. Raises SettingsError, UnavailableError, ConflictError."""
        try:
            self._where = make_url(url).render_as_string(hide_password=True)
            self._engine = _make_engine(url)
        except (sa.exc.ArgumentError, ValueError, ImportError) as error:
            raise SettingsError(
                f"KOSEARCH_LEDGER__URL cannot be used ({error}); write a SQLAlchemy URL such as "
                "postgresql+psycopg://user@host/kosearch, and install its driver (`pip install 'kosearch[postgres]'`)"
            ) from error
        except OSError as error:
            raise UnavailableError(f"the job ledger {self._where} cannot be used: {error}") from error
        try:
            with self._translated():
                self._migrate()
        except KosearchError:
            self.close()
            raise

    @property
    def is_postgresql(self) -> bool:
        """Tell which of the two it is."""
        return self._engine.dialect.name == "postgresql"

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def session(self) -> Iterator[orm.Session]:
        """Run the block in one transaction.

        Raises UnavailableError when the database does not answer or is full, InvalidRequestError for a text that it
        cannot hold.
        """
        with self._translated(), orm.Session(self._engine) as session, session.begin():
            yield session

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if self.is_postgresql:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            revision = _revision(connection)
            if revision == SCHEMA_REVISION:
                return
            if revision is None and sa.inspect(connection).has_table("jobs"):
                raise self._conflict("was written before ledgers were migrated")
            self._upgrade(connection, revision)

    def _upgrade(self, connection: sa.Connection, revision: str | None) -> None:
        # Imported where it is needed: opening a ledger that is up to date should stay quick.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415
        from alembic.script import ScriptDirectory  # noqa: PLC0415

        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(_MIGRATIONS))
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if revision is not None and revision not in known:
            raise self._conflict(f"has schema {revision}, and this version of kosearch knows {SCHEMA_REVISION}")
        command.upgrade(config, SCHEMA_REVISION)

    def _conflict(self, what: str) -> ConflictError:
        return ConflictError(
            f"the job ledger {self._where} {what}; use the version of kosearch that wrote it, or another data directory"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except KosearchError:
            raise
        except (sa.exc.DataError, UnicodeEncodeError) as error:  # asking again would not help
            raise InvalidRequestError(f"the job ledger cannot hold what it was given: {error}") from error
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise UnavailableError(f"the job ledger {self._where} cannot be used: {cause}") from error


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def _make_engine(url: str) -> sa.Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=_LIMITS)
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
