"""The indexing side's view of Qdrant, on the store and on a real server alike."""

import uuid
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from kosearch.documents import Chunk, Document
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import SparseVector, sparse_vector
from kosearch.vector_store import VectorStore
from tests.real_qdrant import RealQdrant
from tests.store_process import StoreProcess

DIM = 32
POINTS = 1500
# What POINTS rows exceed, in each of the segments that a server spreads them over, and any few do not.
THRESHOLD_KIB = 20
MODEL = ("tiny", "f" * 64)


@pytest.fixture(scope="module")
def settings(backend: StoreProcess | RealQdrant) -> QdrantSettings:
    """Where each of the two listens."""
    if isinstance(backend, StoreProcess):
        return QdrantSettings(url="http://127.0.0.1:1", grpc_port=backend.port)
    return QdrantSettings(url=f"http://{backend.host}:1", grpc_port=backend.grpc_port, api_key=backend.api_key)


@pytest.fixture
def vector_store(settings: QdrantSettings) -> Iterator[VectorStore]:
    made = VectorStore(settings)
    yield made
    made.close()


@pytest.fixture
def collection(vector_store: VectorStore, client: QdrantClient) -> Iterator[str]:
    """An empty collection whose index is built from THRESHOLD_KIB on."""
    name = f"vector-store-{uuid.uuid4().hex}"
    vector_store.ensure_collection(name, DIM, *MODEL, {"year": "integer"})
    client.update_collection(name, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=THRESHOLD_KIB))
    yield name
    client.delete_collection(name)


def rows(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of shape (count, DIM)."""
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def words(count: int) -> list[SparseVector]:
    """Return a word that all have and one of its own for each."""
    return [sparse_vector({"글": 1.0, str(number): 2.0}) for number in range(count)]


def chunks(count: int, per_document: int = 3, prefix: str = "d") -> list[Chunk]:
    """Return chunks of documents with the year 1900 and on."""
    made = []
    for number in range(count):
        document = Document(f"{prefix}{number // per_document}", "글", "", {"year": 1900 + number // per_document})
        made.append(Chunk(document, number % per_document, f"글 {number}", ""))
    return made


def fill(vector_store: VectorStore, collection: str, count: int = POINTS) -> None:
    vector_store.upsert_chunks(collection, chunks(count), rows(count), words(count), wait=True)


def nothing() -> None:
    """Hold the lease."""


def threshold(client: QdrantClient, collection: str) -> int | None:
    return client.get_collection(collection).config.optimizer_config.indexing_threshold


def best(client: QdrantClient, collection: str, query: NDArray[np.float32]) -> str:
    """Return the id of the first hit."""
    return str(client.query_points(collection, query=query.tolist(), limit=1).points[0].id)


def test_an_index_is_searched_in_eight_bits_and_its_hits_have_the_scores_of_the_embeddings(
    vector_store: VectorStore, client: QdrantClient, collection: str
) -> None:
    """With the links that the collection was made with."""
    embeddings = rows(POINTS)
    fill(vector_store, collection)
    vector_store.build_index(collection, nothing)
    config = client.get_collection(collection).config
    assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (32, 256)
    assert isinstance(config.quantization_config, models.ScalarQuantization)
    assert config.quantization_config.scalar.type is models.ScalarType.INT8
    assert config.params.sparse_vectors["lexical"].index.full_scan_threshold == 1000
    (query,) = rows(1, seed=7)
    cosines = embeddings @ query / np.linalg.norm(embeddings, axis=1) / np.linalg.norm(query)
    rescored = models.QuantizationSearchParams(rescore=True, oversampling=2.0)
    how = models.SearchParams(hnsw_ef=POINTS, quantization=rescored)
    hits = client.query_points(collection, query=query.tolist(), limit=10, search_params=how).points
    assert [hit.score for hit in hits] == pytest.approx(np.sort(cosines)[:-11:-1].tolist(), abs=1e-5)


def test_nothing_is_indexed_while_building_is_deferred(
    vector_store: VectorStore, client: QdrantClient, collection: str
) -> None:
    """What was written is found all the same. The index of words is no matter of building."""
    vector_store.defer_index_building(collection)
    fill(vector_store, collection)
    info = client.get_collection(collection)
    assert (info.status, info.indexed_vectors_count) == (models.CollectionStatus.GREEN, POINTS)
    assert best(client, collection, rows(POINTS)[7]) == chunks(POINTS)[7].point_id


def test_the_index_is_built_at_the_end(vector_store: VectorStore, client: QdrantClient, collection: str) -> None:
    """With the threshold of before, embedding and words of all points in it, and the same hits."""
    assert not vector_store.is_index_deferred(collection)
    vector_store.defer_index_building(collection)
    assert vector_store.is_index_deferred(collection)
    fill(vector_store, collection)
    vector_store.build_index(collection, nothing, poll_s=0.05)
    assert not vector_store.is_index_deferred(collection)
    info = client.get_collection(collection)
    assert info.status is models.CollectionStatus.GREEN
    assert (info.points_count, info.indexed_vectors_count) == (POINTS, 2 * POINTS)
    assert threshold(client, collection) == THRESHOLD_KIB
    found = [best(client, collection, row) for row in rows(POINTS)[::100]]
    assert found == [chunk.point_id for chunk in chunks(POINTS)[::100]]


def test_what_comes_after_the_build_is_found_at_once(
    vector_store: VectorStore, client: QdrantClient, collection: str
) -> None:
    vector_store.defer_index_building(collection)
    fill(vector_store, collection)
    vector_store.build_index(collection, nothing, poll_s=0.05)
    late, late_rows = chunks(3, prefix="late"), rows(3, seed=1)
    vector_store.upsert_chunks(collection, late, late_rows, words(3), wait=True)
    assert [best(client, collection, row) for row in late_rows] == [chunk.point_id for chunk in late]
    vector_store.delete_documents(collection, ["late0"])
    assert best(client, collection, late_rows[0]) != late[0].point_id


def test_whoever_comes_later_ends_the_deferral_of_one_that_died(
    vector_store: VectorStore, settings: QdrantSettings, client: QdrantClient, collection: str
) -> None:
    """Even if that one comes back and defers again."""
    vector_store.defer_index_building(collection)
    vector_store.defer_index_building(collection)
    assert threshold(client, collection) == 0
    fill(vector_store, collection)
    other = VectorStore(settings)
    other.build_index(collection, nothing, poll_s=0.05)
    other.close()
    assert threshold(client, collection) == THRESHOLD_KIB
    assert client.get_collection(collection).indexed_vectors_count == 2 * POINTS


def test_an_index_that_is_there_is_not_waited_for(vector_store: VectorStore, collection: str) -> None:
    """Building again changes nothing, and neither does building the index of too few points."""
    fill(vector_store, collection, 3)
    for _ in range(2):
        vector_store.build_index(collection, nothing, poll_s=0.05)


def test_a_deferral_leaves_the_model_as_it_is(vector_store: VectorStore, collection: str) -> None:
    """Both are kept in the collection's metadata."""
    vector_store.defer_index_building(collection)
    assert vector_store.check_collection(collection, DIM, *MODEL)


def test_thousands_of_documents_are_deleted_in_a_call(vector_store: VectorStore, collection: str) -> None:
    fill(vector_store, collection, 6000)
    vector_store.upsert_chunks(collection, chunks(6000, 1, "other"), rows(6000), words(6000), wait=True)
    gone = [*(f"other{n}" for n in range(5500)), *(f"d{n}" for n in range(100)), "none"]
    assert vector_store.delete_documents(collection, gone) == 5500 + 300
    assert vector_store.count(collection) == 12_000 - 5800


def test_stale_chunks_of_many_documents_go(vector_store: VectorStore, collection: str) -> None:
    """Indexed or not."""
    fill(vector_store, collection)
    vector_store.build_index(collection, nothing, poll_s=0.05)
    kept = [chunk for chunk in chunks(POINTS) if chunk.index < 2 and int(chunk.document.id[1:]) < 256]
    vector_store.delete_stale_chunks(collection, kept)
    assert vector_store.count(collection) == POINTS - 256


def test_large_fields_are_sent_in_several_requests(vector_store: VectorStore, collection: str) -> None:
    """100 MiB at once would be more than any message may hold."""
    document = Document("large", "글", "", {"table": "a" * (4 << 20)})
    many = [Chunk(document, index, "글", "") for index in range(25)]
    vector_store.upsert_chunks(collection, many, rows(25), words(25), wait=True)
    assert vector_store.count(collection) == 25
