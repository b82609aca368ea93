"""What kosearch relies on, on the store and on a real Qdrant server alike."""

import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client import grpc as pb

from tests.contract.refusals import refusal
from tests.real_qdrant import RealQdrant
from tests.store_process import CALL_TIMEOUT_S, StoreProcess

DIM = 8
UUID_ID = "1e577be3-0997-43fd-981d-60db5c2ab732"
PAYLOADS: dict[int | str, dict[str, Any]] = {
    1: {"lang": "ko", "year": 2001, "price": 1.5, "live": True, "at": "2024-01-01T00:00:00Z", "text": "서울 시청 광장"},
    2: {"lang": "en", "year": 2010, "price": 2.5, "live": False, "at": "2024-06-01T00:00:00Z", "text": "city hall"},
    3: {"lang": "ko", "year": 2020, "tags": ["a", "b"], "nothing": None, "text": "부산 시청"},
    UUID_ID: {"lang": "ja", "parts": [{"n": 1, "kind": "x"}, {"n": 2, "kind": "y"}], "tags": []},
}


def vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Return rows of shape (count, DIM)."""
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


@pytest.fixture
def empty(client: QdrantClient, name: str) -> str:
    """A collection without points."""
    client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
    return name


@pytest.fixture
def filled(client: QdrantClient, empty: str) -> str:
    """A collection with the points of PAYLOADS and their payload indexes."""
    fill(client, empty)
    return empty


@pytest.fixture(scope="module")
def unchanged(client: QdrantClient) -> Iterator[str]:
    """The same for tests that only read."""
    name = f"contract-{uuid.uuid4().hex}"
    client.create_collection(name, vectors_config=params(DIM))
    fill(client, name)
    yield name
    client.delete_collection(name)


def fill(client: QdrantClient, empty: str) -> None:
    """Put the points of PAYLOADS and their payload indexes into a collection."""
    for field, kind in [
        ("lang", "keyword"),
        ("year", "integer"),
        ("price", "float"),
        ("live", "bool"),
        ("at", "datetime"),
    ]:
        client.create_payload_index(empty, field, models.PayloadSchemaType(kind))
    rows = vectors(len(PAYLOADS))
    points = [
        models.PointStruct(id=point_id, vector=row.tolist(), payload=payload)
        for (point_id, payload), row in zip(PAYLOADS.items(), rows, strict=True)
    ]
    client.upsert(empty, points, wait=True)


def params(size: int) -> models.VectorParams:
    return models.VectorParams(size=size, distance=models.Distance.COSINE)


def point(vector: Any) -> models.PointStruct:
    return models.PointStruct(id=1, vector=vector)


def has_condition(key: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


def has(key: str, value: Any) -> models.Filter:
    return models.Filter(must=[has_condition(key, value)])


def raw_point(**point_id: Any) -> pb.PointStruct:
    dense = pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=[1.0] * DIM)))
    return pb.PointStruct(id=pb.PointId(**point_id), vectors=dense)


def raw_nan_payload() -> pb.PointStruct:
    message = raw_point(num=1)
    message.payload["x"].double_value = math.nan
    return message


def raw_upsert(client: QdrantClient, name: str, message: pb.PointStruct) -> Any:
    request = pb.UpsertPoints(collection_name=name, wait=True, points=[message])
    return client.grpc_points.Upsert(request, timeout=CALL_TIMEOUT_S)


def raw_delete_nothing(client: QdrantClient, name: str) -> Any:
    return client.grpc_points.Delete(pb.DeletePoints(collection_name=name, wait=True), timeout=CALL_TIMEOUT_S)


def raw_count_bare_condition(client: QdrantClient, name: str) -> Any:
    bare = pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="a"))])
    return client.grpc_points.Count(pb.CountPoints(collection_name=name, filter=bare), timeout=CALL_TIMEOUT_S)


class TestCollections:
    def test_exists_between_creation_and_deletion(self, client: QdrantClient, name: str) -> None:
        assert not client.collection_exists(name)
        client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.DOT))
        assert client.collection_exists(name)
        assert name in {each.name for each in client.get_collections().collections}
        assert client.delete_collection(name) is True
        assert not client.collection_exists(name)
        assert client.delete_collection(name) is False

    def test_tells_what_it_was_created_with(self, client: QdrantClient, name: str) -> None:
        metadata = {"model_name": "한국어", "dim": DIM, "nested": {"list": [1, 2.5, None, True, "끝"]}}
        params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=params, metadata=metadata)
        info = client.get_collection(name)
        assert info.config.params.vectors == params
        assert info.config.metadata == metadata
        assert info.points_count == 0
        assert info.status == models.CollectionStatus.GREEN
        assert info.payload_schema == {}

    def test_metadata_changes_key_by_key(self, client: QdrantClient, name: str) -> None:
        params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        client.create_collection(name, vectors_config=params, metadata={"kept": 1, "changed": 1, "removed": 1})
        client.update_collection(name, metadata={"changed": 2, "removed": None, "added": 3})
        assert client.get_collection(name).config.metadata == {"kept": 1, "changed": 2, "added": 3}

    def test_korean_name(self, client: QdrantClient) -> None:
        name = f"법령 {uuid.uuid4().hex}"
        client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
        assert client.collection_exists(name)
        client.delete_collection(name)

    def test_named_vectors(self, client: QdrantClient, name: str) -> None:
        config = {
            "title": models.VectorParams(size=2, distance=models.Distance.DOT),
            "body": models.VectorParams(size=3, distance=models.Distance.EUCLID),
        }
        client.create_collection(name, vectors_config=config)
        points = [
            models.PointStruct(id=1, vector={"title": [1, 0], "body": [1, 2, 3]}),
            models.PointStruct(id=2, vector={"title": [3, 0]}),
        ]
        client.upsert(name, points, wait=True)
        assert client.get_collection(name).config.params.vectors == config
        hits = client.query_points(name, query=[1.0, 0.0], using="title").points
        assert [(hit.id, hit.score) for hit in hits] == [(2, 3.0), (1, 1.0)]
        nearest = client.query_points(name, query=[1.0, 2.0, 5.0], using="body").points
        assert [(hit.id, hit.score) for hit in nearest] == [(1, 2.0)]
        assert client.retrieve(name, [1], with_vectors=["body"])[0].vector == {"body": [1, 2, 3]}

    def test_payload_indexes_are_told_and_deleted(self, client: QdrantClient, filled: str) -> None:
        schema = client.get_collection(filled).payload_schema
        told = {field: index.data_type.value for field, index in schema.items()}
        assert told == {"lang": "keyword", "year": "integer", "price": "float", "live": "bool", "at": "datetime"}
        assert schema["lang"].points == 4
        client.delete_payload_index(filled, "lang")
        assert "lang" not in client.get_collection(filled).payload_schema
        client.delete_payload_index(filled, "never-made")

    def test_index_parameters_are_told(self, client: QdrantClient, empty: str) -> None:
        text = models.TextIndexParams(
            type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.MULTILINGUAL, lowercase=True, min_token_len=2
        )
        number = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True)
        client.create_payload_index(empty, "text", text)
        client.create_payload_index(empty, "year", number)
        schema = client.get_collection(empty).payload_schema
        assert schema["text"].params == text
        assert schema["year"].params == number


class TestRefusals:
    def test_existing_collection(self, client: QdrantClient, empty: str) -> None:
        params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        code, message = refusal(lambda: client.create_collection(empty, vectors_config=params))
        assert code is grpc.StatusCode.ALREADY_EXISTS
        assert message == f"Wrong input: Collection `{empty}` already exists!"

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.get_collection("nowhere"),
            lambda client: client.count("nowhere"),
            lambda client: client.scroll("nowhere"),
            lambda client: client.retrieve("nowhere", [1]),
            lambda client: client.query_points("nowhere", query=[1.0]),
            lambda client: client.upsert("nowhere", [models.PointStruct(id=1, vector=[1.0])]),
            lambda client: client.delete("nowhere", points_selector=[1]),
            lambda client: client.create_payload_index("nowhere", "a", models.PayloadSchemaType.KEYWORD),
            lambda client: client.update_collection_aliases([create_alias("nowhere", "alias")]),
        ],
    )
    def test_unknown_collection(self, client: QdrantClient, call: Callable[[QdrantClient], Any]) -> None:
        expected = grpc.StatusCode.NOT_FOUND, "Not found: Collection `nowhere` doesn't exist!"
        assert refusal(lambda: call(client)) == expected

    @pytest.mark.parametrize("size", [DIM - 1, DIM + 1, 0])
    def test_wrong_dimension(self, client: QdrantClient, empty: str, size: int) -> None:
        wrong = [1.0] * size
        expected = (
            grpc.StatusCode.INVALID_ARGUMENT,
            f"Wrong input: Vector dimension error: expected dim: {DIM}, got {size}",
        )
        assert refusal(lambda: client.upsert(empty, [models.PointStruct(id=1, vector=wrong)], wait=True)) == expected
        if size:
            assert refusal(lambda: client.query_points(empty, query=wrong)) == expected

    @pytest.mark.parametrize(
        "call",
        [
            pytest.param(lambda client, name: client.query_points(name, query=[1.0] * DIM, limit=0), id="limit 0"),
            pytest.param(lambda client, name: client.scroll(name, limit=0), id="scroll limit 0"),
            pytest.param(
                lambda client, name: client.query_points(name, query=[1.0] * DIM, using="x"), id="vector name"
            ),
            pytest.param(lambda client, name: client.upsert(name, []), id="no points"),
            pytest.param(lambda client, name: client.upsert(name, [point({"x": [1.0]})]), id="upserted vector name"),
            pytest.param(lambda client, name: client.count(name, count_filter=has("a[", 1)), id="path in filter"),
            pytest.param(lambda client, name: client.create_payload_index(name, "a[", "keyword"), id="path of index"),
            pytest.param(lambda client, _: client.create_collection("", vectors_config=params(4)), id="empty name"),
            pytest.param(lambda client, _: client.create_collection("a/b", vectors_config=params(4)), id="slash"),
            pytest.param(
                lambda client, _: client.create_collection("a" * 256, vectors_config=params(4)), id="long name"
            ),
            pytest.param(lambda client, _: client.create_collection("zero", vectors_config=params(0)), id="size 0"),
            pytest.param(lambda client, _: client.create_collection("huge", vectors_config=params(65_537)), id="size"),
            pytest.param(lambda client, name: raw_upsert(client, name, pb.PointStruct()), id="no id"),
            pytest.param(lambda client, name: raw_upsert(client, name, raw_point(uuid="zz")), id="bad uuid"),
            pytest.param(
                lambda client, name: raw_upsert(client, name, pb.PointStruct(id=pb.PointId(num=1))), id="vectors"
            ),
            pytest.param(lambda client, name: raw_upsert(client, name, raw_nan_payload()), id="NaN in payload"),
            pytest.param(raw_delete_nothing, id="no selector"),
            pytest.param(raw_count_bare_condition, id="condition says nothing"),
        ],
    )
    def test_invalid_request(self, client: QdrantClient, empty: str, call: Callable[[QdrantClient, str], Any]) -> None:
        assert refusal(lambda: call(client, empty))[0] is grpc.StatusCode.INVALID_ARGUMENT

    def test_vector_name_to_return(self, client: QdrantClient, filled: str) -> None:
        expected = grpc.StatusCode.INVALID_ARGUMENT, "Wrong input: Not existing vector name error: x"
        assert refusal(lambda: client.retrieve(filled, [1], with_vectors=["x"])) == expected

    def test_payload_of_unknown_point(self, client: QdrantClient, empty: str) -> None:
        expected = grpc.StatusCode.NOT_FOUND, "Not found: No point with id 77 found"
        assert refusal(lambda: client.set_payload(empty, {"a": 1}, points=[77], wait=True)) == expected


class TestPoints:
    def test_payloads_come_back_as_they_were(self, client: QdrantClient, empty: str) -> None:
        payload = {
            "string": "한글 😀 \u0000",
            "integer": 2**62,
            "negative": -(2**62),
            "float": 0.1,
            "whole float": 1.0,
            "bool": True,
            "null": None,
            "list": [1, "a", [2.5, {}], None],
            "object": {"a": {"b": {"c": []}}},
            "empty": {},
        }
        client.upsert(empty, [models.PointStruct(id=1, vector=[1.0] * DIM, payload=payload)], wait=True)
        found = client.retrieve(empty, [1])[0].payload
        assert found == payload
        assert found is not None
        assert isinstance(found["whole float"], float)
        assert found["bool"] is True

    def test_retrieve_keeps_order_and_leaves_out_the_missing(self, client: QdrantClient, filled: str) -> None:
        wanted: list[int | str] = [3, 999, UUID_ID, 1]
        assert [record.id for record in client.retrieve(filled, wanted)] == [3, UUID_ID, 1]

    def test_cosine_vectors_come_back_normalised(self, client: QdrantClient, empty: str) -> None:
        client.upsert(empty, [models.PointStruct(id=1, vector=[3.0, 4.0] + [0.0] * (DIM - 2))], wait=True)
        found = client.retrieve(empty, [1], with_vectors=True)[0].vector
        assert found == pytest.approx([0.6, 0.8] + [0.0] * (DIM - 2), abs=1e-6)

    def test_upsert_replaces_vector_and_payload(self, client: QdrantClient, filled: str) -> None:
        client.upsert(filled, [models.PointStruct(id=1, vector=[1.0] * DIM, payload={"new": 1})], wait=True)
        assert client.retrieve(filled, [1])[0].payload == {"new": 1}
        assert client.count(filled).count == len(PAYLOADS)

    def test_last_of_equal_ids_in_a_batch_wins(self, client: QdrantClient, empty: str) -> None:
        points = [models.PointStruct(id=1, vector=[1.0] * DIM, payload={"n": n}) for n in range(3)]
        client.upsert(empty, points, wait=True)
        assert client.count(empty).count == 1
        assert client.retrieve(empty, [1])[0].payload == {"n": 2}

    def test_status_tells_whether_it_was_waited_for(self, client: QdrantClient, empty: str) -> None:
        points = [models.PointStruct(id=1, vector=[1.0] * DIM)]
        assert client.upsert(empty, points, wait=False).status == models.UpdateStatus.ACKNOWLEDGED
        assert client.upsert(empty, points, wait=True).status == models.UpdateStatus.COMPLETED

    def test_waiting_for_the_last_batch_waits_for_all(self, client: QdrantClient, empty: str) -> None:
        rows = vectors(64)
        for start in range(0, 64, 16):
            ids = list(range(start, start + 16))
            client.upsert(empty, models.Batch(ids=ids, vectors=rows[ids].tolist()), wait=start == 48)
        assert client.count(empty).count == 64

    def test_delete_by_ids(self, client: QdrantClient, filled: str) -> None:
        client.delete(filled, points_selector=[1, UUID_ID, 12345], wait=True)
        assert {record.id for record in client.scroll(filled)[0]} == {2, 3}

    def test_delete_by_filter(self, client: QdrantClient, filled: str) -> None:
        chosen = models.Filter(must=[has_condition("lang", "ko")], must_not=[models.HasIdCondition(has_id=[3])])
        client.delete(filled, points_selector=models.FilterSelector(filter=chosen), wait=True)
        assert {record.id for record in client.scroll(filled)[0]} == {2, 3, UUID_ID}

    def test_set_payload_merges_and_overwrite_replaces(self, client: QdrantClient, filled: str) -> None:
        client.set_payload(filled, {"year": 1, "inner": {"a": 1}}, points=[2], wait=True)
        client.set_payload(filled, {"b": 2}, points=[2], key="inner", wait=True)
        expected = {**PAYLOADS[2], "year": 1, "inner": {"a": 1, "b": 2}}
        assert client.retrieve(filled, [2])[0].payload == expected
        client.overwrite_payload(
            filled, {"only": 1}, points=models.Filter(must=[has_condition("lang", "ko")]), wait=True
        )
        assert [record.payload for record in client.retrieve(filled, [1, 3])] == [{"only": 1}, {"only": 1}]

    def test_scroll_visits_every_point_once_in_order(self, client: QdrantClient, empty: str) -> None:
        ids: list[int | str] = [*range(20), *sorted(str(uuid.UUID(int=n)) for n in range(5))]
        batch = models.Batch(ids=ids, vectors=vectors(25).tolist())
        client.upsert(empty, batch, wait=True)
        seen: list[Any] = []
        offset = None
        while True:
            page, offset = client.scroll(empty, limit=7, offset=offset)
            assert len(page) <= 7
            seen += [record.id for record in page]
            if offset is None:
                break
        assert seen == ids

    def test_scroll_selects(self, client: QdrantClient, filled: str) -> None:
        page, following = client.scroll(
            filled, scroll_filter=has("lang", "ko"), with_payload=["year"], with_vectors=True, limit=10
        )
        assert following is None
        assert [(record.id, record.payload) for record in page] == [(1, {"year": 2001}), (3, {"year": 2020})]
        shapes = [np.asarray(record.vector).shape for record in page]
        assert shapes == [(DIM,), (DIM,)]


def condition(key: str, **parts: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, **parts)


def nested(key: str, *conditions: models.Condition) -> models.NestedCondition:
    return models.NestedCondition(nested=models.Nested(key=key, filter=models.Filter(must=list(conditions))))


FILTERS: list[tuple[models.Filter, set[int | str]]] = [
    (models.Filter(must=[condition("lang", match=models.MatchValue(value="ko"))]), {1, 3}),
    (models.Filter(must=[condition("lang", match=models.MatchAny(any=["en", "ja"]))]), {2, UUID_ID}),
    (models.Filter(must=[condition("lang", match=models.MatchExcept(**{"except": ["ko"]}))]), {2, UUID_ID}),
    (models.Filter(must=[condition("year", match=models.MatchValue(value=2010))]), {2}),
    (models.Filter(must=[condition("year", match=models.MatchAny(any=[2010, 2020]))]), {2, 3}),
    (models.Filter(must=[condition("year", match=models.MatchExcept(**{"except": [2010]}))]), {1, 3}),
    (models.Filter(must=[condition("live", match=models.MatchValue(value=True))]), {1}),
    (models.Filter(must=[condition("tags", match=models.MatchValue(value="a"))]), {3}),
    (models.Filter(must=[condition("year", range=models.Range(gt=2001, lte=2020))]), {2, 3}),
    (models.Filter(must=[condition("year", range=models.Range(gte=2001, lt=2010))]), {1}),
    (models.Filter(must=[condition("price", range=models.Range(gte=1.5, lt=2.5))]), {1}),
    (models.Filter(must=[condition("at", range=models.DatetimeRange(gt="2024-03-01T00:00:00Z"))]), {2}),
    (models.Filter(must=[condition("at", range=models.DatetimeRange(lte="2024-01-01T09:00:00+09:00"))]), {1}),
    (models.Filter(must=[condition("tags", values_count=models.ValuesCount(gte=2))]), {3}),
    (models.Filter(must=[condition("tags", is_empty=True)]), {1, 2, UUID_ID}),
    (models.Filter(must=[condition("nothing", is_null=True)]), {3}),
    (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="year"))]), {UUID_ID}),
    (models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="nothing"))]), {3}),
    (models.Filter(must=[models.HasIdCondition(has_id=[2, UUID_ID, 99])]), {2, UUID_ID}),
    (models.Filter(must=[models.HasVectorCondition(has_vector="")]), {1, 2, 3, UUID_ID}),
    (models.Filter(must_not=[condition("lang", match=models.MatchValue(value="ko"))]), {2, UUID_ID}),
    (
        models.Filter(
            should=[
                condition("lang", match=models.MatchValue(value="ja")),
                condition("year", match=models.MatchValue(value=2001)),
            ]
        ),
        {1, UUID_ID},
    ),
    (
        models.Filter(
            min_should=models.MinShould(
                conditions=[
                    condition("lang", match=models.MatchValue(value="ko")),
                    condition("year", range=models.Range(gte=2010)),
                    condition("live", match=models.MatchValue(value=True)),
                ],
                min_count=2,
            )
        ),
        {1, 3},
    ),
    (
        models.Filter(must=[models.Filter(must_not=[condition("lang", match=models.MatchValue(value="en"))])]),
        {1, 3, UUID_ID},
    ),
    (models.Filter(must=[condition("parts[].n", match=models.MatchValue(value=2))]), {UUID_ID}),
    (
        models.Filter(
            must=[
                nested(
                    "parts",
                    condition("n", match=models.MatchValue(value=1)),
                    condition("kind", match=models.MatchValue(value="y")),
                )
            ]
        ),
        set(),
    ),
    (models.Filter(must=[nested("parts", condition("n", match=models.MatchValue(value=2)))]), {UUID_ID}),
    (
        models.Filter(
            must=[
                nested(
                    "parts",
                    condition("n", match=models.MatchAny(any=[2, 3])),
                    condition("kind", match=models.MatchExcept(**{"except": ["x"]})),
                )
            ]
        ),
        {UUID_ID},
    ),
    (models.Filter(must_not=[nested("parts", condition("n", range=models.Range(gte=1)))]), {1, 2, 3}),
    (models.Filter(must=[condition("at", range=models.DatetimeRange(gte="2024-01-01T00:00:00Z"))]), {1, 2}),
    (models.Filter(must=[condition("at", range=models.DatetimeRange(gt="2024-01-01T00:00:00Z"))]), {2}),
    (models.Filter(must=[condition("at", range=models.DatetimeRange(lt="2024-01-01T00:00:00.000001Z"))]), {1}),
    (models.Filter(must_not=[condition("at", range=models.DatetimeRange(lt="2025-01-01T00:00:00Z"))]), {3, UUID_ID}),
    # Two differences of the store's newer engine from 1.16: a field that is not there has 0 values (1.16: it matches
    # no count), and text without an index is found by whole words (1.16: by any part).
    (models.Filter(must=[condition("tags", values_count=models.ValuesCount(gt=0))]), {3}),
    (models.Filter(must=[condition("lang", values_count=models.ValuesCount(gte=1, lt=2))]), {1, 2, 3, UUID_ID}),
    (models.Filter(must=[condition("nothing", values_count=models.ValuesCount(gte=1))]), set()),
    (models.Filter(must=[condition("tags", match=models.MatchAny(any=["b", "c"]))]), {3}),
    (models.Filter(must=[condition("lang", match=models.MatchAny(any=[]))]), set()),
    (models.Filter(must=[condition("tags", match=models.MatchExcept(**{"except": ["a"]}))]), {3}),
    (models.Filter(must=[condition("tags", match=models.MatchExcept(**{"except": ["a", "b"]}))]), set()),
    (models.Filter(must=[condition("lang", match=models.MatchExcept(**{"except": []}))]), {1, 2, 3, UUID_ID}),
    (models.Filter(must=[condition("year", match=models.MatchAny(any=["2010"]))]), set()),
    (models.Filter(must=[condition("text", match=models.MatchText(text="시청"))]), {1, 3}),
    (models.Filter(must=[condition("text", match=models.MatchText(text="부산 서울"))]), set()),
    (models.Filter(must=[condition("lang", match=models.MatchValue(value="nowhere"))]), set()),
]


class TestFilters:
    @pytest.mark.parametrize(("chosen", "expected"), FILTERS)
    def test_filter_chooses(
        self, client: QdrantClient, unchanged: str, chosen: models.Filter, expected: set[int | str]
    ) -> None:
        assert {record.id for record in client.scroll(unchanged, scroll_filter=chosen)[0]} == expected
        assert client.count(unchanged, count_filter=chosen, exact=True).count == len(expected)
        hits = client.query_points(unchanged, query=[1.0] * DIM, query_filter=chosen).points
        assert {hit.id for hit in hits} == expected

    @pytest.mark.parametrize("tokenizer", [models.TokenizerType.WORD, models.TokenizerType.MULTILINGUAL])
    def test_indexed_text(self, client: QdrantClient, filled: str, tokenizer: models.TokenizerType) -> None:
        params = models.TextIndexParams(type=models.TextIndexType.TEXT, tokenizer=tokenizer)
        client.create_payload_index(filled, "text", params)
        chosen = models.Filter(must=[condition("text", match=models.MatchText(text="시청 부산"))])
        assert {record.id for record in client.scroll(filled, scroll_filter=chosen)[0]} == {3}


def expected_scores(rows: NDArray[np.float32], query: NDArray[np.float32], distance: models.Distance) -> Any:
    """Return the score of each row, shape (len(rows),)."""
    if distance == models.Distance.DOT:
        return rows @ query
    if distance == models.Distance.EUCLID:
        return np.linalg.norm(rows - query, axis=1)
    return (rows @ query) / (np.linalg.norm(rows, axis=1) * np.linalg.norm(query))


class TestQueries:
    @pytest.mark.parametrize("distance", [models.Distance.COSINE, models.Distance.DOT, models.Distance.EUCLID])
    def test_scores_and_order_are_exact(self, client: QdrantClient, name: str, distance: models.Distance) -> None:
        client.create_collection(name, vectors_config=models.VectorParams(size=DIM, distance=distance))
        rows = vectors(200)
        client.upsert(name, models.Batch(ids=list(range(200)), vectors=rows.tolist()), wait=True)
        query = vectors(1, seed=1)[0]
        scores = expected_scores(rows, query, distance)
        best = np.argsort(scores if distance == models.Distance.EUCLID else -scores)[:10]
        hits = client.query_points(name, query=query.tolist(), limit=10).points
        assert [hit.id for hit in hits] == best.tolist()
        assert [hit.score for hit in hits] == pytest.approx(scores[best].tolist(), abs=1e-5)
        exact = client.query_points(name, query=query.tolist(), search_params=models.SearchParams(exact=True)).points
        assert exact == hits

    def test_ten_hits_when_nothing_is_said(self, client: QdrantClient, empty: str) -> None:
        client.upsert(empty, models.Batch(ids=list(range(20)), vectors=vectors(20).tolist()), wait=True)
        query = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[1.0] * DIM)))
        request = pb.QueryPoints(collection_name=empty, query=query)
        hits = client.grpc_points.Query(request, timeout=CALL_TIMEOUT_S).result
        assert len(hits) == 10
        assert not hits[0].payload

    def test_offset_and_threshold(self, client: QdrantClient, empty: str) -> None:
        client.upsert(empty, models.Batch(ids=list(range(50)), vectors=vectors(50).tolist()), wait=True)
        query = [1.0] * DIM
        every = client.query_points(empty, query=query, limit=50).points
        assert client.query_points(empty, query=query, limit=5, offset=10).points == every[10:15]
        threshold = (every[7].score + every[8].score) / 2
        above = client.query_points(empty, query=query, limit=50, score_threshold=threshold).points
        assert [hit.id for hit in above] == [hit.id for hit in every[:8]]

    def test_payload_and_vectors_on_request(self, client: QdrantClient, filled: str) -> None:
        query = [1.0] * DIM
        only = [models.HasIdCondition(has_id=[2])]

        def hit(**options: Any) -> models.ScoredPoint:
            return client.query_points(filled, query=query, query_filter=models.Filter(must=only), **options).points[0]

        assert hit(with_payload=False).payload in (None, {})
        assert hit(with_payload=True).payload == PAYLOADS[2]
        assert hit(with_payload=["year", "lang"]).payload == {"year": 2010, "lang": "en"}
        exclude = models.PayloadSelectorExclude(exclude=["at", "text", "price"])
        assert hit(with_payload=exclude).payload == {"year": 2010, "lang": "en", "live": False}
        assert hit().vector is None
        assert hit(with_vectors=True).vector == pytest.approx(client.retrieve(filled, [2], with_vectors=True)[0].vector)

    def test_batch_answers_in_order(self, client: QdrantClient, filled: str) -> None:
        queries = vectors(3, seed=4).tolist()
        requests = [models.QueryRequest(query=query, limit=2, with_payload=True) for query in queries]
        together = [response.points for response in client.query_batch_points(filled, requests)]
        assert together == [client.query_points(filled, query=query, limit=2).points for query in queries]

    async def test_asynchronous_client(self, backend: StoreProcess | RealQdrant, filled: str) -> None:
        port = backend.port if isinstance(backend, StoreProcess) else backend.grpc_port
        client = AsyncQdrantClient(
            host="127.0.0.1", grpc_port=port, prefer_grpc=True, https=False, check_compatibility=False, timeout=30
        )
        assert (await client.count(filled)).count == len(PAYLOADS)
        assert len((await client.query_points(filled, query=[1.0] * DIM, limit=2)).points) == 2
        await client.close()


def create_alias(collection: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def delete_alias(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


class TestAliases:
    @pytest.fixture
    def alias(self) -> str:
        return f"alias-{uuid.uuid4().hex}"

    def test_alias_stands_for_the_collection(self, client: QdrantClient, filled: str, alias: str) -> None:
        client.update_collection_aliases([create_alias(filled, alias)])
        assert client.collection_exists(alias)
        assert client.count(alias).count == len(PAYLOADS)
        assert client.get_collection(alias).points_count == len(PAYLOADS)
        client.upsert(alias, [models.PointStruct(id=50, vector=[1.0] * DIM)], wait=True)
        assert client.count(filled).count == len(PAYLOADS) + 1
        assert alias not in {each.name for each in client.get_collections().collections}

    def test_alias_moves_in_one_step(self, client: QdrantClient, filled: str, alias: str) -> None:
        other = f"{filled}-2"
        client.create_collection(other, vectors_config=params(DIM))
        try:
            client.update_collection_aliases([create_alias(filled, alias)])
            client.update_collection_aliases([delete_alias(alias), create_alias(other, alias)])
            assert client.count(alias).count == 0
            client.update_collection_aliases([create_alias(filled, alias)])
            assert client.count(alias).count == len(PAYLOADS)
        finally:
            client.delete_collection(other)

    def test_rename_and_delete(self, client: QdrantClient, empty: str, alias: str) -> None:
        client.update_collection_aliases([create_alias(empty, alias)])
        renamed = f"{alias}-2"
        rename = models.RenameAlias(old_alias_name=alias, new_alias_name=renamed)
        client.update_collection_aliases([models.RenameAliasOperation(rename_alias=rename)])
        assert [each.alias_name for each in client.get_collection_aliases(empty).aliases] == [renamed]
        client.update_collection_aliases([delete_alias(renamed), delete_alias("never-made")])
        assert client.get_collection_aliases(empty).aliases == []
        assert client.get_collection_aliases("nowhere").aliases == []

    def test_alias_goes_with_its_collection(self, client: QdrantClient, empty: str, alias: str) -> None:
        client.update_collection_aliases([create_alias(empty, alias)])
        assert client.delete_collection(alias) is False
        assert client.delete_collection(empty) is True
        assert alias not in {each.alias_name for each in client.get_aliases().aliases}
        assert not client.collection_exists(alias)

    def test_names_cannot_clash(self, client: QdrantClient, empty: str, alias: str) -> None:
        assert refusal(lambda: client.update_collection_aliases([create_alias(empty, empty)])) == (
            grpc.StatusCode.ALREADY_EXISTS,
            f"Wrong input: Collection `{empty}` already exists!",
        )
        client.update_collection_aliases([create_alias(empty, alias)])
        code, _ = refusal(lambda: client.create_collection(alias, vectors_config=params(DIM)))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        code, _ = refusal(lambda: client.update_collection_aliases([create_alias(alias, f"{alias}-2")]))
        assert code is grpc.StatusCode.NOT_FOUND
        rename = models.RenameAlias(old_alias_name="never-made", new_alias_name="other")
        code, _ = refusal(lambda: client.update_collection_aliases([models.RenameAliasOperation(rename_alias=rename)]))
        assert code is grpc.StatusCode.NOT_FOUND


def test_version_is_new_enough_for_collection_metadata(client: QdrantClient) -> None:
    assert tuple(int(part) for part in client.info().version.split(".")[:2]) >= (1, 16)


def test_both_answer_alike(store: StoreProcess, real_qdrant: RealQdrant) -> None:
    """Ids, order, scores, counts and pages of 500 random points are the same on both."""
    rows, queries = vectors(500, seed=2), vectors(20, seed=3)
    payloads = [{"group": f"g{n % 7}", "n": n, "even": n % 2 == 0} for n in range(500)]
    answers = []
    for each in (store, real_qdrant):
        client = each.client()
        name = f"alike-{uuid.uuid4().hex}"
        client.create_collection(name, vectors_config=params(DIM))
        client.create_payload_index(name, "group", models.PayloadSchemaType.KEYWORD)
        client.upsert(name, models.Batch(ids=list(range(500)), vectors=rows.tolist(), payloads=payloads), wait=True)
        client.delete(name, points_selector=list(range(0, 500, 9)), wait=True)
        answers.append([answer(client, name, query.tolist(), n) for n, query in enumerate(queries)])
        client.delete_collection(name)
        client.close()
    for ours, theirs in zip(*answers, strict=True):
        assert ours["hits"] == theirs["hits"]
        assert ours["count"] == theirs["count"]
        assert ours["page"] == theirs["page"]
        assert all(math.isclose(a, b, abs_tol=1e-5) for a, b in zip(ours["scores"], theirs["scores"], strict=True))


def answer(client: QdrantClient, name: str, query: list[float], n: int) -> dict[str, Any]:
    """Return what a backend says to one query and its filter."""
    chosen = models.Filter(
        must=[condition("group", match=models.MatchAny(any=[f"g{n % 7}", "g0"]))],
        must_not=[condition("n", range=models.Range(gte=20 * n, lt=25 * n + 50))],
    )
    hits = client.query_points(name, query=query, query_filter=chosen, limit=20, offset=n % 3).points
    page, following = client.scroll(name, scroll_filter=chosen, limit=15, offset=n * 3)
    return {
        "hits": [(hit.id, hit.payload) for hit in hits],
        "scores": [hit.score for hit in hits],
        "count": client.count(name, count_filter=chosen).count,
        "page": ([(record.id, record.payload) for record in page], following),
    }
