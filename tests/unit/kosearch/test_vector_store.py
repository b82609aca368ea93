"""What is sent to Qdrant, and what its refusals are taken for; without one."""

from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from kosearch import vector_store
from kosearch.documents import Chunk, Document
from kosearch.errors import InvalidRequestError, OverloadedError, UnavailableError
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import sparse_vector
from kosearch.vector_store import METADATA_INDEXING_THRESHOLD, VectorStore

WORDS = sparse_vector({"민법": 1.5, "제1조": 0.25})
FIELDS = {"year": 1958, "law": "민법", "rate": 0.5, "live": True, "none": None, "tags": ["a", {"b": 1}]}


class StatusError(grpc.RpcError, grpc.Call):
    """An answer that is a status."""

    def __init__(self, status: grpc.StatusCode, message: str = "") -> None:
        self._status, self._message = status, message

    def code(self) -> grpc.StatusCode:
        return self._status

    def details(self) -> str:
        return self._message

    def _nothing(self, *_: Any) -> Any:
        raise NotImplementedError

    initial_metadata = trailing_metadata = is_active = time_remaining = cancel = add_callback = _nothing


class FakePoints:
    """Takes upserts; of more points than it `bears` it says nothing in time."""

    def __init__(self, bears: int = 1_000_000, error: Exception | None = None) -> None:
        self.bears, self.error = bears, error
        self.requests: list[pb.UpsertPoints] = []

    def Upsert(self, request: pb.UpsertPoints, timeout: float) -> None:  # noqa: N802
        if self.error is not None:
            raise self.error
        if len(request.points) > self.bears:
            raise StatusError(grpc.StatusCode.DEADLINE_EXCEEDED)
        self.requests.append(request)


class FakeCollections:
    """A collection with a threshold; after its threshold was set it says what `statuses` holds, one by one."""

    def __init__(self, threshold: int, metadata: dict[str, Any], statuses: list[str]) -> None:
        self.threshold, self.metadata, self.statuses = threshold, metadata, statuses

    def get_collection(self, _name: str) -> Any:
        status = models.CollectionStatus(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])
        optimizers = models.OptimizersConfig(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            flush_interval_sec=5,
            indexing_threshold=self.threshold,
        )
        config = SimpleNamespace(optimizer_config=optimizers, metadata=self.metadata)
        is_red = status is models.CollectionStatus.RED
        optimizer_status: Any = models.OptimizersStatusOneOf1(error="full") if is_red else "ok"
        return SimpleNamespace(
            config=config, status=status, optimizer_status=optimizer_status, points_count=1, indexed_vectors_count=0
        )

    def update_collection(self, _name: str, optimizers_config: Any = None, metadata: Any = None) -> None:
        self.metadata = self.metadata | (metadata or {})
        if optimizers_config is not None:
            self.threshold = optimizers_config.indexing_threshold


def store_with(client: Any) -> VectorStore:
    """Return a store that speaks to a fake."""
    store = VectorStore(QdrantSettings(url="http://127.0.0.1:1", timeout_s=1))
    store.close()
    store._client = client
    return store


def chunks(count: int, fields: dict[str, Any] | None = None) -> list[Chunk]:
    document = Document("a", "글", "제목", FIELDS if fields is None else fields)
    return [Chunk(document, index, f"글 {index}", "") for index in range(count)]


def upserted(points: FakePoints, count: int, fields: dict[str, Any] | None = None) -> list[int]:
    """Upsert so many chunks. Returns how many points each request held."""
    store = store_with(SimpleNamespace(grpc_points=points))
    store.upsert_chunks("c", chunks(count, fields), np.ones((count, 4), np.float32), [WORDS] * count, wait=True)
    return [len(request.points) for request in points.requests]


@pytest.mark.parametrize("dim", [1, 31, 32, 384, 5000])
def test_points_are_what_the_client_itself_would_send(dim: int) -> None:
    rows = np.random.default_rng(dim).standard_normal((2, dim)).astype(np.float32)
    sent = vector_store._points(chunks(2), rows, [WORDS] * 2)
    for chunk, row, point in zip(chunks(2), rows, sent, strict=True):
        payload = {
            "document_id": "a",
            "chunk_index": chunk.index,
            "title": "제목",
            "text": chunk.text,
            "fields": FIELDS,
        }
        words = models.SparseVector(indices=WORDS.indices.tolist(), values=WORDS.values.tolist())
        vectors: Any = {"": row.tolist(), "lexical": words}
        expected = models.PointStruct(id=chunk.point_id, vector=vectors, payload=payload)
        assert point == RestToGrpc.convert_point_struct(expected)


def test_rows_of_another_type_or_order_are_sent_as_float32() -> None:
    rows = np.asfortranarray(np.arange(8, dtype=np.float64).reshape(2, 4))
    points = vector_store._points(chunks(2), rows, [WORDS] * 2)  # type: ignore[arg-type]
    assert [list(point.vectors.vectors.vectors[""].dense.data) for point in points] == rows.tolist()


def test_requests_are_bounded_by_points() -> None:
    assert upserted(FakePoints(), 150) == [64, 64, 22]


def test_requests_are_bounded_by_bytes() -> None:
    """All fields of a document go with each of its chunks."""
    points = FakePoints()
    upserted(points, 20, {"table": "가" * (1 << 20)})
    assert all(request.ByteSize() <= 8 << 20 for request in points.requests)
    assert sum(len(request.points) for request in points.requests) == 20


def test_all_requests_wait_when_they_are_told_to() -> None:
    """A server does not tell of a write that failed when nobody waited for it."""
    points = FakePoints()
    upserted(points, 100)
    assert [request.wait for request in points.requests] == [True, True]


def test_what_takes_too_long_is_sent_in_halves() -> None:
    points = FakePoints(bears=40)
    assert sum(upserted(points, 150)) == 150
    assert [point.payload["chunk_index"].integer_value for request in points.requests for point in request.points] == (
        list(range(150))
    )


def test_one_point_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        upserted(FakePoints(bears=0), 3)


def test_a_point_that_no_request_holds_is_refused_by_its_document() -> None:
    with pytest.raises(InvalidRequestError, match=r"'a'.*MiB"):
        upserted(FakePoints(), 1, {"x": "a" * (33 << 20)})


def test_a_value_that_no_payload_holds_is_refused_by_its_document() -> None:
    with pytest.raises(InvalidRequestError, match="'a'"):
        upserted(FakePoints(), 1, {"x": 2**70})


@pytest.mark.parametrize(
    ("message", "retry_after_s"), [("no space left: the disk is full", 10.0), ("too many calls", 1.0)]
)
def test_a_store_without_room_is_waited_for(message: str, retry_after_s: float) -> None:
    """Jobs go on when somebody has made room, and their users read how."""
    error = StatusError(grpc.StatusCode.RESOURCE_EXHAUSTED, message)
    with pytest.raises(OverloadedError, match=message) as caught:
        upserted(FakePoints(error=error), 1)
    assert caught.value.retry_after_s == retry_after_s


def test_a_disk_that_a_server_finds_full_is_waited_for_too() -> None:
    error = StatusError(grpc.StatusCode.INTERNAL, "Service internal error: No space left on device")
    with pytest.raises(UnavailableError, match="No space left"):
        upserted(FakePoints(error=error), 1)


def build(client: FakeCollections) -> int:
    """Build the index. Returns how often the caller was asked whether to go on."""
    asked: list[None] = []
    store_with(client).build_index("c", lambda: asked.append(None), poll_s=0)
    return len(asked)


def test_a_deferral_remembers_the_threshold_once() -> None:
    """A second job that defers must not take the 0 of the first for the collection's own."""
    client = FakeCollections(10_000, {}, ["green"])
    for _ in range(2):
        store_with(client).defer_index_building("c")
    assert client.threshold == 0
    assert client.metadata == {METADATA_INDEXING_THRESHOLD: 10_000}


def test_an_index_is_waited_for() -> None:
    client = FakeCollections(0, {METADATA_INDEXING_THRESHOLD: 10_000}, ["green", "grey", "yellow", "green"])
    assert build(client) == 2
    assert client.threshold == 10_000


def test_a_threshold_that_somebody_set_to_nothing_stays() -> None:
    client = FakeCollections(0, {}, ["green"])
    assert build(client) == 0
    assert client.threshold == 0


def test_an_index_that_cannot_be_built_does_not_hold_the_job_up() -> None:
    assert build(FakeCollections(1, {}, ["green", "yellow", "red"])) == 1


def test_who_lost_the_lease_waits_no_longer() -> None:
    def lose() -> None:
        raise RuntimeError("lost")

    store = store_with(FakeCollections(1, {}, ["yellow"]))
    with pytest.raises(RuntimeError, match="lost"):
        store.build_index("c", lose, poll_s=0)
