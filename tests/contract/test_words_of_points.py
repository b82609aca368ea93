"""Words of points read and replaced one by one, on the store and on a real server alike."""

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from kosearch.documents import Chunk, Document
from kosearch.errors import NotFoundError
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import SparseVector, sparse_vector
from kosearch.vector_store import LEXICAL_VECTOR, PointText, VectorStore
from tests.real_qdrant import RealQdrant
from tests.store_process import StoreProcess

DIM = 4
COUNT = 700


@pytest.fixture(scope="module")
def vector_store(backend: StoreProcess | RealQdrant) -> Iterator[VectorStore]:
    if isinstance(backend, StoreProcess):
        settings = QdrantSettings(url="http://127.0.0.1:1", grpc_port=backend.port)
    else:
        settings = QdrantSettings(url=f"http://{backend.host}:1", grpc_port=backend.grpc_port, api_key=backend.api_key)
    made = VectorStore(settings)
    yield made
    made.close()


@pytest.fixture
def collection(vector_store: VectorStore, client: QdrantClient) -> Iterator[str]:
    """A collection of COUNT points, each with its own word."""
    name = f"words-{uuid.uuid4().hex}"
    vector_store.ensure_collection(name, DIM, "tiny", "f" * 64, {})
    chunks = [
        Chunk(Document(f"d{number}", f"글 {number}", "제목", {"n": number}), 0, f"글 {number}", "")
        for number in range(COUNT)
    ]
    rows = np.random.default_rng(0).standard_normal((COUNT, DIM)).astype(np.float32)
    vector_store.upsert_chunks(name, chunks, rows, [word(number) for number in range(COUNT)], wait=True)
    yield name
    client.delete_collection(name)


def word(number: object) -> SparseVector:
    return sparse_vector({f"낱말 {number}": 1.5, "글": 1.0})


def vectors(client: QdrantClient, collection: str) -> dict[str, tuple[list[float], dict[int, float]]]:
    """Return both vectors of each point, read past our own code."""
    points, _ = client.scroll(collection, limit=COUNT + 1, with_vectors=True, with_payload=True)
    found = {}
    for point in points:
        assert isinstance(point.vector, dict)
        sparse = point.vector[LEXICAL_VECTOR]
        assert isinstance(sparse, models.SparseVector)
        found[str(point.id)] = (point.vector[""], dict(zip(sparse.indices, sparse.values, strict=True)))
    return found  # type: ignore[return-value]


def all_texts(store: VectorStore, collection: str, limit: int) -> list[PointText]:
    found: list[PointText] = []
    following = ""
    while True:
        page = store.texts_from(collection, following, limit)
        assert len(page.points) <= limit
        found += page.points
        following = page.following
        if not following:
            return found


def test_all_texts_are_read_page_by_page(vector_store: VectorStore, collection: str) -> None:
    """Each once, by rising id."""
    found = all_texts(vector_store, collection, 100)
    assert {(each.title, each.text) for each in found} == {("제목", f"글 {number}") for number in range(COUNT)}
    assert [each.id for each in found] == sorted({each.id for each in found})


def test_reading_goes_on_behind_a_point_that_was_deleted(
    vector_store: VectorStore, collection: str, client: QdrantClient
) -> None:
    """The cursor of a reader may be the id of a point that is there no more."""
    following = vector_store.texts_from(collection, "", 100).following
    client.delete(collection, [following], wait=True)
    rest = vector_store.texts_from(collection, following, COUNT)
    assert (len(rest.points), rest.following) == (COUNT - 101, "")
    assert all(each.id > following for each in rest.points)


def test_texts_of_some_points_are_those_that_are_there(vector_store: VectorStore, collection: str) -> None:
    known = all_texts(vector_store, collection, COUNT)
    asked = [*(each.id for each in known[::2]), str(uuid.uuid4())]
    assert set(vector_store.texts_of(collection, asked)) == set(known[::2])
    assert vector_store.texts_of(collection, []) == ()


def test_points_of_others_are_passed_over(vector_store: VectorStore, collection: str, client: QdrantClient) -> None:
    """They have numbers for ids, or no text; what has a text is read."""
    vector = {"": [1.0, 0.0, 0.0, 0.0]}
    payloads: list[dict[str, object]] = [{}, {"text": 5}, {"text": "글", "title": ["x"]}, {"text": "남의 글"}]
    points = [models.PointStruct(id=number, vector=vector, payload=each) for number, each in enumerate(payloads)]
    client.upsert(collection, points, wait=True)
    found = all_texts(vector_store, collection, 2)
    assert len(found) == COUNT + 1
    assert found[0] == PointText("3", "", "남의 글")
    vector_store.update_words(collection, ["3"], [word("새")])
    assert vectors_of_number(client, collection, 3) == as_dict(word("새"))


def vectors_of_number(client: QdrantClient, collection: str, number: int) -> dict[int, float]:
    (point,) = client.retrieve(collection, [number], with_vectors=True)
    assert isinstance(point.vector, dict)
    sparse = point.vector[LEXICAL_VECTOR]
    assert isinstance(sparse, models.SparseVector)
    return dict(zip(sparse.indices, sparse.values, strict=True))


def as_dict(vector: SparseVector) -> dict[int, float]:
    return dict(zip(vector.indices.tolist(), vector.values.tolist(), strict=True))


def test_words_are_replaced_and_nothing_else(vector_store: VectorStore, collection: str, client: QdrantClient) -> None:
    """More points than one request holds; the others stay bit for bit, and so do embeddings and payloads."""
    before = vectors(client, collection)
    payloads = {point.id: point.payload for point in client.scroll(collection, limit=COUNT)[0]}
    chosen = sorted(before)[::2]
    vector_store.update_words(collection, chosen, [word(f"새 {place}") for place in range(len(chosen))])
    after = vectors(client, collection)
    assert {point: embedding for point, (embedding, _) in after.items()} == {
        point: embedding for point, (embedding, _) in before.items()
    }
    for place, point in enumerate(chosen):
        assert after[point][1] == as_dict(word(f"새 {place}"))
    assert all(after[point] == before[point] for point in set(before) - set(chosen))
    assert {point.id: point.payload for point in client.scroll(collection, limit=COUNT)[0]} == payloads
    found = client.query_points(
        collection,
        query=models.SparseVector(**{"indices": word("새 3").indices.tolist(), "values": word("새 3").values.tolist()}),
        using=LEXICAL_VECTOR,
        limit=1,
    )
    assert found.points[0].id == chosen[3]


@pytest.mark.parametrize("missing", [1, COUNT // 2, COUNT])
def test_a_deleted_point_stays_away(
    missing: int, vector_store: VectorStore, collection: str, client: QdrantClient
) -> None:
    """However many are gone, the others are changed."""
    points = sorted(vectors(client, collection))
    client.delete(collection, points[:missing], wait=True)
    vector_store.update_words(collection, points, [word("새")] * COUNT)
    after = vectors(client, collection)
    assert sorted(after) == points[missing:]
    assert all(words == as_dict(word("새")) for _, words in after.values())


def test_a_point_may_lose_its_last_word(vector_store: VectorStore, collection: str, client: QdrantClient) -> None:
    point = sorted(vectors(client, collection))[0]
    vector_store.update_words(collection, [point], [sparse_vector({})])
    assert vectors(client, collection)[point][1] == {}


def test_nothing_to_change_is_no_error(vector_store: VectorStore, collection: str) -> None:
    vector_store.update_words(collection, [], [])


def test_an_unknown_collection_is_said(vector_store: VectorStore) -> None:
    """It may be deleted at any time."""
    for ask in (
        lambda: vector_store.texts_from("none", "", 10),
        lambda: vector_store.texts_of("none", [str(uuid.uuid4())]),
        lambda: vector_store.update_words("none", [str(uuid.uuid4())], [word(1)]),
    ):
        with pytest.raises(NotFoundError, match="'none' does not exist"):
            ask()


def test_collections_with_words_are_known(vector_store: VectorStore, collection: str, client: QdrantClient) -> None:
    plain = f"plain-{uuid.uuid4().hex}"
    client.create_collection(plain, models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    found = vector_store.collections_with_words()
    client.delete_collection(plain)
    assert collection in found
    assert plain not in found
