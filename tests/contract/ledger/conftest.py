"""A ledger on each of its databases, on a clock that the test moves."""

from collections.abc import Iterator

import pytest

from kosearch.ledger import Ledger
from tests.contract.ledger.steps import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger(ledger_url, clock)
    yield opened
    opened.close()
