"""What holds jobs and tasks: files on one machine, or the servers of production."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real_postgres import RealPostgres
from tests.real_redis import running_redis


@dataclass(frozen=True)
class Backing:
    """URLs of ledger and broker; empty: those in the data directory."""

    ledger_url: str = ""
    broker_url: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """Return the settings that name them."""
        chosen = {"KOSEARCH_LEDGER__URL": self.ledger_url, "KOSEARCH_BROKER__URL": self.broker_url}
        return {name: value for name, value in chosen.items() if value}


def sqlite_url(folder: Path) -> str:
    """Return the URL of a ledger in a file that does not exist yet."""
    return f"sqlite:///{folder / 'ledger.db'}"


@contextmanager
def server_backing(postgres: RealPostgres) -> Iterator[Backing]:
    """Yield an empty ledger in PostgreSQL and an empty Redis, both gone after the block."""
    with ExitStack() as servers:
        ledger_url = servers.enter_context(postgres.new_database())
        yield Backing(ledger_url, servers.enter_context(running_redis()).url)
