"""Search: what is asked of Qdrant, and what is refused before."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from encoder_service.encoder import Encoded, Options, Timing
from encoder_service.searcher import Condition, Range, Searcher
from encoder_service.text_reader import Role
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from kosearch.model_directory import ModelDirectory
from kosearch.settings import QdrantSettings

MODEL = ModelDirectory(Path("model"), "mini", 2, 16, "f" * 64)

QDRANT = QdrantSettings(url="http://127.0.0.1:7411", grpc_port=7411)


class FakeEncoder:
    async def encode(self, texts: Sequence[str], options: Options) -> Encoded:
        assert options.role is Role.QUERY
        return Encoded(np.array([[0.6, 0.8]], np.float32), [3], [False], Timing(0.0, 0.0, 0.0))


class FakeModels:
    """Has the model MODEL."""

    def encoder_of(self, fingerprint: str) -> FakeEncoder | None:
        return FakeEncoder() if fingerprint == MODEL.fingerprint else None

    def names(self) -> list[str]:
        return [MODEL.name]


class FakeQdrant:
    """Holds the collection `laws`; counts the calls."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] | None = {"model_name": "mini", "model_fingerprint": MODEL.fingerprint}
        self.checks = 0
        self.queries: list[dict[str, Any]] = []
        self.fault: grpc.StatusCode | None = None

    async def get_collection(self, collection: str) -> Any:
        self.checks += 1
        self._answer(collection)
        return SimpleNamespace(config=SimpleNamespace(metadata=self.metadata))

    async def query_points(self, collection: str, **query: Any) -> Any:
        self._answer(collection)
        self.queries.append(query)
        payload = {"document_id": "형법-1", "chunk_index": 2, "title": "형법", "text": "본문", "fields": {"year": 1953}}
        return SimpleNamespace(points=[models.ScoredPoint(id=1, version=0, score=0.5, payload=payload)])

    def _answer(self, collection: str) -> None:
        fault = self.fault or (None if collection == "laws" else grpc.StatusCode.NOT_FOUND)
        if fault:
            raise grpc.aio.AioRpcError(fault, grpc.aio.Metadata(), grpc.aio.Metadata(), "no")


class Bench:
    def __init__(self) -> None:
        self.qdrant, self.now = FakeQdrant(), 100.0
        self.searcher = Searcher(FakeModels(), cast("AsyncQdrantClient", self.qdrant), QDRANT, clock=lambda: self.now)

    async def search(
        self, query: str = "절도", collection: str = "laws", top_k: int = 0, *conditions: Condition
    ) -> Any:
        return await self.searcher.search(query, collection, top_k, conditions)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_hit_carries_what_the_indexer_stored(bench: Bench) -> None:
    (hit,) = await bench.search()
    assert (hit.document_id, hit.chunk_index, hit.title, hit.text, hit.score) == ("형법-1", 2, "형법", "본문", 0.5)
    assert hit.fields == {"year": 1953}


async def test_the_query_embedding_is_searched_for(bench: Bench) -> None:
    await bench.search(top_k=7)
    assert bench.qdrant.queries[0]["query"] == pytest.approx([0.6, 0.8])
    assert bench.qdrant.queries[0]["limit"] == 7


async def test_no_top_k_means_ten(bench: Bench) -> None:
    await bench.search(top_k=0)
    assert bench.qdrant.queries[0]["limit"] == 10


async def test_conditions_ask_for_the_documents_own_fields(bench: Bench) -> None:
    await bench.search("절도", "laws", 1, Condition("법령", "형법"), Condition("year", Range(gte=1950.0, lt=1960.0)))
    assert bench.qdrant.queries[0]["query_filter"] == models.Filter(
        must=[
            models.FieldCondition(key="fields.법령", match=models.MatchValue(value="형법")),
            models.FieldCondition(key="fields.year", range=models.Range(gte=1950.0, lt=1960.0)),
        ]
    )


@pytest.mark.parametrize("wanted", [True, 1, "1"])
async def test_a_truth_value_is_not_a_number_nor_a_text(bench: Bench, wanted: str | int | bool) -> None:
    await bench.search("절도", "laws", 1, Condition("flag", wanted))
    value = bench.qdrant.queries[0]["query_filter"].must[0].match.value
    assert (type(value), value) == (type(wanted), wanted)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({"query": " \u200b"}, "the query is empty"),
        ({"query": "가" * 30_000}, "90,000 bytes"),
        ({"top_k": 1001}, "1 to 1,000"),
        ({"collection": "a/b"}, "not a collection name"),
        ({"collection": ""}, "not a collection name"),
    ],
)
async def test_a_request_out_of_bounds_is_refused_before_any_work(bench: Bench, asked: Any, fault: str) -> None:
    with pytest.raises(InvalidRequestError, match=fault):
        await bench.search(**asked)
    assert bench.qdrant.checks == 0


@pytest.mark.parametrize(
    "conditions",
    [
        [Condition("", "x")],
        [Condition("year", Range())],
        [Condition("year", Range(gt=float("nan")))],
        [Condition("a", 1)] * 33,
    ],
)
async def test_a_filter_without_sense_is_refused(bench: Bench, conditions: list[Condition]) -> None:
    with pytest.raises(InvalidRequestError):
        await bench.search("절도", "laws", 1, *conditions)


async def test_a_collection_of_another_model_is_refused_naming_both(bench: Bench) -> None:
    bench.qdrant.metadata = {"model_name": "kobert", "model_fingerprint": "0" * 64}
    with pytest.raises(ConflictError, match=r"kobert .*mini"):
        await bench.search()


async def test_a_collection_without_a_model_is_refused(bench: Bench) -> None:
    bench.qdrant.metadata = None
    with pytest.raises(ConflictError, match="an unknown model"):
        await bench.search()


async def test_the_model_is_asked_for_once_in_five_seconds(bench: Bench) -> None:
    for bench.now in (100.0, 104.9, 105.1, 106.0):
        await bench.search()
    assert bench.qdrant.checks == 2


async def test_a_refused_collection_is_asked_for_again(bench: Bench) -> None:
    good, bench.qdrant.metadata = bench.qdrant.metadata, None
    with pytest.raises(ConflictError):
        await bench.search()
    bench.qdrant.metadata = good
    assert await bench.search()


async def test_an_unknown_collection_says_how_to_make_it(bench: Bench) -> None:
    with pytest.raises(NotFoundError, match=r"kosearch index .*--collection recipes"):
        await bench.search(collection="recipes")


async def test_a_collection_deleted_meanwhile_is_asked_for_again_when_it_is_back(bench: Bench) -> None:
    await bench.search()
    bench.qdrant.fault = grpc.StatusCode.NOT_FOUND
    with pytest.raises(NotFoundError):
        await bench.search()
    bench.qdrant.fault = None
    await bench.search()
    assert bench.qdrant.checks == 2


@pytest.mark.parametrize("fault", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_a_qdrant_that_does_not_answer_is_named_with_advice(bench: Bench, fault: grpc.StatusCode) -> None:
    bench.qdrant.fault = fault
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:7411.*kosearch up"):
        await bench.search()
