"""The bench that most tests here work at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.indexer_worker.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A worker between its neighbours; partitions hold four documents."""
    made = Bench(tmp_path, partition_documents=4, max_attempts=3)
    yield made
    made.close()
