"""What a search asks of Qdrant: candidates of both legs, then the chunks that are shown."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import NoOpTracer, Tracer
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.conversions.conversion import RestToGrpc

from encoder_service.search.requests import ValueCount
from kosearch.qdrant_connection import translated_errors
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import SparseVector
from kosearch.vector_store import (
    LEXICAL_VECTOR,
    PAYLOAD_CHUNK_INDEX,
    PAYLOAD_DOCUMENT_ID,
    PAYLOAD_FIELDS,
    PAYLOAD_TEXT,
    PAYLOAD_TITLE,
)

# Candidates that the vector index keeps in sight, or as many as are asked for. In an index of eight bits a number, as
# collections have it, the best of twice as many as are asked for are put in order by the embeddings themselves.
HNSW_EF = 512
NEAR = models.SearchParams(
    hnsw_ef=HNSW_EF, quantization=models.QuantizationSearchParams(rescore=True, oversampling=2.0)
)

# A chunk carries its document's fields, up to 256 KiB: more chunks at once might be more than one answer holds.
_CHUNKS_A_REQUEST = 100


@dataclass(frozen=True, slots=True)
class Found:
    """Scores of points, and the documents of these points where they were asked for."""

    scores: Mapping[str, float]
    documents: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the indexer has stored it."""

    document_id: str
    text: str
    title: str
    fields: dict[str, Any]
    chunk_index: int


class ChunkStore:
    """Reads chunks of collections. All methods raise NotFoundError (no such collection) and UnavailableError."""

    def __init__(self, client: AsyncQdrantClient, qdrant: QdrantSettings, tracer: Tracer | None = None) -> None:
        """Make a store; `tracer` makes the spans of its calls."""
        self._client = client
        self._qdrant = qdrant
        self._tracer = tracer or NoOpTracer()

    async def find_near(
        self,
        collection: str,
        embedding: NDArray[np.float32],
        wanted: models.Filter | None,
        limit: int,
        *,
        with_documents: bool,
    ) -> Found:
        """Return the `limit` points nearest to an embedding, shape (dim,), with the cosines."""
        asked = {"query": embedding.tolist(), "params": NEAR, "filter": wanted, "limit": limit}
        return await self._find(collection, asked, with_documents=with_documents)

    async def find_by_words(
        self, collection: str, words: SparseVector, wanted: models.Filter | None, limit: int, *, with_documents: bool
    ) -> Found:
        """Return the `limit` points with the highest BM25 for words."""
        vector = models.SparseVector(indices=words.indices.tolist(), values=words.values.tolist())
        asked = {"query": vector, "using": LEXICAL_VECTOR, "filter": wanted, "limit": limit}
        return await self._find(collection, asked, with_documents=with_documents)

    async def fetch(
        self, collection: str, point_ids: Sequence[str], wanted: models.Filter | None = None
    ) -> dict[str, StoredChunk]:
        """Return the chunks by point id; those that are gone or that the filter hides are not among them."""
        parts = [
            list(point_ids[start : start + _CHUNKS_A_REQUEST]) for start in range(0, len(point_ids), _CHUNKS_A_REQUEST)
        ]
        with self._call(collection):
            records = await asyncio.gather(*(self._records(collection, part, wanted) for part in parts))
        return {str(record.id): _stored_chunk(record) for part in records for record in part}

    async def encoded_texts(self, collection: str, point_ids: Sequence[str]) -> dict[str, str]:
        """Return by point id what a model is to read of chunks: their texts under their titles."""
        payload = [PAYLOAD_TITLE, PAYLOAD_TEXT]
        with self._call(collection):
            records = await self._client.retrieve(collection, list(point_ids), with_payload=payload)
        chunks = {str(record.id): _stored_chunk(record) for record in records}
        return {point_id: f"{chunk.title} {chunk.text}".strip() for point_id, chunk in chunks.items()}

    async def embeddings(self, collection: str, point_ids: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Return the embeddings of points by their id."""
        with self._call(collection):
            records = await self._client.retrieve(collection, list(point_ids), with_payload=False, with_vectors=[""])
        return {str(record.id): _embedding(record) for record in records}

    async def embeddings_of_documents(
        self, collection: str, document_ids: Sequence[str], chunks: int
    ) -> dict[str, list[NDArray[np.float32]]]:
        """Return the embeddings of the first chunks of documents by document id."""
        theirs = models.FieldCondition(key=PAYLOAD_DOCUMENT_ID, match=models.MatchAny(any=list(document_ids)))
        first = models.FieldCondition(key=PAYLOAD_CHUNK_INDEX, range=models.Range(lt=chunks))
        with self._call(collection):
            records, _ = await self._client.scroll(
                collection,
                models.Filter(must=[theirs, first]),
                limit=len(document_ids) * chunks,
                with_payload=[PAYLOAD_DOCUMENT_ID],
                with_vectors=[""],
            )
        found: dict[str, list[NDArray[np.float32]]] = {}
        for record in records:
            found.setdefault(_document_id(record), []).append(_embedding(record))
        return found

    async def count_values(
        self, collection: str, path: str, wanted: models.Filter | None, limit: int
    ) -> list[ValueCount]:
        """Return the most frequent values of an indexed field, by falling count."""
        with self._call(collection):
            answer = await self._client.facet(collection, path, facet_filter=wanted, limit=limit, exact=True)
        return [ValueCount(hit.value, hit.count) for hit in answer.hits]

    async def _find(self, collection: str, asked: Mapping[str, Any], *, with_documents: bool) -> Found:
        """Read the protocol's own messages: the client's objects of a hundred hits take longer than finding them."""
        query = models.QueryRequest(with_payload=[PAYLOAD_DOCUMENT_ID] if with_documents else False, **asked)
        message = RestToGrpc.convert_query_request(query, collection)
        with self._call(collection):
            answer = await self._client.grpc_points.Query(message, timeout=self._qdrant.timeout_s)
        scores = {point.id.uuid: point.score for point in answer.result}
        documents = {}
        if with_documents:
            documents = {
                point.id.uuid: point.payload[PAYLOAD_DOCUMENT_ID].string_value or point.id.uuid
                for point in answer.result
            }
        return Found(scores, documents)

    async def _records(
        self, collection: str, point_ids: list[str], wanted: models.Filter | None
    ) -> Sequence[models.Record]:
        if wanted is None:
            return await self._client.retrieve(collection, point_ids)
        chosen = models.Filter(must=[models.HasIdCondition(has_id=list(point_ids)), wanted])
        return (await self._client.scroll(collection, chosen, limit=len(point_ids)))[0]

    @contextmanager
    def _call(self, collection: str) -> Iterator[None]:
        with self._tracer.start_as_current_span("qdrant"), translated_errors(self._qdrant, collection):
            yield


def _document_id(record: models.Record) -> str:
    return str((record.payload or {}).get(PAYLOAD_DOCUMENT_ID, record.id))


def _embedding(record: models.Record) -> NDArray[np.float32]:
    vector: Any = record.vector
    return np.asarray(vector.get("", ()) if isinstance(vector, dict) else vector, np.float32)


def _stored_chunk(record: models.Record) -> StoredChunk:
    payload = record.payload or {}
    return StoredChunk(
        document_id=_document_id(record),
        text=str(payload.get(PAYLOAD_TEXT, "")),
        title=str(payload.get(PAYLOAD_TITLE, "")),
        fields=payload.get(PAYLOAD_FIELDS) or {},
        chunk_index=int(payload.get(PAYLOAD_CHUNK_INDEX, 0)),
    )
