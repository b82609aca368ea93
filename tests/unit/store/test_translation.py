"""Protobuf to Edge and back, without a shard."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import qdrant_edge as edge
from google.protobuf.timestamp_pb2 import Timestamp
from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError, UnsupportedError
from standalone.store.index_policy import DEFAULT_THRESHOLD_KIB
from standalone.store.translation import filters, points, schemas, values, vector_index
from standalone.store.translation.support import ALWAYS_TRUE, require_supported
from standalone.store.translation.vector_index import DEFAULT_EF_CONSTRUCT, DEFAULT_M
from standalone.store.translation.vectors import VectorSpace

SPACE = VectorSpace({"": 3})
NAMED = VectorSpace({"a": 2, "b": 3})
HYBRID = VectorSpace({"": 2}, frozenset({"lexical"}))
UUID_TEXT = "1e577be3-0997-43fd-981d-60db5c2ab732"


class TestValues:
    @pytest.mark.parametrize(
        "value",
        [None, True, False, 0, -(2**63), 2**63 - 1, 0.0, 1.0, -1.5e300, "", "한글", [], {}, [1, [2.0, {"a": None}]]],
    )
    def test_json_survives_the_round_trip(self, value: Any) -> None:
        back = values.payload_from_pb(values.payload_to_pb({"key": value}))
        assert back == {"key": value}
        assert type(back["key"]) is type(value)

    def test_value_without_a_kind_is_null(self) -> None:
        assert values.payload_from_pb({"key": pb.Value()}) == {"key": None}

    @pytest.mark.parametrize("point_id", [0, 2**64 - 1, UUID(UUID_TEXT)])
    def test_ids_survive_the_round_trip(self, point_id: int | UUID) -> None:
        assert values.point_id_from_pb(values.point_id_to_pb(point_id)) == point_id

    @pytest.mark.parametrize("message", [pb.PointId(), pb.PointId(uuid="not one")])
    def test_id_that_is_none(self, message: pb.PointId) -> None:
        with pytest.raises(InvalidArgumentError):
            values.point_id_from_pb(message)


class TestSupport:
    def test_unknown_field_is_named(self) -> None:
        message = pb.UpsertPoints(collection_name="c", update_mode=pb.UpdateMode.InsertOnly)
        with pytest.raises(UnsupportedError, match=r"`update_mode` in UpsertPoints.*KOSEARCH_QDRANT__URL"):
            require_supported(message, {"collection_name"})

    def test_switch_that_is_off_asks_for_nothing(self) -> None:
        require_supported(pb.SearchParams(indexed_only=False, exact=True), {"exact"})
        require_supported(pb.UpsertPoints(update_mode=pb.UpdateMode.Upsert), frozenset())

    def test_what_is_always_true_of_one_process(self) -> None:
        ordering = pb.WriteOrdering(type=pb.WriteOrderingType.Strong)
        require_supported(pb.UpsertPoints(ordering=ordering, timeout=3), ALWAYS_TRUE)

    def test_field_number_of_a_newer_api(self) -> None:
        message = pb.SearchParams.FromString(b"\x98\x06\x01")
        with pytest.raises(UnsupportedError, match="field number 99 in SearchParams"):
            require_supported(message, frozenset())


def upserted(vector: pb.Vector, **fields: Any) -> pb.PointStruct:
    return pb.PointStruct(id=pb.PointId(num=7), vectors=pb.Vectors(vector=vector), **fields)


def named_vectors(**vectors: pb.Vector) -> pb.PointStruct:
    return pb.PointStruct(id=pb.PointId(num=7), vectors=pb.Vectors(vectors=pb.NamedVectors(vectors=vectors)))


class TestPoints:
    @pytest.mark.parametrize(
        "vector", [pb.Vector(dense=pb.DenseVector(data=[1, 2, 0.5])), pb.Vector(data=[1, 2, 0.5])], ids=["dense", "old"]
    )
    def test_both_forms_of_a_dense_vector(self, vector: pb.Vector) -> None:
        (point,) = points.points_from_pb([upserted(vector, payload={"a": pb.Value(integer_value=1)})], SPACE)
        assert (point.id, list(point.vector), point.payload) == (7, [1.0, 2.0, 0.5], {"a": 1})

    @pytest.mark.parametrize("dim", [1, 31, 32, 4096])
    def test_floats_are_unpacked_whatever_their_number(self, dim: int) -> None:
        """The length before the packed floats takes one byte or more."""
        row = [n / 8 for n in range(dim)]
        vector = pb.Vector(dense=pb.DenseVector(data=row))
        (point,) = points.points_from_pb([upserted(vector)], VectorSpace({"": dim}))
        assert list(point.vector) == row

    def test_named_vectors(self) -> None:
        named = {"a": pb.Vector(dense=pb.DenseVector(data=[1, 2]))}
        message = pb.PointStruct(
            id=pb.PointId(uuid=UUID_TEXT), vectors=pb.Vectors(vectors=pb.NamedVectors(vectors=named))
        )
        (point,) = points.points_from_pb([message], NAMED)
        assert point.id == UUID(UUID_TEXT)
        assert point.vector == {"a": [1.0, 2.0]}

    @pytest.mark.parametrize(
        ("vector", "error"),
        [
            (pb.Vector(dense=pb.DenseVector(data=[1, 2])), InvalidArgumentError),
            (pb.Vector(dense=pb.DenseVector(data=[1, 2, float("nan")])), InvalidArgumentError),
            (pb.Vector(dense=pb.DenseVector(data=[1, float("inf"), float("-inf")])), InvalidArgumentError),
            (pb.Vector(sparse=pb.SparseVector(indices=[1], values=[1.0])), InvalidArgumentError),
            (pb.Vector(multi_dense=pb.MultiDenseVector()), UnsupportedError),
            (pb.Vector(document=pb.Document(text="a")), UnsupportedError),
            (pb.Vector(data=[1.0], indices=pb.SparseIndices(data=[1])), InvalidArgumentError),
            (pb.Vector(data=[1.0], vectors_count=1), UnsupportedError),
        ],
    )
    def test_vector_that_is_refused(self, vector: pb.Vector, error: type[Exception]) -> None:
        with pytest.raises(error):
            points.points_from_pb([upserted(vector)], SPACE)

    @pytest.mark.parametrize("count", [0, 1, 5, 64, 20_000])
    def test_terms_are_unpacked_whatever_their_number(self, count: int) -> None:
        indices, numbers = [n * 200_000 for n in range(count)], [n / 8 for n in range(count)]
        terms = pb.Vector(sparse=pb.SparseVector(indices=indices, values=numbers))
        (point,) = points.points_from_pb([named_vectors(lexical=terms)], HYBRID)
        assert isinstance(point.vector, dict)
        (sparse,) = point.vector.values()
        assert isinstance(sparse, edge.SparseVector)
        assert (sparse.indices, sparse.values) == (indices, numbers)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_weight_that_is_no_number(self, value: float) -> None:
        """A server stores it."""
        terms = pb.Vector(sparse=pb.SparseVector(indices=[1, 2], values=[1.0, value]))
        with pytest.raises(InvalidArgumentError):
            points.points_from_pb([named_vectors(lexical=terms)], HYBRID)

    def test_payload_number_that_json_does_not_have(self) -> None:
        message = upserted(pb.Vector(data=[1, 2, 3]), payload={"a": pb.Value(double_value=float("nan"))})
        with pytest.raises(InvalidArgumentError):
            points.points_from_pb([message], SPACE)

    def test_empty_batch(self) -> None:
        with pytest.raises(InvalidArgumentError):
            points.points_from_pb([], SPACE)

    def test_selector(self) -> None:
        ids = pb.PointsSelector(points=pb.PointsIdsList(ids=[pb.PointId(num=1), pb.PointId(uuid=UUID_TEXT)]))
        assert points.selector_from_pb(ids) == [1, UUID(UUID_TEXT)]
        assert isinstance(points.selector_from_pb(pb.PointsSelector(filter=pb.Filter())), edge.Filter)
        with pytest.raises(InvalidArgumentError):
            points.selector_from_pb(pb.PointsSelector())


def nearest(**fields: Any) -> pb.QueryPoints:
    query = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[1, 2, 3])))
    return pb.QueryPoints(collection_name="c", query=query, **fields)


class TestQueries:
    def test_defaults(self) -> None:
        request = points.query_from_pb(nearest(), SPACE)
        assert (request.limit, request.offset, request.score_threshold) == (10, 0, None)
        assert request.with_payload is False
        assert request.with_vector is False

    def test_everything_that_is_supported(self) -> None:
        message = nearest(
            limit=3,
            offset=4,
            score_threshold=0.0,
            params=pb.SearchParams(exact=True, hnsw_ef=64, indexed_only=False),
            filter=pb.Filter(must=[pb.Condition(is_empty=pb.IsEmptyCondition(key="a"))]),
            with_payload=pb.WithPayloadSelector(enable=True),
            with_vectors=pb.WithVectorsSelector(include=pb.VectorsSelector(names=["b"])),
            using="b",
        )
        request = points.query_from_pb(message, NAMED)
        assert (request.limit, request.offset, request.score_threshold) == (3, 4, 0.0)
        assert request.params is not None
        assert (request.params.exact, request.params.hnsw_ef) == (True, 64)
        assert request.filter is not None
        assert request.with_payload is True
        assert request.with_vector == ["b"]

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (nearest(limit=0), InvalidArgumentError),
            (nearest(using="nowhere"), InvalidArgumentError),
            (
                nearest(with_vectors=pb.WithVectorsSelector(include=pb.VectorsSelector(names=["x"]))),
                InvalidArgumentError,
            ),
            (pb.QueryPoints(), UnsupportedError),
            (pb.QueryPoints(query=pb.Query(fusion=pb.Fusion.RRF)), UnsupportedError),
            (pb.QueryPoints(query=pb.Query(nearest=pb.VectorInput(id=pb.PointId(num=1)))), UnsupportedError),
            (nearest(prefetch=[pb.PrefetchQuery()]), UnsupportedError),
            (nearest(lookup_from=pb.LookupLocation()), UnsupportedError),
            (nearest(params=pb.SearchParams(indexed_only=True)), UnsupportedError),
        ],
    )
    def test_query_that_is_refused(self, message: pb.QueryPoints, error: type[Exception]) -> None:
        with pytest.raises(error):
            points.query_from_pb(message, SPACE)

    def test_scroll_gives_payloads_unless_told_otherwise(self) -> None:
        assert points.scroll_from_pb(pb.ScrollPoints(), SPACE).with_payload is True
        without = pb.ScrollPoints(with_payload=pb.WithPayloadSelector(enable=False))
        assert points.scroll_from_pb(without, SPACE).with_payload is False

    def test_scroll_in_another_order(self) -> None:
        with pytest.raises(UnsupportedError, match="order_by"):
            points.scroll_from_pb(pb.ScrollPoints(order_by=pb.OrderBy(key="a")), SPACE)


def field(**parts: Any) -> pb.Filter:
    return pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="a", **parts))])


class TestFilters:
    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (pb.Filter(must=[pb.Condition()]), InvalidArgumentError),
            (field(), InvalidArgumentError),
            (field(match=pb.Match()), InvalidArgumentError),
            (field(datetime_range=pb.DatetimeRange(gt=Timestamp(seconds=2**62))), InvalidArgumentError),
            (field(match=pb.Match(prefix="a")), UnsupportedError),
            (field(geo_radius=pb.GeoRadius()), UnsupportedError),
            (field(range=pb.Range(gt=1), datetime_range=pb.DatetimeRange()), UnsupportedError),
            (pb.Filter(must_not=[pb.Condition(slice=pb.SliceCondition(total=2))]), UnsupportedError),
            (pb.Filter(should=[pb.Condition(filter=field(geo_polygon=pb.GeoPolygon()))]), UnsupportedError),
            (pb.Filter(min_should=pb.MinShould(conditions=[pb.Condition()])), InvalidArgumentError),
        ],
    )
    def test_filter_that_is_refused(self, message: pb.Filter, error: type[Exception]) -> None:
        with pytest.raises(error):
            filters.filter_from_pb(message)

    def test_clauses_are_kept_apart(self) -> None:
        empty = pb.Condition(is_empty=pb.IsEmptyCondition(key="a"))
        chosen = filters.filter_from_pb(pb.Filter(must=[empty], must_not=[empty, empty]))
        assert chosen.must is not None
        assert chosen.must_not is not None
        assert (len(chosen.must), len(chosen.must_not), chosen.should) == (1, 2, None)


def creation(**fields: Any) -> pb.CreateCollection:
    config = pb.VectorsConfig(params=pb.VectorParams(size=4, distance=pb.Distance.Cosine))
    return pb.CreateCollection(**{"collection_name": "c", "vectors_config": config, **fields})


DATATYPE = pb.SparseIndexConfig(datatype=pb.Datatype.Float16)


def sparse_config(name: str = "lexical", **params: Any) -> pb.SparseVectorConfig:
    return pb.SparseVectorConfig(map={name: pb.SparseVectorParams(**params)})


def named_config(name: str) -> pb.VectorsConfig:
    params = {name: pb.VectorParams(size=4, distance=pb.Distance.Cosine)}
    return pb.VectorsConfig(params_map=pb.VectorParamsMap(map=params))


def with_vector(**params: Any) -> pb.CreateCollection:
    return creation(vectors_config=pb.VectorsConfig(params=pb.VectorParams(**params)))


def index(**params: Any) -> pb.CreateFieldIndexCollection:
    return pb.CreateFieldIndexCollection(field_name="a", field_index_params=pb.PayloadIndexParams(**params))


def scalar(**params: Any) -> pb.QuantizationConfig:
    return pb.QuantizationConfig(scalar=pb.ScalarQuantization(**{"type": pb.QuantizationType.Int8, **params}))


BINARY = pb.QuantizationConfig(binary=pb.BinaryQuantization())


class TestVectorIndex:
    def test_it_is_built_as_the_collection_says(self) -> None:
        message = creation(
            hnsw_config=pb.HnswConfigDiff(m=8, ef_construct=50), quantization_config=scalar(quantile=0.9)
        )
        schemas.check_create(message)
        config = schemas.indexed_edge_config(message)
        links, quantised = config.hnsw_config, config.vectors[""].quantization_config
        assert (links.m, links.ef_construct) == (8, 50)
        assert (quantised.quantile, quantised.memory) == (pytest.approx(0.9), edge.Memory.Cached)

    def test_nothing_is_quantised_unless_the_collection_says_so(self) -> None:
        config = schemas.indexed_edge_config(creation())
        assert config.vectors[""].quantization_config is None
        assert (config.hnsw_config.m, config.hnsw_config.ef_construct) == (DEFAULT_M, DEFAULT_EF_CONSTRUCT)

    def test_a_copy_that_is_always_in_memory_stays_there(self) -> None:
        config = schemas.indexed_edge_config(creation(quantization_config=scalar(always_ram=True)))
        assert config.vectors[""].quantization_config.memory == edge.Memory.Pinned

    def test_what_was_asked_for_is_told(self) -> None:
        message = creation(hnsw_config=pb.HnswConfigDiff(m=8), quantization_config=scalar(quantile=0.9))
        told = schemas.collection_info_to_pb(message, shard_info(1, 0), schemas.IndexStatus(1, is_wanted=False)).config
        assert (told.hnsw_config.m, told.hnsw_config.ef_construct) == (8, DEFAULT_EF_CONSTRUCT)
        assert told.quantization_config == message.quantization_config

    def test_how_a_quantised_copy_is_searched_is_passed_on(self) -> None:
        asked = pb.QuantizationSearchParams(ignore=True, rescore=False, oversampling=1.5)
        passed = vector_index.search_params_from_pb(pb.SearchParams(quantization=asked)).quantization
        assert passed is not None
        assert (passed.ignore, passed.rescore, passed.oversampling) == (True, False, 1.5)

    def test_what_is_not_said_of_it_is_left_to_the_engine(self) -> None:
        assert vector_index.search_params_from_pb(pb.SearchParams(hnsw_ef=8)).quantization is None
        unsaid = vector_index.search_params_from_pb(pb.SearchParams(quantization=pb.QuantizationSearchParams()))
        assert unsaid.quantization is not None
        assert (unsaid.quantization.rescore, unsaid.quantization.oversampling) == (None, None)


class TestSchemas:
    def test_space_of_unnamed_and_named_vectors(self) -> None:
        assert schemas.vector_space(creation()).dims == {"": 4}
        params = {"a": pb.VectorParams(size=2, distance=pb.Distance.Dot)}
        named = creation(vectors_config=pb.VectorsConfig(params_map=pb.VectorParamsMap(map=params)))
        schemas.check_create(named)
        assert schemas.vector_space(named).dims == {"a": 2}

    def test_space_of_dense_and_sparse_vectors(self) -> None:
        hybrid = creation(sparse_vectors_config=sparse_config())
        schemas.check_create(hybrid)
        assert schemas.vector_space(hybrid) == VectorSpace({"": 4}, frozenset({"lexical"}))

    def test_what_one_process_gives_anyway_may_be_asked_for(self) -> None:
        schemas.check_create(creation(shard_number=1, replication_factor=1, write_consistency_factor=1, timeout=5))

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (creation(collection_name=""), InvalidArgumentError),
            (creation(collection_name=".."), InvalidArgumentError),
            (creation(collection_name="가" * 256), InvalidArgumentError),
            (with_vector(size=0, distance=pb.Distance.Dot), InvalidArgumentError),
            (with_vector(size=4), InvalidArgumentError),
            (with_vector(size=4, distance=pb.Distance.Dot, datatype=pb.Datatype.Float16), UnsupportedError),
            (
                with_vector(size=4, distance=pb.Distance.Dot, multivector_config=pb.MultiVectorConfig()),
                UnsupportedError,
            ),
            (creation(shard_number=2), UnsupportedError),
            (creation(sharding_method=pb.ShardingMethod.Custom), UnsupportedError),
            (creation(quantization_config=pb.QuantizationConfig()), UnsupportedError),
            (creation(quantization_config=scalar(type=pb.QuantizationType.UnknownQuantization)), InvalidArgumentError),
            (creation(quantization_config=scalar(quantile=0.4)), InvalidArgumentError),
            (creation(quantization_config=BINARY), UnsupportedError),
            (creation(hnsw_config=pb.HnswConfigDiff(m=0)), UnsupportedError),
            (creation(hnsw_config=pb.HnswConfigDiff(payload_m=8)), UnsupportedError),
            (creation(hnsw_config=pb.HnswConfigDiff(ef_construct=3)), InvalidArgumentError),
            (pb.CreateCollection(collection_name="c", sparse_vectors_config=sparse_config()), UnsupportedError),
            (creation(sparse_vectors_config=sparse_config(index=DATATYPE)), UnsupportedError),
            (creation(sparse_vectors_config=sparse_config(modifier=9)), InvalidArgumentError),
            (creation(sparse_vectors_config=sparse_config("")), InvalidArgumentError),
            (creation(sparse_vectors_config=sparse_config("/../../a")), InvalidArgumentError),
            (creation(sparse_vectors_config=sparse_config("가" * 67)), InvalidArgumentError),
            (creation(vectors_config=named_config("/../../a")), InvalidArgumentError),
        ],
    )
    def test_collection_that_is_refused(self, message: pb.CreateCollection, error: type[Exception]) -> None:
        with pytest.raises(error):
            schemas.check_create(message)

    @pytest.mark.parametrize("name", ["a", "법령", "a.b", "a b", "가" * 255])
    def test_name_that_is_allowed(self, name: str) -> None:
        schemas.check_name(name)

    def test_metadata_is_merged_into_a_copy(self) -> None:
        before = creation(metadata={"kept": pb.Value(integer_value=1), "gone": pb.Value(integer_value=2)})
        changes = {"gone": pb.Value(null_value=pb.NULL_VALUE), "new": pb.Value(string_value="새")}
        after = schemas.merge_metadata(before, changes)
        assert values.payload_from_pb(after.metadata) == {"kept": 1, "new": "새"}
        assert values.payload_from_pb(before.metadata) == {"kept": 1, "gone": 2}

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            (pb.CreateFieldIndexCollection(field_name="a"), InvalidArgumentError),
            (pb.CreateFieldIndexCollection(field_type=pb.FieldType.FieldTypeGeo), UnsupportedError),
            (index(text_index_params=pb.TextIndexParams(stopwords=pb.StopwordsSet())), UnsupportedError),
            (index(geo_index_params=pb.GeoIndexParams()), UnsupportedError),
            (index(keyword_index_params=pb.KeywordIndexParams(nested="a")), UnsupportedError),
        ],
    )
    def test_index_that_is_refused(self, message: pb.CreateFieldIndexCollection, error: type[Exception]) -> None:
        with pytest.raises(error):
            schemas.index_from_pb(message)


class TestIndexing:
    def test_threshold_of_a_collection_that_nobody_asked_of(self) -> None:
        assert schemas.indexing_threshold_kib(creation()) == DEFAULT_THRESHOLD_KIB

    def test_threshold_is_merged_into_a_copy_and_0_is_a_threshold(self) -> None:
        before = creation()
        after = schemas.merge_optimizers(before, pb.OptimizersConfigDiff(indexing_threshold=0))
        kept = schemas.merge_optimizers(after, pb.OptimizersConfigDiff())
        assert [schemas.indexing_threshold_kib(each) for each in (after, kept)] == [0, 0]
        assert not before.HasField("optimizers_config")

    def test_other_optimizer_settings_are_refused(self) -> None:
        with pytest.raises(UnsupportedError, match="max_segment_size"):
            schemas.merge_optimizers(creation(), pb.OptimizersConfigDiff(max_segment_size=1))

    @pytest.mark.parametrize(
        ("index", "status"),
        [
            (schemas.IndexStatus(5, is_wanted=False), pb.CollectionStatus.Green),
            (schemas.IndexStatus(5, is_wanted=True), pb.CollectionStatus.Yellow),
            (schemas.IndexStatus(5, is_wanted=True, problem="full"), pb.CollectionStatus.Red),
        ],
    )
    def test_status_tells_how_far_the_index_is(self, index: schemas.IndexStatus, status: int) -> None:
        told = schemas.collection_info_to_pb(creation(), shard_info(points=20, indexed=20), index)
        assert (told.status, told.optimizer_status.error) == (status, index.problem)
        assert told.indexed_vectors_count == 15

    def test_no_more_is_indexed_than_the_engine_says(self) -> None:
        told = schemas.collection_info_to_pb(
            creation(), shard_info(points=20, indexed=0), schemas.IndexStatus(0, False)
        )
        assert told.indexed_vectors_count == 0

    def test_sparse_vectors_are_indexed_without_an_index(self) -> None:
        """They count on top of the dense ones, which alone decide what is unindexed."""
        hybrid = creation(sparse_vectors_config=sparse_config())
        unbuilt, built = schemas.IndexStatus(20, is_wanted=False), schemas.IndexStatus(5, is_wanted=False)
        told = [
            schemas.collection_info_to_pb(hybrid, shard_info(points=20, indexed=indexed), status).indexed_vectors_count
            for indexed, status in [(18, unbuilt), (33, built), (40, built)]
        ]
        assert told == [18, 33, 35]


def shard_info(points: int, indexed: int) -> Any:
    """Return what the engine tells of a shard."""
    return SimpleNamespace(points_count=points, indexed_vectors_count=indexed, segments_count=2, payload_schema={})
