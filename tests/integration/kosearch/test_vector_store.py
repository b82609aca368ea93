"""The indexing side's view of Qdrant, against the store process."""

import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from numpy.typing import NDArray

from kosearch.documents import Chunk, Document
from kosearch.errors import ConflictError, NotFoundError, UnauthenticatedError, UnavailableError
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import sparse_vector
from kosearch.vector_store import VectorStore, has_field_path
from tests.store_process import running_store

DIM = 4
MODEL = ("tiny", "f" * 64)
KEY = "test-key"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QdrantSettings]:
    """A running store."""
    with running_store(tmp_path_factory.mktemp("store") / "data", api_key=KEY) as process:
        yield QdrantSettings(url=f"http://127.0.0.1:{process.port}", grpc_port=process.port, api_key=KEY, timeout_s=10)


@pytest.fixture
def store(settings: QdrantSettings) -> Iterator[VectorStore]:
    made = VectorStore(settings)
    yield made
    made.close()


@pytest.fixture
def collection(store: VectorStore, request: pytest.FixtureRequest) -> str:
    """A new collection of the test's own."""
    name = request.node.name[:200].replace("[", ".").replace("]", "")
    store.ensure_collection(name, DIM, *MODEL, {})
    return name


def chunks(document_id: str, count: int, **fields: object) -> list[Chunk]:
    document = Document(document_id, "글", "", fields)
    return [Chunk(document, index, f"글 {index}", f"글 {index}") for index in range(count)]


def rows(count: int) -> NDArray[np.float32]:
    return np.ones((count, DIM), dtype=np.float32)


def upsert(store: VectorStore, collection: str, *documents: list[Chunk]) -> None:
    for each in documents:
        store.upsert_chunks(collection, each, rows(len(each)), [sparse_vector({"글": 1.0})] * len(each), wait=True)


def test_the_version_is_new_enough(store: VectorStore) -> None:
    """The store speaks as the Qdrant whose engine it holds."""
    assert store.check_version()


def test_a_collection_is_made_once(store: VectorStore) -> None:
    """Making it again changes nothing and loses nothing."""
    assert not store.check_collection("made", DIM, *MODEL)
    store.ensure_collection("made", DIM, *MODEL, {"year": "integer"})
    upsert(store, "made", chunks("a", 2))
    store.ensure_collection("made", DIM, *MODEL, {"year": "integer", "law": "keyword"})
    assert store.check_collection("made", DIM, *MODEL)
    assert store.count("made") == 2


def test_two_planners_may_make_it_at_the_same_moment(settings: QdrantSettings) -> None:
    """Whoever comes second finds it made, which is no error."""
    stores = [VectorStore(settings) for _ in range(6)]
    barrier = Barrier(len(stores))

    def make(store: VectorStore) -> None:
        barrier.wait()
        store.ensure_collection("raced", DIM, *MODEL, {"year": "integer"})

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(make, stores))
    assert stores[0].check_collection("raced", DIM, *MODEL)
    for each in stores:
        each.close()


@pytest.mark.parametrize(("dim", "fingerprint"), [(DIM, "0" * 64), (8, "f" * 64)])
def test_another_model_or_dimension_is_a_conflict(
    dim: int, fingerprint: str, store: VectorStore, collection: str
) -> None:
    """The message names both models, and the collection stays as it is."""
    with pytest.raises(ConflictError, match="holds embeddings of tiny"):
        store.ensure_collection(collection, dim, "other", fingerprint, {})


def test_the_same_point_is_overwritten(store: VectorStore, collection: str) -> None:
    """A chunk that is written twice is one point."""
    upsert(store, collection, chunks("a", 3), chunks("a", 3))
    assert store.count(collection) == 3


def test_stale_chunks_go_and_others_stay(store: VectorStore, collection: str) -> None:
    """Only chunks of the named documents that are not among the given ones are deleted."""
    upsert(store, collection, chunks("a", 5), chunks("b", 4))
    store.delete_stale_chunks(collection, chunks("a", 2))
    assert store.count(collection) == 2 + 4


def test_documents_are_deleted_with_their_count(store: VectorStore, collection: str) -> None:
    """The answer is the number of chunks that were there."""
    upsert(store, collection, chunks("a", 5), chunks("민법-1", 4))
    assert store.delete_documents(collection, ["민법-1", "none"]) == 4
    assert store.count(collection) == 5


@pytest.mark.parametrize("ask", ["count", "delete", "upsert"])
def test_a_collection_that_does_not_exist_is_named(ask: str, store: VectorStore) -> None:
    """Whatever is asked of it, the message says how to make it."""
    calls = {
        "count": lambda: store.count("none"),
        "delete": lambda: store.delete_documents("none", ["a"]),
        "upsert": lambda: upsert(store, "none", chunks("a", 1)),
    }
    with pytest.raises(NotFoundError, match=r"'none'.*kosearch index"):
        calls[ask]()


def test_a_wrong_key_names_the_setting(settings: QdrantSettings) -> None:
    """Whoever has the wrong key learns which one to correct."""
    stranger = VectorStore(settings.model_copy(update={"api_key": "wrong"}))
    with pytest.raises(UnauthenticatedError, match="KOSEARCH_QDRANT__API_KEY"):
        stranger.count("any")
    stranger.close()


def test_every_field_that_has_a_path_can_be_indexed(store: VectorStore) -> None:
    """No sign in a field's name makes the collection fail."""
    signs = "".join(filter(has_field_path, string.punctuation + " 가①é\u3000"))
    assert len(signs) > 30
    fields = dict.fromkeys([signs, " x ", "a.b.c", "a[]", "-", "0", "발행일"], "keyword")
    store.ensure_collection("fields", DIM, *MODEL, fields)  # type: ignore[arg-type]
    store.ensure_collection("fields", DIM, *MODEL, fields)  # type: ignore[arg-type]


def test_a_store_that_dies_is_unavailable_and_found_again(tmp_path: Path) -> None:
    """The same object goes on after the store was restarted on its port."""
    with running_store(tmp_path / "data") as process:
        store = VectorStore(QdrantSettings(url=f"http://127.0.0.1:{process.port}", grpc_port=process.port, timeout_s=5))
        store.ensure_collection("kept", DIM, *MODEL, {})
        upsert(store, "kept", chunks("a", 2))
        process.kill()
        with pytest.raises(UnavailableError, match="kosearch up"):
            store.count("kept")
    store.close()
