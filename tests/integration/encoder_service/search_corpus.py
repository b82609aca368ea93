"""A few documents with words and embeddings, in a collection of either engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from qdrant_client import QdrantClient, models

from kosearch.documents import Chunk, Document
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.settings import QdrantSettings
from protos.kosearch.v1 import search_pb2, search_pb2_grpc
from tests.real_qdrant import RealQdrant
from tests.store_process import StoreProcess

DOCUMENTS = [
    Document(
        "cheetah",
        "치타 한 마리가 먹이 뒤에서 달리고 있다.",
        "동물",
        {"다리": 4, "wild": True, "kind": "cat", "rating": 4.5, "date": "2020-02-29", "tags": ["빠름", "고양이과"]},
    ),
    Document(
        "monkey",
        "원숭이 한 마리가 드럼을 연주한다.",
        "동물",
        {"다리": 2, "wild": True, "kind": "ape", "rating": 8.0, "date": "2020-03-01T00:30:00+09:00", "tags": ["음악"]},
    ),
    Document("man", "한 남자가 음식을 먹는다.", "", {"다리": 2, "wild": False, "rating": 1, "date": "2021-12-31"}),
    Document(
        "woman", "한 여자가 🍰 케이크를 굽고 🎉 음식을 나눈다.", "요리 🍳", {"kind": "요리", "date": "2022-01-01"}
    ),
    Document("ruling", "法院은 損害賠償을 명하는 판결을 선고하였다.", "판결문", {"kind": "law", "years": [1998, 2003]}),
    Document(
        "tort", "고의 또는 과실로 인한 위법행위로 손해를 가한 자는 배상할 책임이 있다.", "민법 제750조", {"kind": "law"}
    ),
    Document(
        "parts",
        "바퀴와 엔진은 자동차의 부품이다.",
        "자동차",
        {"parts": [{"name": "wheel", "count": 4}, {"name": "engine", "count": 1}]},
    ),
    *(Document(f"drum-{number}", f"드럼 {number}번을 두드린다.", "드럼", {"n": number}) for number in range(20)),
]
LONG = Document("long", "", "긴 글", {"kind": "long"})
CHUNKS = [
    *(Chunk(document, 0, document.text, document.text) for document in DOCUMENTS),
    *(Chunk(LONG, place, text, text) for place, text in enumerate(["음식 이야기", "드럼 이야기", "음식과 드럼", "끝"])),
]
KINDS = {
    "document_id": "keyword",
    "chunk_index": "integer",
    "fields.다리": "integer",
    "fields.wild": "bool",
    "fields.kind": "keyword",
    "fields.rating": "float",
    "fields.date": "datetime",
    "fields.tags": "keyword",
    "fields.years": "integer",
    "fields.n": "integer",
    "fields.parts[].name": "keyword",
    "fields.parts[].count": "integer",
}


@dataclass(frozen=True)
class Engine:
    """A Qdrant: the store process or a server."""

    process: StoreProcess | RealQdrant

    @property
    def settings(self) -> QdrantSettings:
        port = self.process.port if isinstance(self.process, StoreProcess) else self.process.grpc_port
        return QdrantSettings(url=f"http://127.0.0.1:{port}", grpc_port=port, timeout_s=10)

    def client(self) -> QdrantClient:
        return self.process.client()


@dataclass(frozen=True)
class Corpus:
    """How documents get into a collection."""

    model: Any
    ids: Callable[[str], list[int]]

    def create(self, client: QdrantClient, collection: str, fingerprint: str = "", *, has_words: bool = True) -> None:
        """Make an empty collection with payload indexes."""
        words = {"lexical": models.SparseVectorParams(modifier=models.Modifier.IDF)} if has_words else None
        client.create_collection(
            collection,
            vectors_config=models.VectorParams(size=32, distance=models.Distance.COSINE),
            sparse_vectors_config=words,
            metadata={
                "model_name": "tiny-bert",
                "model_fingerprint": fingerprint or self.model.directory.fingerprint,
            },
        )
        for path, kind in KINDS.items():
            client.create_payload_index(collection, path, field_schema=models.PayloadSchemaType(kind), wait=True)

    def add(
        self, client: QdrantClient, collection: str, chunks: Sequence[Chunk] = CHUNKS, *, has_words: bool = True
    ) -> None:
        """Write chunks as the indexer does."""
        analyser = MorphemeAnalyser(shared_kiwi())
        points = []
        for chunk in chunks:
            vector: Any = {"": self.model.forward(self.ids(chunk.text)).tolist()}
            if has_words:
                words = analyser.document_vector(chunk.document.title, chunk.text)
                vector["lexical"] = models.SparseVector(indices=words.indices.tolist(), values=words.values.tolist())
            payload = {
                "document_id": chunk.document.id,
                "chunk_index": chunk.index,
                "title": chunk.document.title,
                "text": chunk.text,
                "fields": chunk.document.fields,
            }
            points.append(models.PointStruct(id=chunk.point_id, vector=vector, payload=payload))
        client.upsert(collection, points, wait=True)


async def ask(channel: grpc.aio.Channel, query: str, **options: Any) -> search_pb2.SearchResponse:
    """Search the collection `animals`, or another one."""
    request = search_pb2.SearchRequest(query=query, **{"collection": "animals", **options})
    response: search_pb2.SearchResponse = await search_pb2_grpc.SearchStub(channel).Search(request, timeout=30)
    return response


async def search(channel: grpc.aio.Channel, query: str, **options: Any) -> list[search_pb2.Hit]:
    """Return the hits."""
    return list((await ask(channel, query, **options)).hits)
