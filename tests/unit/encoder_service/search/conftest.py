"""A searcher among fakes: a store that holds points in memory, words that are split at spaces, a model of two axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, models
from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import RestToGrpc

from encoder_service.encoder import Encoded, Options, Timing
from encoder_service.search.chunk_store import ChunkStore
from encoder_service.search.collections import Collections
from encoder_service.search.requests import SearchAnswer, SearchRequest
from encoder_service.search.searcher import Searcher
from encoder_service.text_reader import Role
from kosearch.korean.morphemes import SparseVector, Term
from kosearch.korean.reading import ReadingOptions
from kosearch.model_directory import ModelDirectory
from kosearch.settings import QdrantSettings

MODEL = ModelDirectory(Path("model"), "mini", 2, 16, "f" * 64)
QDRANT = QdrantSettings(url="http://127.0.0.1:7411", grpc_port=7411)
STOP_WORDS = frozenset({"은", "는"})


class FakeEncoder:
    """Looks along the axis that a query names, x or y; else half-way between."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.compared: list[tuple[Role, list[str]]] = []

    async def encode(self, texts: Sequence[str], options: Options) -> Encoded:
        assert options.role is Role.QUERY
        self.texts.extend(texts)
        directions = {"x": [1.0, 0.0], "y": [0.0, 1.0]}
        rows = np.array([directions.get(text, [0.6, 0.8]) for text in texts], np.float32)
        return Encoded(rows, [3], [False], Timing(0.0, 0.0, 0.0))

    async def encode_tokens(self, texts: Sequence[str], options: Options) -> list[NDArray[np.float32]]:
        """Words are tokens, and equal ones alike; the direction of others is by their first character."""
        self.compared.append((options.role, list(texts)))
        angles = [np.array([ord(word[0]) for word in text.split()], np.float32) for text in texts]
        return [np.stack([np.cos(each), np.sin(each)], axis=1) for each in angles]


class FakeModels:
    """Has the model MODEL."""

    def __init__(self) -> None:
        self.encoder = FakeEncoder()

    def encoder_of(self, fingerprint: str) -> FakeEncoder | None:
        return self.encoder if fingerprint == MODEL.fingerprint else None

    def names(self) -> list[str]:
        return [MODEL.name]


@dataclass(frozen=True)
class FakeReading:
    """A query after `FakeKorean.read`."""

    text: str
    lexical_text: str
    morphemes: None = None


class FakeKorean:
    """Words stand between spaces; `dkssud` is read as 안녕."""

    async def read(self, query: str, reading: ReadingOptions) -> FakeReading:
        text = query if reading.keeps_keyboard else query.replace("dkssud", "안녕")
        return FakeReading(text, text)

    async def query_vector(self, query: FakeReading) -> SparseVector:
        return words_vector(query.lexical_text)

    async def terms(self, texts: Sequence[str]) -> list[list[Term]]:
        return [terms_of(text) for text in texts]


def terms_of(text: str) -> list[Term]:
    """Return the words of a text that are no stop words."""
    terms, start = [], 0
    for word in text.split(" "):
        if word and word not in STOP_WORDS:
            terms.append(Term(word, start, start + len(word)))
        start += len(word) + 1
    return terms


def words_vector(text: str) -> SparseVector:
    """Return a vector in which a word is at the place of its first character."""
    indices = sorted({ord(term.text[0]) for term in terms_of(text)})
    return SparseVector(np.array(indices, np.uint32), np.ones(len(indices), np.float32))


def point_id(name: str) -> str:
    """Return the id of a point of this name."""
    return str(uuid5(NAMESPACE_URL, name))


@dataclass
class FakePoint:
    """A point: where it lies, and what the indexer has stored."""

    embedding: tuple[float, float]
    text: str
    document_id: str
    chunk_index: int = 0
    title: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def payload(self) -> dict[str, Any]:
        return {
            "document_id": self.document_id,
            "chunk_index": self.chunk_index,
            "title": self.title,
            "text": self.text,
            "fields": self.fields,
        }


class FakeQdrant:
    """Holds collections in memory and counts the calls; of filters it obeys what the tests need."""

    def __init__(self) -> None:
        self.metadata: dict[str, str] | None = {"model_name": "mini", "model_fingerprint": MODEL.fingerprint}
        self.other_metadata: dict[str, dict[str, str]] = {}
        self.has_words = True
        self.kinds: dict[str, str] = {}
        self.collections: dict[str, dict[str, FakePoint]] = {"laws": {}}
        self.checks = 0
        self.queries: list[pb.QueryPoints] = []
        self.filters: list[models.Filter] = []
        self.facets: list[dict[str, Any]] = []
        self.fault: grpc.StatusCode | None = None

    def add(self, name: str, embedding: tuple[float, float], text: str = "본문", **more: Any) -> str:
        """Add a point. Returns its id."""
        collection = more.pop("collection", "laws")
        point = FakePoint(embedding, text, more.pop("document_id", name), **more)
        self.collections.setdefault(collection, {})[point_id(name)] = point
        return point_id(name)

    async def get_collection(self, collection: str) -> Any:
        self.checks += 1
        self._points(collection)
        metadata = self.other_metadata.get(collection, self.metadata)
        sparse = {"lexical": models.SparseVectorParams()} if self.has_words else None
        schema = {path: SimpleNamespace(data_type=models.PayloadSchemaType(kind)) for path, kind in self.kinds.items()}
        params = SimpleNamespace(sparse_vectors=sparse)
        return SimpleNamespace(config=SimpleNamespace(metadata=metadata, params=params), payload_schema=schema)

    @property
    def grpc_points(self) -> "FakeQdrant":
        """The methods of the protocol itself."""
        return self

    async def Query(self, query: pb.QueryPoints, **options: Any) -> pb.QueryResponse:  # noqa: N802
        points = self._points(query.collection_name)
        self.queries.append(query)
        scores = {key: _score(point, query.query.nearest) for key, point in points.items()}
        best = sorted((key for key in scores if scores[key] is not None), key=lambda key: -cast("float", scores[key]))
        shown = points if query.with_payload.include.fields else {}
        return pb.QueryResponse(
            result=[
                pb.ScoredPoint(
                    id=pb.PointId(uuid=key),
                    score=scores[key],
                    payload=RestToGrpc.convert_payload(shown[key].payload() if key in shown else {}),
                )
                for key in best[: query.limit]
            ]
        )

    async def retrieve(self, collection: str, ids: Sequence[str], **options: Any) -> list[models.Record]:
        points = self._points(collection)
        return [_record(key, points[key]) for key in ids if key in points]

    async def scroll(self, collection: str, wanted: models.Filter, limit: int, **options: Any) -> Any:
        points = self._points(collection)
        self.filters.append(wanted)
        return [_record(key, point) for key, point in points.items() if _meets(key, point, wanted)][:limit], None

    async def facet(self, collection: str, key: str, **options: Any) -> Any:
        self._points(collection)
        self.facets.append({"key": key, **options})
        hits = [models.FacetValueHit(value=value, count=count) for value, count in (("나", 2), ("가", 2), ("다", 5))]
        return SimpleNamespace(hits=hits)

    def _points(self, collection: str) -> dict[str, FakePoint]:
        fault = self.fault or (None if collection in self.collections else grpc.StatusCode.NOT_FOUND)
        if fault:
            raise grpc.aio.AioRpcError(fault, grpc.aio.Metadata(), grpc.aio.Metadata(), "no")
        return self.collections[collection]


def _score(point: FakePoint, query: pb.VectorInput) -> float | None:
    if query.HasField("sparse"):
        common = set(words_vector(point.text).indices.tolist()) & set(query.sparse.indices)
        return float(len(common)) if common else None
    return float(np.dot(point.embedding, query.dense.data) / math.hypot(*point.embedding))


def _record(key: str, point: FakePoint) -> models.Record:
    return models.Record(id=key, payload=point.payload(), vector=list(point.embedding))


def _meets(key: str, point: FakePoint, wanted: models.Filter) -> bool:
    conditions: Any = wanted.must or []
    refused: Any = wanted.must_not or []
    return all(_holds(key, point, each) for each in conditions) and not any(
        _holds(key, point, each) for each in refused
    )


def _holds(key: str, point: FakePoint, condition: Any) -> bool:
    match condition:
        case models.HasIdCondition():
            return key in condition.has_id
        case models.Filter():
            return _meets(key, point, condition)
        case models.FieldCondition(key="document_id"):
            return point.document_id in condition.match.any
        case models.FieldCondition(key="chunk_index"):
            return point.chunk_index < condition.range.lt
        case models.FieldCondition(match=models.MatchValue(value=value)):
            return bool(point.fields.get(condition.key.removeprefix("fields.")) == value)
    raise AssertionError(condition)


class Bench:
    """A searcher among fakes."""

    def __init__(self) -> None:
        self.qdrant, self.models, self.now = FakeQdrant(), FakeModels(), 100.0
        client = cast("AsyncQdrantClient", self.qdrant)
        collections = Collections(client, QDRANT, clock=lambda: self.now)
        self.korean = FakeKorean()
        self.searcher = Searcher(self.models, collections, ChunkStore(client, QDRANT), self.korean)

    async def search(self, query: str = "절도", collection: str = "laws", **options: Any) -> SearchAnswer:
        return await self.searcher.search(SearchRequest(query, collection, **options))

    async def found(self, query: str = "절도", **options: Any) -> list[str]:
        """Return the documents of the hits."""
        return [hit.document_id for hit in (await self.search(query, **options)).hits]


@pytest.fixture
def bench() -> Bench:
    """A searcher with an empty collection `laws`."""
    return Bench()
