"""The two Qdrants that kosearch runs on."""

import uuid
from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient

from tests.real_qdrant import RealQdrant, running_qdrant, why_unavailable
from tests.store_process import StoreProcess, running_store


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """The store, as a process of its own."""
    with running_store(tmp_path_factory.mktemp("store") / "data") as process:
        yield process


@pytest.fixture(scope="session")
def real_qdrant() -> Iterator[RealQdrant]:
    """A Qdrant server."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with running_qdrant() as server:
        yield server


@pytest.fixture(scope="module", params=["store", "real_qdrant"])
def backend(request: pytest.FixtureRequest) -> StoreProcess | RealQdrant:
    """Each of the two in turn."""
    chosen: StoreProcess | RealQdrant = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture(scope="module")
def client(backend: StoreProcess | RealQdrant) -> Iterator[QdrantClient]:
    """A client of each in turn."""
    with_client = backend.client()
    yield with_client
    with_client.close()


@pytest.fixture
def name(client: QdrantClient) -> Iterator[str]:
    """The name of a collection that is gone after the test."""
    chosen = f"contract-{uuid.uuid4().hex}"
    yield chosen
    client.delete_collection(chosen)
