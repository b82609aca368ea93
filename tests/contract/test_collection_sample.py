"""Samples of a collection, on the store and on a real server alike."""

import uuid
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from kosearch.documents import Chunk, Document
from kosearch.errors import InvalidRequestError, NotFoundError
from kosearch.evaluation.collection_sample import CollectionSample
from kosearch.settings import QdrantSettings
from tests.real_qdrant import RealQdrant
from tests.store_process import StoreProcess

DIM = 8
DOCUMENTS = 400
CHUNKS = 3


@pytest.fixture(scope="module")
def settings(backend: StoreProcess | RealQdrant) -> QdrantSettings:
    """Where each of the two listens."""
    if isinstance(backend, StoreProcess):
        return QdrantSettings(url="http://127.0.0.1:1", grpc_port=backend.port)
    return QdrantSettings(url=f"http://{backend.host}:1", grpc_port=backend.grpc_port, api_key=backend.api_key)


def point(document: Document, index: int) -> models.PointStruct:
    chunk = Chunk(document, index, f"{document.id} 조각 {index}", "")
    payload = {
        "document_id": document.id,
        "chunk_index": index,
        "title": document.title,
        "text": chunk.text,
        "fields": {},
    }
    row = np.random.default_rng(len(document.id) * 100 + index).standard_normal(DIM)
    return models.PointStruct(id=chunk.point_id, vector=(row / np.linalg.norm(row)).tolist(), payload=payload)


@pytest.fixture(scope="module")
def collection(client: QdrantClient) -> Iterator[str]:
    """400 documents: every fourth has three chunks, the others one."""
    name = f"sample-{uuid.uuid4().hex}"
    config = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    client.create_collection(name, vectors_config=config, metadata={"model_fingerprint": "f" * 64})
    for field, kind in (("document_id", "keyword"), ("chunk_index", "integer")):
        client.create_payload_index(name, field, field_schema=models.PayloadSchemaType(kind), wait=True)
    documents = [Document(f"d{number}", "x", f"제목 {number}") for number in range(DOCUMENTS)]
    points = [
        point(document, index)
        for number, document in enumerate(documents)
        for index in range(CHUNKS if number % 4 == 0 else 1)
    ]
    client.upsert(name, points, wait=True)
    yield name
    client.delete_collection(name)


@pytest.fixture
def sample(settings: QdrantSettings, collection: str) -> Iterator[CollectionSample]:
    made = CollectionSample(settings, collection)
    yield made
    made.close()


def test_the_same_seed_draws_the_same_documents(sample: CollectionSample) -> None:
    assert sample.documents(50, 1) == sample.documents(50, 1)
    assert sample.documents(50, 1) != sample.documents(50, 2)


def test_no_document_is_drawn_twice(sample: CollectionSample) -> None:
    """Also not where the sample begins near the end of the ids and goes on at their beginning."""
    for seed in range(20):
        ids = [document.id for document in sample.documents(150, seed)]
        assert len(ids) == len(set(ids)) == 150


def test_documents_of_many_chunks_are_drawn_as_often_as_those_of_one(sample: CollectionSample) -> None:
    """A quarter of the documents has three chunks each, half of all chunks."""
    drawn = Counter(int(document.id[1:]) % 4 == 0 for seed in range(30) for document in sample.documents(40, seed))
    assert 0.2 < drawn[True] / drawn.total() < 0.3


def test_a_document_is_put_together_from_its_chunks(sample: CollectionSample) -> None:
    documents = {document.id: document for document in sample.documents(1_000, 0)}
    assert len(documents) == DOCUMENTS
    assert documents["d4"].text == "d4 조각 0\nd4 조각 1\nd4 조각 2"
    assert documents["d5"].text == "d5 조각 0"
    assert documents["d4"].title == "제목 4"


def test_documents_that_are_not_there_are_told(sample: CollectionSample) -> None:
    assert sample.missing({"d0", "d399", "d400", "없음"}) == {"d400", "없음"}
    assert sample.missing(set()) == set()


def test_embeddings_are_drawn_as_rows(sample: CollectionSample) -> None:
    everything = sample.embeddings(10_000, 0)
    assert everything.shape == (DOCUMENTS + DOCUMENTS // 4 * (CHUNKS - 1), DIM) == (sample.count(), DIM)
    assert np.linalg.norm(everything, axis=1) == pytest.approx(1, abs=1e-5)
    assert sample.embeddings(100, 3).shape == (100, DIM)
    assert np.array_equal(sample.embeddings(100, 3), sample.embeddings(100, 3))


def test_the_model_of_a_collection_is_known(sample: CollectionSample) -> None:
    assert sample.model_fingerprint() == "f" * 64


def test_an_unknown_collection_is_named(settings: QdrantSettings) -> None:
    absent = CollectionSample(settings, "absent")
    for ask in (lambda: absent.documents(1, 0), lambda: absent.missing({"a"}), lambda: absent.embeddings(1, 0)):
        with pytest.raises(NotFoundError, match="absent"):
            ask()
    absent.close()


def test_an_empty_collection_has_nothing_to_draw(settings: QdrantSettings, client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    empty = CollectionSample(settings, name)
    for ask in (lambda: empty.documents(1, 0), lambda: empty.embeddings(1, 0)):
        with pytest.raises(InvalidRequestError, match="is empty"):
            ask()
    empty.close()
