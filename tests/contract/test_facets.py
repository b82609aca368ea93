"""Counts of a field's values, on the store and on a real Qdrant server alike."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from tests.contract.refusals import refusal
from tests.store_process import CALL_TIMEOUT_S

FIELDS = {
    "word": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.INTEGER,
    "live": models.PayloadSchemaType.BOOL,
    "uuid": models.PayloadSchemaType.UUID,
    "price": models.PayloadSchemaType.FLOAT,
    "at": models.PayloadSchemaType.DATETIME,
    "inner.word": models.PayloadSchemaType.KEYWORD,
}
IDS = [str(uuid.UUID(int=n)) for n in range(2)]
POINTS = 30


@pytest.fixture(scope="module")
def counted(client: QdrantClient) -> Iterator[str]:
    """A collection of points with a value or several of each field; the first has none."""
    name = f"facets-{uuid.uuid4().hex}"
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    for field, kind in FIELDS.items():
        client.create_payload_index(name, field, kind)
    points = [models.PointStruct(id=n, vector=[1.0, 0.0], payload=payload(n)) for n in range(POINTS)]
    client.upsert(name, points, wait=True)
    yield name
    client.delete_collection(name)


def payload(n: int) -> dict[str, Any]:
    if n == 0:
        return {"other": 1}
    return {
        "word": ["하나", f"w{n % 12}"] if n % 2 else f"w{n % 3}",
        "number": [n % 3 - 1, 9],
        "live": [True, False] if n == 1 else n % 3 == 0,
        "uuid": IDS[n % 2],
        "price": n / 2,
        "at": "2024-01-01T00:00:00Z",
        "inner": {"word": f"i{n % 2}"},
    }


def facet(client: QdrantClient, name: str, key: str, **options: Any) -> list[tuple[Any, int]]:
    return [(hit.value, hit.count) for hit in client.facet(name, key, **options).hits]


@pytest.mark.parametrize("exact", [False, True])
def test_values_by_the_number_of_points_that_have_them(client: QdrantClient, counted: str, exact: bool) -> None:
    """Equal numbers in the order of the values."""
    assert facet(client, counted, "word", exact=exact, limit=6) == [
        ("하나", 15),
        ("w1", 8),
        ("w2", 5),
        ("w0", 4),
        ("w3", 3),
        ("w5", 3),
    ]
    assert facet(client, counted, "number", exact=exact) == [(9, 29), (0, 10), (1, 10), (-1, 9)]
    assert facet(client, counted, "live", exact=exact) == [(False, 20), (True, 10)]
    assert facet(client, counted, "uuid", exact=exact) == [(IDS[1], 15), (IDS[0], 14)]
    assert facet(client, counted, "inner.word", exact=exact) == [("i1", 15), ("i0", 14)]


def test_values_keep_their_kind(client: QdrantClient, counted: str) -> None:
    kinds = {key: {type(value) for value, _ in facet(client, counted, key)} for key in ("word", "number", "live")}
    assert kinds == {"word": {str}, "number": {int}, "live": {bool}}


@pytest.mark.parametrize("exact", [False, True])
def test_only_the_points_of_a_filter_count(client: QdrantClient, counted: str, exact: bool) -> None:
    chosen = models.Filter(must=[models.FieldCondition(key="number", match=models.MatchValue(value=1))])
    assert facet(client, counted, "live", facet_filter=chosen, exact=exact) == [(False, 10)]
    nothing = models.Filter(must=[models.HasIdCondition(has_id=[999])])
    assert facet(client, counted, "live", facet_filter=nothing, exact=exact) == []


def test_ten_values_when_nothing_is_said_and_none_when_none_are_wanted(client: QdrantClient, counted: str) -> None:
    request = pb.FacetCounts(collection_name=counted, key="word")
    assert len(client.grpc_points.Facet(request, timeout=CALL_TIMEOUT_S).hits) == 9
    request.limit = 0
    assert len(client.grpc_points.Facet(request, timeout=CALL_TIMEOUT_S).hits) == 0


def test_deleted_and_changed_points_count_no_more(client: QdrantClient, name: str) -> None:
    client.create_collection(name, vectors_config=models.VectorParams(size=2, distance=models.Distance.DOT))
    client.create_payload_index(name, "word", models.PayloadSchemaType.KEYWORD)
    points = [models.PointStruct(id=n, vector=[1.0, 0.0], payload={"word": f"w{n % 2}"}) for n in range(10)]
    client.upsert(name, points, wait=True)
    client.delete(name, points_selector=[0, 1, 3], wait=True)
    client.set_payload(name, {"word": "neu"}, points=[2, 4], wait=True)
    assert facet(client, name, "word", exact=True) == [("w1", 3), ("neu", 2), ("w0", 2)]


@pytest.mark.parametrize("key", ["price", "at", "other"])
def test_a_field_without_an_index_of_values_is_refused(client: QdrantClient, counted: str, key: str) -> None:
    code, message = refusal(lambda: facet(client, counted, key))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith(f"Wrong input: No appropriate index for faceting: `{key}`. Please create one")


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda client, name: client.facet(name, "a["), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda client, name: client.facet(name, ""), grpc.StatusCode.INVALID_ARGUMENT),
        (lambda client, _: client.facet("nowhere", "a"), grpc.StatusCode.NOT_FOUND),
    ],
)
def test_requests_that_are_refused(
    client: QdrantClient, counted: str, call: Callable[[QdrantClient, str], Any], expected: grpc.StatusCode
) -> None:
    assert refusal(lambda: call(client, counted))[0] is expected
