"""The ledger's database: opened, migrated, refused, full."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import kosearch.ledger
from kosearch.errors import ConflictError, InvalidRequestError, SettingsError, UnavailableError
from kosearch.jobs import JobState, SourceFields
from kosearch.ledger import Ledger
from kosearch.ledger.tables import SCHEMA_REVISION, Base
from tests.contract.ledger.steps import (
    FIELDS,
    index,
    known,
    plan,
    push,
    rejection,
    state,
    submit,
    take,
    version,
    writer_of,
)
from tests.ledgers import sqlite_url


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    """Yield a connection of the test's own; what it did is committed."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def connections_left(url: str) -> int:
    """Return how many connections to a database are open, without the one that asks."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        links = Path("/proc/self/fd").iterdir()
        return sum(os.path.realpath(link) == os.path.realpath(parsed.database) for link in links)
    with connected(url) as connection:
        # The server takes a moment to notice.
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        for _ in range(100):
            count = connection.scalar(sa.text(query))
            if not count:
                break
            connection.execute(sa.text("SELECT pg_stat_clear_snapshot(), pg_sleep(0.05)"))
        return int(count or 0)


# The schema


def test_tables_are_those_of_the_migrations(ledger: Ledger, ledger_url: str) -> None:
    """A ledger that was migrated has what the code speaks of, and nothing else."""
    del ledger
    with connected(ledger_url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == SCHEMA_REVISION


def test_the_schema_is_that_of_the_newest_migration() -> None:
    """There is one line of them."""
    config = Config()
    config.set_main_option("script_location", str(Path(kosearch.ledger.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_REVISION]


def test_a_second_process_sees_the_same_jobs(ledger: Ledger, ledger_url: str) -> None:
    """Everything is in the database, nothing in the object."""
    job_id, _ = plan(ledger, 3)
    other = Ledger(ledger_url)
    assert other.progress(job_id).documents_total == 3
    other.close()


def test_a_newer_schema_is_refused(ledger_url: str) -> None:
    """A ledger that a later version wrote is not misread; it is left as it is."""
    Ledger(ledger_url).close()
    with connected(ledger_url) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConflictError, match=rf"schema 9999, and this version of kosearch knows {SCHEMA_REVISION}"):
        Ledger(ledger_url)
    with connected(ledger_url) as connection:
        assert connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"
    assert connections_left(ledger_url) == 0


def test_a_ledger_of_before_migrations_is_refused(ledger_url: str) -> None:
    """Its tables have the names of ours, and are others; it is left as it is."""
    with connected(ledger_url) as connection:
        connection.execute(sa.text("CREATE TABLE jobs (id VARCHAR PRIMARY KEY)"))
    with pytest.raises(ConflictError, match="use the version of kosearch that wrote it, or another data directory"):
        Ledger(ledger_url)
    with connected(ledger_url) as connection:
        assert sa.inspect(connection).get_table_names() == ["jobs"]
    assert connections_left(ledger_url) == 0


def test_a_closed_ledger_leaves_no_connection(ledger_url: str) -> None:
    """Neither after work nor after none."""
    Ledger(ledger_url).close()
    opened = Ledger(ledger_url)
    submit(opened)
    opened.close()
    assert connections_left(ledger_url) == 0


def test_a_migration_that_fails_leaves_nothing_behind(ledger_url: str) -> None:
    """It is one transaction: the next start finds the database as it was."""
    with connected(ledger_url) as connection:
        connection.execute(sa.text("CREATE TABLE removals (nonsense INTEGER)"))
    with pytest.raises(UnavailableError, match="removals"):
        Ledger(ledger_url)
    with connected(ledger_url) as connection:
        assert sa.inspect(connection).get_table_names() == ["removals"]
    assert connections_left(ledger_url) == 0


# What it cannot hold


def test_a_text_with_a_nul_is_refused(ledger: Ledger) -> None:
    """Where the database cannot hold it; asking again would not help. Nothing of the transaction remains."""
    writer = writer_of(ledger, job_id := submit(ledger))
    try:
        writer.add([], [rejection(1), rejection(2, "a\0b")], 1)
    except InvalidRequestError as error:
        assert "cannot hold" in str(error)  # noqa: PT017 - on one of the two databases
        assert ledger.progress(job_id).documents_total == 0
    else:
        assert [each.reason for each in ledger.rejections(job_id)] == ["malformed_json", "a\0b"]


@pytest.mark.parametrize("odd", ["/a\ud800b", "a\udcff"])
def test_half_a_character_is_refused(odd: str, ledger: Ledger) -> None:
    """Paths that are no UTF-8 and halves of surrogate pairs have no place in a database."""
    with pytest.raises(InvalidRequestError, match="cannot hold"):
        ledger.create_job("laws", [Path(odd)], FIELDS)
    with pytest.raises(InvalidRequestError, match="cannot hold"):
        ledger.delete_documents("laws", [odd])
    assert ledger.jobs(10) == []


def test_an_identifier_with_a_nul_is_refused_or_kept(ledger: Ledger) -> None:
    """It never makes an error that would be tried again."""
    try:
        job = index(ledger, version("a\0b"))
    except InvalidRequestError:
        return
    assert known(ledger, job, "a\0b") is not None


# SQLite alone


@pytest.fixture
def nearly_full(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger in a file that may grow by a few pages only."""

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 60")

    sa.event.listen(sa.Engine, "connect", limit)
    opened = Ledger(sqlite_url(tmp_path))
    yield opened
    opened.close()
    sa.event.remove(sa.Engine, "connect", limit)


def test_a_full_disk_is_said(nearly_full: Ledger) -> None:
    """The message says that it is full; what was there is there, and what did not fit is not there in part."""
    job_id, number = push(nearly_full, "가")
    with pytest.raises(UnavailableError, match=r"ledger\.db cannot be used: .*full"):
        nearly_full.push_documents("laws", b"x" * 10_000_000, 1)
    assert [job.id for job in nearly_full.jobs(10)] == [job_id]
    content = take(nearly_full, number).content
    assert content is not None
    assert json.loads(content)["id"] == "가"


def test_work_goes_on_when_the_disk_has_room_again(nearly_full: Ledger) -> None:
    """One transaction failed, and none after it."""
    with pytest.raises(UnavailableError):
        nearly_full.push_documents("laws", b"x" * 10_000_000, 1)
    assert state(nearly_full, nearly_full.create_job("laws", [], SourceFields())) is JobState.PENDING


def test_the_directory_is_made(tmp_path: Path) -> None:
    """The first start on a fresh machine needs no preparation."""
    Ledger(f"sqlite:///{tmp_path / 'a' / 'b' / 'ledger.db'}").close()
    assert (tmp_path / "a" / "b" / "ledger.db").exists()


def test_a_path_that_cannot_be_a_directory_is_unavailable(tmp_path: Path) -> None:
    """A file where the directory should be is a clear message, not a traceback."""
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="ledger"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """A foreign file is not overwritten, and the message names it."""
    foreign = tmp_path / "ledger.db"
    foreign.write_text(text := "이것은 데이터베이스가 아니다. " * 100)
    with pytest.raises(UnavailableError, match=r"ledger\.db"):
        Ledger(sqlite_url(tmp_path))
    assert foreign.read_text() == text
    assert connections_left(sqlite_url(tmp_path)) == 0


# Neither


@pytest.mark.parametrize("bad", ["nonsense", "nonsense://x", "postgresql+nonsense://h/x", "sqlite+pysqlcipher:///x"])
def test_a_bad_url_names_the_setting(bad: str) -> None:
    """A mistyped URL or a missing driver is a setting to correct."""
    with pytest.raises(SettingsError, match="KOSEARCH_LEDGER__URL"):
        Ledger(bad)


def test_a_password_is_not_shown() -> None:
    """An error about the database does not bring its password into a log."""
    with pytest.raises(SettingsError) as caught:
        Ledger("postgresql+nonsense://user:s3cret@h/x")
    assert "s3cret" not in str(caught.value)


def test_a_server_that_is_away_is_unavailable(tmp_path: Path) -> None:
    """Its address is named, its password is not."""
    pytest.importorskip("psycopg")
    with pytest.raises(UnavailableError, match="user") as caught:
        Ledger(f"postgresql+psycopg://user:s3cret@/kosearch?host={tmp_path}")
    assert "s3cret" not in str(caught.value)
