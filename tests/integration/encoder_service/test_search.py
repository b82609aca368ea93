"""Search through the service in the store process."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format

from kosearch.documents import Chunk, Document
from kosearch.settings import QdrantSettings
from kosearch.vector_store import VectorStore
from protos.kosearch.v1 import search_pb2, search_pb2_grpc
from tests.store_process import StoreProcess, running_store

DOCUMENTS = [
    Document("cheetah", "치타 한 마리가 먹이 뒤에서 달리고 있다.", "동물", {"다리": 4, "wild": True, "kind": "cat"}),
    Document("monkey", "원숭이 한 마리가 드럼을 연주한다.", "동물", {"다리": 2, "wild": True}),
    Document("man", "한 남자가 음식을 먹는다.", "", {"다리": 2, "wild": False}),
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreProcess]:
    """A store process of its own."""
    with running_store(tmp_path / "store") as process:
        yield process


def settings_of(store: StoreProcess) -> QdrantSettings:
    return QdrantSettings(url=f"http://127.0.0.1:{store.port}", grpc_port=store.port, timeout_s=10)


def index(store: StoreProcess, model: Any, ids: Any, collection: str = "animals", fingerprint: str = "") -> None:
    """Index the documents, embedded by the textbook implementation of the model."""
    chunks = [Chunk(document, 0, document.text, document.text) for document in DOCUMENTS]
    embeddings = [model.forward(ids(document.text)) for document in DOCUMENTS]
    vector_store = VectorStore(settings_of(store))
    fingerprint = fingerprint or model.directory.fingerprint
    vector_store.ensure_collection(collection, 32, "tiny-bert", fingerprint, {"다리": "integer", "wild": "bool"})
    vector_store.upsert_chunks(collection, chunks, np.stack(embeddings), wait=True)
    vector_store.close()


async def search(channel: grpc.aio.Channel, query: str, **options: Any) -> list[search_pb2.Hit]:
    request = search_pb2.SearchRequest(query=query, **{"collection": "animals", **options})
    reply = await search_pb2_grpc.SearchStub(channel).Search(request, timeout=20)
    return list(reply.hits)


async def test_the_text_itself_is_found_first(serve: Any, store: StoreProcess, tiny_model: Any, make_ids: Any) -> None:
    index(store, tiny_model, make_ids)
    async with serve(qdrant=settings_of(store)) as channel:
        hits = await search(channel, DOCUMENTS[0].text)
    assert len(hits) == 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert (hits[0].id, hits[0].title, hits[0].text) == ("cheetah", "동물", DOCUMENTS[0].text)
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert json_format.MessageToDict(hits[0].payload) == DOCUMENTS[0].fields


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        (search_pb2.Condition(field="다리", integer=2), {"monkey", "man"}),
        (search_pb2.Condition(field="다리", range=search_pb2.Range(gt=2)), {"cheetah"}),
        (search_pb2.Condition(field="다리", range=search_pb2.Range(gte=2, lt=4)), {"monkey", "man"}),
        (search_pb2.Condition(field="wild", boolean=False), {"man"}),
        (search_pb2.Condition(field="kind", keyword="cat"), {"cheetah"}),
        (search_pb2.Condition(field="absent", keyword="cat"), set()),
    ],
)
async def test_only_what_meets_the_filter_is_found(
    serve: Any, store: StoreProcess, tiny_model: Any, make_ids: Any, condition: search_pb2.Condition, found: set[str]
) -> None:
    index(store, tiny_model, make_ids)
    async with serve(qdrant=settings_of(store)) as channel:
        hits = await search(channel, "치타", filter=search_pb2.Filter(must=[condition]))
    assert {hit.id for hit in hits} == found


async def test_an_unknown_collection_is_not_found(serve: Any, store: StoreProcess) -> None:
    async with serve(qdrant=settings_of(store)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await search(channel, "치타", collection="plants")
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert "--collection plants" in (refusal.value.details() or "")


async def test_a_collection_of_another_model_is_refused(
    serve: Any, store: StoreProcess, tiny_model: Any, make_ids: Any
) -> None:
    index(store, tiny_model, make_ids, fingerprint="0" * 64)
    async with serve(qdrant=settings_of(store)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await search(channel, "치타")
    assert refusal.value.code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_killed_store_is_found_again_once_it_is_back(
    serve: Any, store: StoreProcess, tiny_model: Any, make_ids: Any
) -> None:
    index(store, tiny_model, make_ids)
    async with serve(qdrant=settings_of(store)) as channel:
        assert await search(channel, "치타")
        store.kill()
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await search(channel, "치타")
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        back = store.spawn("--port", str(store.port))
        try:
            assert await asyncio.wait_for(_until_found(channel), timeout=20)
        finally:
            back.kill()
            back.wait()


async def _until_found(channel: grpc.aio.Channel) -> list[search_pb2.Hit]:
    while True:
        try:
            return await search(channel, "치타")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)
