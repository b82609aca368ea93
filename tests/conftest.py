"""What all tests share: the ledgers that kosearch runs on (`tests/ledgers.py` says more), and no deadline."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.ledgers import sqlite_url
from tests.real_postgres import RealPostgres, running_postgres, why_unavailable
from tests.real_redis import RealRedis, running_redis

# Other tests and whole stacks run beside: how long an example takes says nothing of the code.
settings.register_profile("kosearch", deadline=None)
settings.load_profile("kosearch")


@pytest.fixture(scope="session")
def postgres() -> Iterator[RealPostgres]:
    """A PostgreSQL server."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture
def redis_server() -> Iterator[RealRedis]:
    """An empty Redis over TCP, with password and rights."""
    with running_redis() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgres"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty ledger: a file, then a database of its own in PostgreSQL."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
        return
    server: RealPostgres = request.getfixturevalue("postgres")
    with server.new_database() as url:
        yield url
