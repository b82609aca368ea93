"""The servers that other tests run on: each test has its own, and nothing stays behind."""

from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
import redis
import sqlalchemy as sa

from kosearch.ledger import Ledger
from tests.real_postgres import RealPostgres, execute, running_postgres, why_unavailable
from tests.real_redis import RealRedis, running_redis


def names_of_databases(server: RealPostgres) -> set[str]:
    engine = sa.create_engine(server.url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return set(connection.exec_driver_sql("SELECT datname FROM pg_database").scalars())


def test_a_ledger_is_empty_when_a_test_gets_it(ledger_url: str) -> None:
    """No table of another test is in it."""
    engine = sa.create_engine(ledger_url, poolclass=sa.NullPool)
    assert sa.inspect(engine).get_table_names() == []


def test_a_ledger_can_be_opened(ledger_url: str) -> None:
    """File and server both hold the tables."""
    Ledger(ledger_url).close()


def test_databases_are_apart_and_gone_afterwards(postgres: RealPostgres) -> None:
    """Even with a connection that was left open, and after a failure."""
    before = names_of_databases(postgres)
    with ExitStack() as failing:
        failing.enter_context(pytest.raises(ZeroDivisionError))
        one, other = (failing.enter_context(postgres.new_database()) for _ in range(2))
        left_open = sa.create_engine(one).connect()
        assert len(names_of_databases(postgres) - before) == 2
        assert one != other
        _ = 1 / 0
    left_open.invalidate()
    left_open.close()
    assert names_of_databases(postgres) == before


def test_the_role_is_no_superuser(postgres: RealPostgres) -> None:
    """What passes here needs no rights that production would not give."""
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        execute(postgres.url, "CREATE ROLE another")


def test_servers_are_gone_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither processes nor files are left."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    for name in ("POSTGRES_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    own = psutil.Process()
    before = set(own.children(recursive=True))
    with ExitStack() as failing:
        failing.enter_context(pytest.raises(ZeroDivisionError))
        failing.enter_context(running_redis())
        folder = Path(str(failing.enter_context(running_postgres()).url.query["host"]))
        assert folder.exists()
        _ = 1 / 0
    assert not folder.exists()
    assert set(own.children(recursive=True)) <= before


def test_redis_asks_for_the_password(redis_server: RealRedis) -> None:
    """A URL without it is refused, as in production."""
    if redis_server.url == redis_server.admin_url:
        pytest.skip("the password at REDIS_URL is what it is")
    where = redis_server.url.rpartition("@")[2]
    with redis.Redis.from_url(f"redis://{where}") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_redis_gives_no_rights_to_administer(redis_server: RealRedis) -> None:
    """Nothing in kosearch may come to need them unseen."""
    if redis_server.url == redis_server.admin_url:
        pytest.skip("the rights at REDIS_URL are what they are")
    with redis.Redis.from_url(redis_server.url) as connection:
        assert connection.ping()
        with pytest.raises(redis.exceptions.NoPermissionError):
            connection.config_get("maxmemory")
