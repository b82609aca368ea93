"""Collections of embedded chunks in Qdrant: the store process of `kosearch up` or a Qdrant server, alike."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray
from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import json_to_value

from kosearch.batch_sizes import BatchSizer
from kosearch.documents import Chunk, Document
from kosearch.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
)
from kosearch.qdrant_connection import code_of, connect, details_of, translated_errors
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import SparseVector

PAYLOAD_DOCUMENT_ID = "document_id"
PAYLOAD_CHUNK_INDEX = "chunk_index"
PAYLOAD_TITLE = "title"
PAYLOAD_TEXT = "text"
PAYLOAD_FIELDS = "fields"
_TEXTS = [PAYLOAD_TITLE, PAYLOAD_TEXT]
# The sparse vector of a chunk's words; its embedding is the vector without a name.
LEXICAL_VECTOR = "lexical"
METADATA_MODEL_NAME = "model_name"
METADATA_MODEL_FINGERPRINT = "model_fingerprint"
# What a collection's threshold was before index building was deferred, so that whoever comes later can set it back.
METADATA_INDEXING_THRESHOLD = "indexing_threshold_kib"

FieldType = Literal["keyword", "integer", "float", "bool", "datetime"]

# Collection metadata appeared in 1.16; an older server would drop it without a word.
_OLDEST_VERSION = (1, 16)
_SIMPLE_FIELD_NAME = re.compile(r"[\w-]+")
_COLLECTION_NAME = re.compile(r"[\w.-]{1,255}", re.ASCII)
# Of one upsert. The store decodes a request in one go, and serves nobody else meanwhile: 256 points took it 30 ms.
_UPSERT_POINTS = 64
_UPSERT_BYTES = 8 << 20
_LARGEST_POINT_BYTES = 32 << 20
_IDS_A_REQUEST = 5_000
_INDEX_POLL_S = 1.0
# Of 100,000 chunks of statutes and rulings (384 dimensions) 16 links, 128 candidates while building, and float32 find
# 98.2 % of the nearest ten with 512 candidates in 3.7 ms of CPU, and take 71 s to build. 32, 256, and eight bits,
# put in order by the embeddings themselves, find 99.1 % in 1.8 ms and take 44 s (docs/benchmarks.md).
_HNSW = models.HnswConfigDiff(m=32, ef_construct=256)
_QUANTISATION = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
)
# Of few chunks that a filter leaves a search by word reads the words of each, of more than these the lists of words.
# 4,000 of 382,322 take 7.6 ms the first way, one query in ten 28, and 6.2 and 8.7 the other. Qdrant says 5,000.
_WORDS = models.SparseVectorParams(
    modifier=models.Modifier.IDF, index=models.SparseIndexParams(full_scan_threshold=1000)
)
_FIRST_FIELD = pb.DenseVector.DATA_FIELD_NUMBER
assert pb.SparseVector.VALUES_FIELD_NUMBER == _FIRST_FIELD
# What Qdrant says of a point that is not there; of a collection it says something else.
_NO_POINT = "No point with id"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PointText:
    """What the words of a point are taken from. `id`: a UUID, or a number that somebody else gave it."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class TextPage:
    """Points by rising id. `following`: id of the point behind them; empty: there is none."""

    points: tuple[PointText, ...]
    following: str


def has_field_path(name: str) -> bool:
    """Tell whether a payload path leads to a field of this name."""
    return name != "" and '"' not in name and "\\" not in name


def field_path(name: str) -> str:
    """Return the payload path of a document's field. Raises InvalidRequestError for a name that no path can hold."""
    if not has_field_path(name):
        raise InvalidRequestError(
            f"{name!r} is no field to filter by: it is empty or holds a quotation mark or backslash"
        )
    # Unquoted, a dot or bracket would lead into the field's value.
    return f"{PAYLOAD_FIELDS}.{name}" if _SIMPLE_FIELD_NAME.fullmatch(name) else f'{PAYLOAD_FIELDS}."{name}"'


def check_collection_name(name: str) -> str:
    """Return the name. Raises InvalidRequestError when Qdrant or a file system could not hold it."""
    if not _COLLECTION_NAME.fullmatch(name) or name.startswith("."):
        raise InvalidRequestError(
            f"{name!r} is not a collection name: 1 to 255 of letters, digits, '_', '-' and '.', not starting with '.'"
        )
    return name


class VectorStore:
    """What the indexing side does in Qdrant. One instance a process; blocking."""

    def __init__(self, settings: QdrantSettings) -> None:
        self._settings = settings
        self._sizer = BatchSizer(_UPSERT_POINTS, _UPSERT_BYTES)
        self._client = connect(settings)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def check_version(self) -> str:
        """Return the server's version. Raises ConflictError when it is too old for what is asked of it."""
        with self._translated("the server"):
            version = self._client.info().version
        if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < _OLDEST_VERSION:
            raise ConflictError(
                f"Qdrant at {self._settings.host_url} is version {version}; kosearch needs "
                f"{'.'.join(map(str, _OLDEST_VERSION))} or newer: an older one silently drops parts of a request"
            )
        return version

    def check_collection(self, collection: str, dim: int, model_name: str, model_fingerprint: str) -> bool:
        """Tell whether the collection exists. Raises ConflictError when it was indexed with another model."""
        with self._translated(collection):
            if not self._client.collection_exists(collection):
                return False
            info = self._client.get_collection(collection)
        metadata = info.config.metadata or {}
        found = metadata.get(METADATA_MODEL_FINGERPRINT)
        vectors = info.config.params.vectors
        found_dim = vectors.size if isinstance(vectors, models.VectorParams) else None
        if found != model_fingerprint or found_dim != dim:
            raise ConflictError(
                f"collection {collection!r} holds embeddings of {metadata.get(METADATA_MODEL_NAME, 'an unknown model')}"
                f" (fingerprint {str(found)[:12]}, {found_dim} dimensions), not of {model_name} "
                f"({model_fingerprint[:12]}, {dim}): embeddings of different models cannot be compared. "
                "Index into another collection, or serve the other model"
            )
        if LEXICAL_VECTOR not in (info.config.params.sparse_vectors or {}):
            raise ConflictError(
                f"collection {collection!r} has no place for words (the sparse vector {LEXICAL_VECTOR!r}): it was made "
                "by an earlier version, or by somebody else. Index into another collection, or delete this one"
            )
        return True

    def ensure_collection(
        self,
        collection: str,
        dim: int,
        model_name: str,
        model_fingerprint: str,
        field_types: Mapping[str, FieldType],
    ) -> None:
        """Make the collection and its payload indexes where they are missing; safe to repeat after a crash.

        Payload indexes come before the points: Qdrant builds the links of its vector index with them in mind.
        """
        if not self.check_collection(collection, dim, model_name, model_fingerprint):
            metadata = {METADATA_MODEL_NAME: model_name, METADATA_MODEL_FINGERPRINT: model_fingerprint}
            # What is searched is in memory, eight bits a number; a search reads some two hundred embeddings.
            vectors = models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=True)
            try:
                with self._translated(collection):
                    self._client.create_collection(
                        collection,
                        vectors_config=vectors,
                        sparse_vectors_config={LEXICAL_VECTOR: _WORDS},
                        hnsw_config=_HNSW,
                        quantization_config=_QUANTISATION,
                        metadata=metadata,
                    )
            except InvalidRequestError:
                # Another planner, or a try of ours that got no answer, was faster.
                if not self.check_collection(collection, dim, model_name, model_fingerprint):
                    raise
        with self._translated(collection):
            present = self._client.get_collection(collection).payload_schema
            wanted: dict[str, FieldType] = {PAYLOAD_DOCUMENT_ID: "keyword", PAYLOAD_CHUNK_INDEX: "integer"}
            wanted |= {field_path(name): kind for name, kind in field_types.items()}
            for name, kind in wanted.items():
                if name not in present:
                    self._client.create_payload_index(
                        collection, name, field_schema=models.PayloadSchemaType(kind), wait=True
                    )

    def upsert_chunks(
        self,
        collection: str,
        chunks: Sequence[Chunk],
        embeddings: NDArray[np.float32],
        words: Sequence[SparseVector],
        *,
        wait: bool,
    ) -> None:
        """Write chunks with their embeddings, shape (len(chunks), dim), and the vectors of their words.

        With `wait` they are durable on return.

        A request that takes longer than the timeout is sent again in halves. Raises InvalidRequestError on a document
        whose fields are more than a request holds, or values that Qdrant cannot hold.
        """
        points = _points(chunks, embeddings, words)
        sizes = [point.ByteSize() for point in points]
        _check_sizes(chunks, sizes)
        start = 0
        with self._translated(collection):
            while start < len(points):
                stop = start + self._sizer.take(sizes, start)
                request = pb.UpsertPoints(collection_name=collection, points=points[start:stop], wait=wait)
                try:
                    self._client.grpc_points.Upsert(request, timeout=self._settings.timeout_s)
                except grpc.RpcError as error:
                    if stop - start == 1 or code_of(error) is not grpc.StatusCode.DEADLINE_EXCEEDED:
                        raise
                    self._sizer.shrink(stop - start, sum(sizes[start:stop]))
                    _log.warning("upsert.timed_out", points=stop - start, bytes=sum(sizes[start:stop]))
                else:
                    self._sizer.grow()
                    start = stop

    def collections_with_words(self) -> list[str]:
        """Return the names of the collections whose points have vectors of their words."""
        found = []
        with self._translated("the list of collections"):
            for described in self._client.get_collections().collections:
                with suppress(NotFoundError), self._translated(described.name):  # it may be deleted meanwhile
                    params = self._client.get_collection(described.name).config.params
                    if LEXICAL_VECTOR in (params.sparse_vectors or {}):
                        found.append(described.name)
        return found

    def texts_from(self, collection: str, first: str, limit: int) -> TextPage:
        """Return at most `limit` points and their texts, from a point id on; empty: from the first one.

        Points that came from elsewhere, without a text, are passed over. Raises NotFoundError.
        """
        with self._translated(collection):
            records, following = self._client.scroll(
                collection, offset=_point_id(first) if first else None, limit=limit, with_payload=_TEXTS
            )
        return TextPage(_texts(records), "" if following is None else str(following))

    def texts_of(self, collection: str, point_ids: Sequence[str]) -> tuple[PointText, ...]:
        """Return the texts of those of the points that are there. Raises NotFoundError for an unknown collection."""
        found: list[models.Record] = []
        for start in range(0, len(point_ids), _UPSERT_POINTS):
            some = [_point_id(point) for point in point_ids[start : start + _UPSERT_POINTS]]
            with self._translated(collection):
                found += self._client.retrieve(collection, some, with_payload=_TEXTS)
        return _texts(found)

    def update_words(self, collection: str, point_ids: Sequence[str], vectors: Sequence[SparseVector]) -> None:
        """Replace the vectors of points' words, durably, and nothing else of them.

        Points that are not there any more stay away. Raises NotFoundError for an unknown collection.
        """
        new = dict(zip(point_ids, vectors, strict=True))
        while new:
            some = dict(islice(new.items(), _UPSERT_POINTS))
            if self._update_known_words(collection, some):
                new = dict(islice(new.items(), len(some), None))
            else:
                there = {point.id for point in self.texts_of(collection, list(new))}
                new = {point: vector for point, vector in new.items() if point in there}

    def _update_known_words(self, collection: str, vectors: Mapping[str, SparseVector]) -> bool:
        """Replace the vectors of points' words. Returns False when not all of them are there."""
        points = [_point_words(point, vector) for point, vector in vectors.items()]
        request = pb.UpdatePointVectors(collection_name=collection, points=points, wait=True)
        with self._translated(collection):
            try:
                self._client.grpc_points.UpdateVectors(request, timeout=self._settings.timeout_s)
            except grpc.RpcError as error:
                if code_of(error) is grpc.StatusCode.NOT_FOUND and _NO_POINT in details_of(error):
                    return False
                raise
        return True

    def defer_index_building(self, collection: str) -> None:
        """Have no vector index built while many points are written; `build_index` ends it, at the latest.

        Searches scan what is not indexed, so that they find everything, more slowly. Raises NotFoundError.
        """
        with self._translated(collection):
            threshold = _indexing_threshold_kib(self._client.get_collection(collection))
            if threshold:
                # Before it is lost: a worker may die between the two requests, or at any time after them.
                self._client.update_collection(collection, metadata={METADATA_INDEXING_THRESHOLD: threshold})
            self._set_indexing_threshold(collection, 0)

    def is_index_deferred(self, collection: str) -> bool:
        """Tell whether a deferral was begun and not ended. Raises NotFoundError."""
        with self._translated(collection):
            info = self._client.get_collection(collection)
        return not _indexing_threshold_kib(info) and METADATA_INDEXING_THRESHOLD in (info.config.metadata or {})

    def build_index(self, collection: str, check: Callable[[], None], *, poll_s: float = _INDEX_POLL_S) -> None:
        """End a deferral, by this or an earlier process, and return when nothing is left to be indexed.

        Safe to repeat. `check` is called before every look, `poll_s` apart, and ends the wait by raising. An index that
        Qdrant fails to build is logged, no error: everything is found without it, more slowly. A collection whose
        threshold somebody else has set to 0 stays so. Raises NotFoundError.
        """
        with self._translated(collection):
            info = self._client.get_collection(collection)
            threshold = _indexing_threshold_kib(info) or (info.config.metadata or {}).get(METADATA_INDEXING_THRESHOLD)
            if not threshold:
                _log.info("index.unwanted", collection=collection)
                return
            # Also where it is set already: a Qdrant that was restarted waits for a change before it goes on.
            self._set_indexing_threshold(collection, threshold)
        while not self._is_indexed(collection):
            check()
            time.sleep(poll_s)

    def _is_indexed(self, collection: str) -> bool:
        with self._translated(collection):
            info = self._client.get_collection(collection)
        counts = {"points": info.points_count, "indexed": info.indexed_vectors_count}
        if info.status is models.CollectionStatus.RED or isinstance(
            info.optimizer_status, models.OptimizersStatusOneOf1
        ):
            _log.warning("index.not_built", collection=collection, reason=str(info.optimizer_status), **counts)
            return True
        if info.status is models.CollectionStatus.GREEN:
            _log.info("index.built", collection=collection, **counts)
            return True
        return False

    def _set_indexing_threshold(self, collection: str, threshold_kib: int) -> None:
        # 0 turns indexing off; without a value the server would keep the threshold.
        diff = models.OptimizersConfigDiff(indexing_threshold=threshold_kib)
        self._client.update_collection(collection, optimizers_config=diff)

    def delete_stale_chunks(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Delete the points of these documents that are none of these chunks: what an earlier version left."""
        documents = sorted({chunk.document.id for chunk in chunks})
        stale = models.Filter(
            must=[models.FieldCondition(key=PAYLOAD_DOCUMENT_ID, match=models.MatchAny(any=documents))],
            must_not=[models.HasIdCondition(has_id=[chunk.point_id for chunk in chunks])],
        )
        with self._translated(collection):
            self._client.delete(collection, points_selector=models.FilterSelector(filter=stale), wait=True)

    def delete_documents(self, collection: str, document_ids: Sequence[str]) -> int:
        """Delete documents with all their chunks. Returns the number of chunks deleted."""
        deleted = 0
        for start in range(0, len(document_ids), _IDS_A_REQUEST):
            some = list(document_ids[start : start + _IDS_A_REQUEST])
            chosen = models.Filter(
                must=[models.FieldCondition(key=PAYLOAD_DOCUMENT_ID, match=models.MatchAny(any=some))]
            )
            with self._translated(collection):
                deleted += self._client.count(collection, count_filter=chosen, exact=True).count
                self._client.delete(collection, points_selector=models.FilterSelector(filter=chosen), wait=True)
        return deleted

    def count(self, collection: str) -> int:
        """Return the exact number of points. Raises NotFoundError."""
        with self._translated(collection):
            return self._client.count(collection, exact=True).count

    def _translated(self, subject: str) -> AbstractContextManager[None]:
        return translated_errors(self._settings, subject)


def _points(
    chunks: Sequence[Chunk], embeddings: NDArray[np.float32], words: Sequence[SparseVector]
) -> list[pb.PointStruct]:
    """Return the points as they are sent. Filled in place: a third of the time that the client's own models take."""
    rows = np.ascontiguousarray(embeddings, dtype="<f4")  # (len(chunks), dim)
    field_values: dict[int, pb.Value] = {}
    points = []
    for chunk, row, weights in zip(chunks, rows, words, strict=True):
        document = chunk.document
        if id(document) not in field_values:
            field_values[id(document)] = _field_value(document)
        point = pb.PointStruct(id=pb.PointId(uuid=chunk.point_id))
        vectors = point.vectors.vectors.vectors
        # The encoded message is its packed floats and nothing else, which spares a Python object for every number.
        vectors[""].dense.MergeFromString(_packed_floats_head(row.nbytes) + row.tobytes())
        _fill_sparse(vectors[LEXICAL_VECTOR].sparse, weights)
        payload = point.payload
        payload[PAYLOAD_DOCUMENT_ID].string_value = document.id
        payload[PAYLOAD_CHUNK_INDEX].integer_value = chunk.index
        payload[PAYLOAD_TITLE].string_value = document.title
        payload[PAYLOAD_TEXT].string_value = chunk.text
        payload[PAYLOAD_FIELDS].CopyFrom(field_values[id(document)])
        points.append(point)
    return points


def _point_words(point: str, weights: SparseVector) -> pb.PointVectors:
    number = _point_id(point)
    message = pb.PointVectors(id=pb.PointId(num=number) if isinstance(number, int) else pb.PointId(uuid=number))
    _fill_sparse(message.vectors.vectors.vectors[LEXICAL_VECTOR].sparse, weights)
    return message


def _fill_sparse(message: pb.SparseVector, weights: SparseVector) -> None:
    message.indices.extend(weights.indices.tolist())
    message.MergeFromString(_packed_floats_head(weights.values.nbytes) + weights.values.tobytes())


def _point_id(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _texts(records: Sequence[models.Record]) -> tuple[PointText, ...]:
    found = []
    for record in records:
        payload = record.payload or {}
        title, text = payload.get(PAYLOAD_TITLE, ""), payload.get(PAYLOAD_TEXT)
        if isinstance(title, str) and isinstance(text, str):
            found.append(PointText(str(record.id), title, text))
    return tuple(found)


def _field_value(document: Document) -> pb.Value:
    try:
        return json_to_value(document.fields)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"document {document.id!r} has a field that Qdrant cannot hold: {error}") from error


def _packed_floats_head(size: int) -> bytes:
    """Return tag and length that come before the `size` bytes of floats: the first field of both kinds of vector."""
    head = bytearray([_FIRST_FIELD << 3 | 2])
    while size > 0x7F:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head)


def _check_sizes(chunks: Sequence[Chunk], sizes: Sequence[int]) -> None:
    for chunk, size in zip(chunks, sizes, strict=True):
        if size > _LARGEST_POINT_BYTES:
            raise InvalidRequestError(
                f"document {chunk.document.id!r} has {size >> 20} MiB of fields, which go with each of its chunks; "
                f"{_LARGEST_POINT_BYTES >> 20} MiB are possible: leave some out"
            )


def _indexing_threshold_kib(info: models.CollectionInfo) -> int:
    return info.config.optimizer_config.indexing_threshold or 0
