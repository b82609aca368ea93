"""Sparse vectors beside a dense one, for searches by words, on the store and on a real Qdrant server alike."""

import math
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from tests.contract.refusals import refusal
from tests.real_qdrant import RealQdrant
from tests.store_process import CALL_TIMEOUT_S, StoreProcess

DIM = 4
DENSE = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
LEXICAL = {"lexical": models.SparseVectorParams(modifier=models.Modifier.IDF)}
ONE = [0.5] * DIM
POINTS = 400
TERMS = 300

Terms: TypeAlias = dict[int, float]


@pytest.fixture
def hybrid(client: QdrantClient, name: str) -> str:
    """An empty collection with both kinds of vectors."""
    client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=LEXICAL)
    return name


def sparse(terms: Terms) -> models.SparseVector:
    return models.SparseVector(indices=list(terms), values=list(terms.values()))


def point(point_id: int, terms: Terms, **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=point_id, vector={"": ONE, "lexical": sparse(terms)}, payload=payload)


def random_terms(count: int, seed: int) -> list[Terms]:
    """Return the terms of so many texts: some in most texts, most in few."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        indices = np.unique((generator.pareto(0.7, size=20) * 2).astype(np.int64) % TERMS)
        texts.append({int(index): float(generator.random(dtype=np.float32)) + 0.1 for index in indices})
    return texts


def expected_scores(texts: dict[int, Terms], query: Terms) -> dict[int, float]:
    """Return the score of each text that has a term of the query.

    Source: Qdrant's manual, "IDF Modifier": ln((N - n(q) + 0.5) / (n(q) + 0.5) + 1).
    """
    frequencies = Counter(term for terms in texts.values() for term in terms)
    idf = {term: math.log((len(texts) - frequencies[term] + 0.5) / (frequencies[term] + 0.5) + 1) for term in query}
    return {
        point_id: sum(terms[term] * weight * idf[term] for term, weight in query.items() if term in terms)
        for point_id, terms in texts.items()
        if terms.keys() & query.keys()
    }


def assert_hits(hits: Sequence[models.ScoredPoint], scores: dict[int, float]) -> None:
    """Require these hits with these scores, best first."""
    best = sorted(scores, key=lambda point_id: -scores[point_id])
    assert [hit.id for hit in hits] == best
    assert [hit.score for hit in hits] == pytest.approx([scores[point_id] for point_id in best], abs=1e-4)


def vectors_of(client: QdrantClient, name: str, point_id: int) -> Any:
    """Return a point's vectors, sparse ones as terms."""
    vectors = client.retrieve(name, [point_id], with_vectors=True)[0].vector
    if not isinstance(vectors, dict):
        return vectors
    return {name: terms_of(vector) for name, vector in vectors.items()}


def terms_of(vector: Any) -> Any:
    if isinstance(vector, models.SparseVector):
        return dict(zip(vector.indices, vector.values, strict=True))
    return vector


def raw_upsert(client: QdrantClient, name: str, **vectors: pb.Vector) -> None:
    """Upsert point 1 with these named vectors; `dense` is the unnamed one."""
    named = {"" if each == "dense" else each: vector for each, vector in vectors.items()}
    message = pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vectors=pb.NamedVectors(vectors=named)))
    client.grpc_points.Upsert(
        pb.UpsertPoints(collection_name=name, wait=True, points=[message]), timeout=CALL_TIMEOUT_S
    )


def raw_dense() -> pb.Vector:
    return pb.Vector(dense=pb.DenseVector(data=ONE))


def raw_sparse(indices: list[int], values: list[float]) -> pb.Vector:
    return pb.Vector(sparse=pb.SparseVector(indices=indices, values=values))


def raw_new(point_id: int, **vectors: pb.Vector) -> pb.PointVectors:
    """Return new vectors of a point."""
    named = pb.Vectors(vectors=pb.NamedVectors(vectors=vectors))
    return pb.PointVectors(id=pb.PointId(num=point_id), vectors=named)


class TestCollections:
    def test_tells_what_it_was_created_with(self, client: QdrantClient, name: str) -> None:
        config = {
            **LEXICAL,
            "plain": models.SparseVectorParams(),
            "on disk": models.SparseVectorParams(
                index=models.SparseIndexParams(full_scan_threshold=100, on_disk=True), modifier=models.Modifier.NONE
            ),
        }
        client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=config)
        params = client.get_collection(name).config.params
        assert (params.vectors, params.sparse_vectors) == (DENSE, config)

    def test_a_collection_without_sparse_vectors_tells_of_none(self, client: QdrantClient, name: str) -> None:
        client.create_collection(name, vectors_config=DENSE)
        assert not client.get_collection(name).config.params.sparse_vectors
        client.upsert(name, [models.PointStruct(id=1, vector=ONE)], wait=True)
        code, message = refusal(lambda: client.upsert(name, [point(2, {1: 1.0})], wait=True))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert message == "Wrong input: Not existing vector name error: lexical"

    @pytest.mark.parametrize("vectors", [{"lexical": DENSE}, {"lexical": DENSE, "other": DENSE}])
    def test_a_dense_vector_of_the_same_name_is_refused(
        self, client: QdrantClient, name: str, vectors: dict[str, models.VectorParams]
    ) -> None:
        expected = (
            grpc.StatusCode.INVALID_ARGUMENT,
            "Wrong input: Dense and sparse vector names must be unique - duplicate found with 'lexical'",
        )
        made = refusal(lambda: client.create_collection(name, vectors_config=vectors, sparse_vectors_config=LEXICAL))
        assert made == expected

    def test_the_unnamed_vector_is_dense(self, client: QdrantClient, name: str) -> None:
        unnamed = {"": models.SparseVectorParams()}
        code, _ = refusal(lambda: client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=unnamed))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


class TestPoints:
    def test_terms_come_back_in_order(self, client: QdrantClient, hybrid: str) -> None:
        terms = {7: -1.5, 2**32 - 1: 0.25, 0: 2.0}
        client.upsert(hybrid, [point(1, terms)], wait=True)
        vector = client.retrieve(hybrid, [1], with_vectors=["lexical"])[0].vector
        assert vector == {"lexical": models.SparseVector(indices=[0, 7, 2**32 - 1], values=[2.0, -1.5, 0.25])}
        assert vectors_of(client, hybrid, 1) == {"": pytest.approx(ONE), "lexical": terms}

    def test_vectors_come_with_pages_and_hits(self, client: QdrantClient, hybrid: str) -> None:
        client.upsert(hybrid, [point(1, {3: 0.5})], wait=True)
        (record,), _ = client.scroll(hybrid, with_vectors=True)
        (hit,) = client.query_points(hybrid, query=sparse({3: 1.0}), using="lexical", with_vectors=["lexical"]).points
        assert isinstance(record.vector, dict)
        assert terms_of(record.vector["lexical"]) == {3: 0.5}
        assert hit.vector == {"lexical": models.SparseVector(indices=[3], values=[0.5])}

    def test_either_vector_may_be_missing(self, client: QdrantClient, hybrid: str) -> None:
        points = [
            models.PointStruct(id=1, vector=ONE),
            models.PointStruct(id=2, vector={"": ONE}),
            models.PointStruct(id=3, vector={"lexical": sparse({1: 1.0})}),
            models.PointStruct(id=4, vector={}),
            point(5, {}),
        ]
        client.upsert(hybrid, points, wait=True)
        told = [vectors_of(client, hybrid, each) for each in range(1, 6)]
        only_dense = pytest.approx(ONE)
        assert told == [only_dense, only_dense, {"lexical": {1: 1.0}}, {}, {"": only_dense, "lexical": {}}]
        hits = client.query_points(hybrid, query=ONE).points
        assert {hit.id for hit in hits} == {1, 2, 5}
        hits = client.query_points(hybrid, query=sparse({1: 1.0}), using="lexical").points
        assert [hit.id for hit in hits] == [3]
        having = models.Filter(must=[models.HasVectorCondition(has_vector="lexical")])
        assert {record.id for record in client.scroll(hybrid, scroll_filter=having)[0]} == {3, 5}

    def test_an_upsert_without_terms_removes_them(self, client: QdrantClient, hybrid: str) -> None:
        client.upsert(hybrid, [point(1, {1: 1.0}), point(2, {1: 1.0})], wait=True)
        client.upsert(hybrid, [models.PointStruct(id=1, vector=ONE)], wait=True)
        assert vectors_of(client, hybrid, 1) == pytest.approx(ONE)
        hits = client.query_points(hybrid, query=sparse({1: 1.0}), using="lexical").points
        assert [hit.id for hit in hits] == [2]

    def test_the_form_of_older_clients(self, client: QdrantClient, hybrid: str) -> None:
        older = pb.Vector(data=[1.0, 2.0], indices=pb.SparseIndices(data=[4, 3]))
        raw_upsert(client, hybrid, dense=pb.Vector(data=ONE), lexical=older)
        assert vectors_of(client, hybrid, 1) == {"": pytest.approx(ONE), "lexical": {3: 2.0, 4: 1.0}}

    @pytest.mark.parametrize(
        "vectors",
        [
            pytest.param({"lexical": raw_sparse([1, 1], [1.0, 2.0])}, id="term twice"),
            pytest.param({"lexical": raw_sparse([1, 2], [1.0])}, id="too few values"),
            pytest.param({"lexical": raw_sparse([1], [1.0, 2.0])}, id="too many values"),
            pytest.param({"lexical": pb.Vector(data=[1.0], indices=pb.SparseIndices())}, id="older form without terms"),
            pytest.param({"lexical": raw_dense()}, id="dense for sparse"),
            pytest.param({"dense": raw_sparse([1], [1.0])}, id="sparse for dense"),
            pytest.param({"other": raw_sparse([1], [1.0])}, id="unknown name"),
        ],
    )
    def test_vectors_that_are_refused(self, client: QdrantClient, hybrid: str, vectors: dict[str, pb.Vector]) -> None:
        assert refusal(lambda: raw_upsert(client, hybrid, **vectors))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert client.count(hybrid).count == 0

    def test_vectors_are_counted_as_indexed_once_they_have_terms(self, client: QdrantClient, hybrid: str) -> None:
        client.upsert(hybrid, [point(1, {1: 1.0}), point(2, {}), models.PointStruct(id=3, vector=ONE)], wait=True)
        assert client.get_collection(hybrid).indexed_vectors_count == 1


def new_vectors(point_id: int, vector: Any) -> models.PointVectors:
    return models.PointVectors(id=point_id, vector=vector)


def raw_update(client: QdrantClient, name: str, *points: pb.PointVectors) -> None:
    request = pb.UpdatePointVectors(collection_name=name, wait=True, points=points)
    client.grpc_points.UpdateVectors(request, timeout=CALL_TIMEOUT_S)


class TestUpdateVectors:
    @pytest.fixture
    def two(self, client: QdrantClient, hybrid: str) -> str:
        """A collection of a point with both vectors and one without terms."""
        client.upsert(hybrid, [point(1, {1: 1.0}, kept=True)], wait=True)
        client.upsert(hybrid, [models.PointStruct(id=2, vector=ONE)], wait=True)
        return hybrid

    def test_named_vectors_are_replaced_and_the_rest_stays(self, client: QdrantClient, two: str) -> None:
        changed = [new_vectors(1, {"lexical": sparse({2: 0.5})}), new_vectors(2, {"lexical": sparse({2: 0.25})})]
        assert client.update_vectors(two, changed, wait=True).status == models.UpdateStatus.COMPLETED
        assert vectors_of(client, two, 1) == {"": pytest.approx(ONE), "lexical": {2: 0.5}}
        assert vectors_of(client, two, 2) == {"": pytest.approx(ONE), "lexical": {2: 0.25}}
        assert client.retrieve(two, [1])[0].payload == {"kept": True}
        hits = client.query_points(two, query=sparse({1: 1.0, 2: 1.0}), using="lexical").points
        assert [hit.id for hit in hits] == [1, 2]

    @pytest.mark.parametrize("form", [lambda row: row, lambda row: {"": row}], ids=["unnamed", "named"])
    def test_the_dense_vector_is_replaced(self, client: QdrantClient, two: str, form: Any) -> None:
        client.update_vectors(two, [new_vectors(1, form([1.0, 0.0, 0.0, 0.0]))], wait=True)
        assert vectors_of(client, two, 1) == {"": [1.0, 0.0, 0.0, 0.0], "lexical": {1: 1.0}}

    def test_a_point_may_be_there_twice(self, client: QdrantClient, two: str) -> None:
        changed = [
            new_vectors(1, {"lexical": sparse({2: 1.0})}),
            new_vectors(1, {"": [1.0, 0.0, 0.0, 0.0]}),
            new_vectors(1, {"lexical": sparse({3: 1.0})}),
            new_vectors(2, {}),
        ]
        client.update_vectors(two, changed, wait=True)
        assert vectors_of(client, two, 1) == {"": [1.0, 0.0, 0.0, 0.0], "lexical": {3: 1.0}}
        assert vectors_of(client, two, 2) == pytest.approx(ONE)

    def test_an_unknown_point_is_told_and_the_known_ones_are_changed(self, client: QdrantClient, two: str) -> None:
        changed = [new_vectors(77, {"lexical": sparse({2: 1.0})}), new_vectors(1, {"lexical": sparse({2: 1.0})})]
        expected = grpc.StatusCode.NOT_FOUND, "Not found: No point with id 77 found"
        assert refusal(lambda: client.update_vectors(two, changed, wait=True)) == expected
        assert vectors_of(client, two, 1) == {"": pytest.approx(ONE), "lexical": {2: 1.0}}
        assert client.count(two).count == 2

    @pytest.mark.parametrize(
        "points",
        [
            pytest.param([], id="no points"),
            pytest.param([pb.PointVectors(id=pb.PointId(num=1))], id="no vectors"),
            pytest.param([pb.PointVectors(vectors=pb.Vectors(vector=raw_dense()))], id="no id"),
            pytest.param([raw_new(1, lexical=raw_sparse([1, 1], [1, 1]))], id="term twice"),
            pytest.param([raw_new(1, lexical=raw_sparse([1, 2], [1]))], id="too few values"),
            pytest.param([raw_new(1, lexical=raw_dense())], id="dense for sparse"),
            pytest.param([raw_new(1, other=raw_dense())], id="unknown name"),
        ],
    )
    def test_updates_that_are_refused(self, client: QdrantClient, two: str, points: list[pb.PointVectors]) -> None:
        assert refusal(lambda: raw_update(client, two, *points))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert vectors_of(client, two, 1) == {"": pytest.approx(ONE), "lexical": {1: 1.0}}

    def test_vectors_are_deleted(self, client: QdrantClient, two: str) -> None:
        having_kept = models.Filter(must=[models.FieldCondition(key="kept", match=models.MatchValue(value=True))])
        client.delete_vectors(two, ["lexical"], having_kept, wait=True)
        client.delete_vectors(two, [""], [2], wait=True)
        assert vectors_of(client, two, 1) == pytest.approx(ONE)
        assert vectors_of(client, two, 2) == {}
        assert client.query_points(two, query=sparse({1: 1.0}), using="lexical").points == []
        assert [hit.id for hit in client.query_points(two, query=ONE).points] == [1]

    def test_deletions_that_are_refused(self, client: QdrantClient, two: str) -> None:
        unknown_name = refusal(lambda: client.delete_vectors(two, ["other"], [1], wait=True))
        assert unknown_name == (grpc.StatusCode.INVALID_ARGUMENT, "Wrong input: Not existing vector name error: other")
        unknown_point = refusal(lambda: client.delete_vectors(two, ["lexical"], [77], wait=True))
        assert unknown_point == (grpc.StatusCode.NOT_FOUND, "Not found: No point with id 77 found")
        no_points = refusal(lambda: client.delete_vectors(two, ["lexical"], [], wait=True))
        assert no_points == (grpc.StatusCode.INVALID_ARGUMENT, "Bad request: Empty update request")


class TestQueries:
    def test_scores_are_weighted_with_the_rarity_of_terms(self, client: QdrantClient, hybrid: str) -> None:
        texts = dict(enumerate(random_terms(POINTS, seed=0)))
        client.upsert(hybrid, [point(each, terms) for each, terms in texts.items()], wait=True)
        for query in random_terms(5, seed=1):
            hits = client.query_points(hybrid, query=sparse(query), using="lexical", limit=POINTS).points
            assert_hits(hits, expected_scores(texts, query))

    def test_terms_that_were_overwritten_do_not_count(self, client: QdrantClient, hybrid: str) -> None:
        texts = dict(enumerate(random_terms(POINTS, seed=0)))
        client.upsert(hybrid, [point(each, terms) for each, terms in texts.items()], wait=True)
        newer = {each: terms for each, terms in enumerate(random_terms(POINTS, seed=2)) if each % 3}
        client.upsert(hybrid, [point(each, terms) for each, terms in newer.items()], wait=True)
        query = {0: 1.0, 1: 0.5, 5: 2.0}
        hits = client.query_points(hybrid, query=sparse(query), using="lexical", limit=POINTS).points
        assert_hits(hits, expected_scores(texts | newer, query))

    def test_deleted_points_are_not_found_but_their_terms_go_on_to_count(
        self, client: QdrantClient, hybrid: str
    ) -> None:
        """Until their segment is written anew: a score moves a little, the order hardly."""
        texts = dict(enumerate(random_terms(POINTS, seed=0)))
        client.upsert(hybrid, [point(each, terms) for each, terms in texts.items()], wait=True)
        client.delete(hybrid, points_selector=list(range(0, POINTS, 3)), wait=True)
        query = {0: 1.0, 1: 0.5, 5: 2.0}
        hits = client.query_points(hybrid, query=sparse(query), using="lexical", limit=POINTS).points
        kept = {each: score for each, score in expected_scores(texts, query).items() if each % 3}
        assert_hits(hits, kept)

    def test_without_the_modifier_rarity_does_not_count(self, client: QdrantClient, name: str) -> None:
        plain = {"lexical": models.SparseVectorParams()}
        client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=plain)
        client.upsert(name, [point(1, {1: 2.0, 2: 1.0}), point(2, {1: 0.5})], wait=True)
        hits = client.query_points(name, query=sparse({1: 3.0, 2: 1.0}), using="lexical").points
        assert_hits(hits, {1: 7.0, 2: 1.5})

    def test_no_terms_find_nothing(self, client: QdrantClient, hybrid: str) -> None:
        client.upsert(hybrid, [point(1, {1: 1.0})], wait=True)
        for query in ({}, {99: 1.0}):
            assert client.query_points(hybrid, query=sparse(query), using="lexical").points == []

    @pytest.mark.parametrize(
        ("query", "using"),
        [
            pytest.param(pb.VectorInput(sparse=pb.SparseVector(indices=[1, 1], values=[1, 1])), "lexical", id="twice"),
            pytest.param(pb.VectorInput(sparse=pb.SparseVector(indices=[1, 2], values=[1])), "lexical", id="too few"),
            pytest.param(pb.VectorInput(sparse=pb.SparseVector(indices=[1], values=[1])), "", id="sparse for dense"),
            pytest.param(pb.VectorInput(sparse=pb.SparseVector(indices=[1], values=[1])), "other", id="unknown name"),
            pytest.param(pb.VectorInput(dense=pb.DenseVector(data=ONE)), "lexical", id="dense for sparse"),
        ],
    )
    def test_queries_that_are_refused(
        self, client: QdrantClient, hybrid: str, query: pb.VectorInput, using: str
    ) -> None:
        request = pb.QueryPoints(collection_name=hybrid, query=pb.Query(nearest=query), using=using)
        code, _ = refusal(lambda: client.grpc_points.Query(request, timeout=CALL_TIMEOUT_S))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_both_answer_alike(store: StoreProcess, real_qdrant: RealQdrant) -> None:
    """Ids, payloads and scores of hybrid batches with filters, pages and thresholds are the same on both."""
    answers = []
    for each in (store, real_qdrant):
        client = each.client()
        name = f"alike-{uuid.uuid4().hex}"
        client.create_collection(name, vectors_config=DENSE, sparse_vectors_config=LEXICAL)
        client.create_payload_index(name, "n", models.PayloadSchemaType.INTEGER)
        generator = np.random.default_rng(5)
        points = [point(n, terms, n=n % 10) for n, terms in enumerate(random_terms(POINTS, seed=3))]
        for made in points:
            assert isinstance(made.vector, dict)
            made.vector[""] = generator.standard_normal(DIM).tolist()
        client.upsert(name, points, wait=True)
        client.delete(name, points_selector=list(range(0, POINTS, 7)), wait=True)
        answers.append([batch(client, name, terms, n) for n, terms in enumerate(random_terms(10, seed=4))])
        client.delete_collection(name)
        client.close()
    for ours, theirs in zip(*answers, strict=True):
        assert [(hit.id, hit.payload) for hit in ours] == [(hit.id, hit.payload) for hit in theirs]
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-4)


def batch(client: QdrantClient, name: str, terms: Terms, n: int) -> list[models.ScoredPoint]:
    """Return the hits of one batch of dense and sparse queries."""
    chosen = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=n % 5, lt=n % 5 + 4))])
    lexical: Any = {"query": sparse(terms), "using": "lexical", "with_payload": True}
    requests = [
        models.QueryRequest(query=[1.0, -0.5, 0.25, n / 10], filter=chosen, limit=5, with_payload=True),
        models.QueryRequest(filter=chosen, limit=20, **lexical),
        models.QueryRequest(limit=15, offset=n, score_threshold=0.8, **lexical),
        models.QueryRequest(limit=5, filter=chosen, params=models.SearchParams(exact=True), **lexical),
    ]
    found = [response.points for response in client.query_batch_points(name, requests)]
    assert all(found)
    return [hit for hits in found for hit in hits]
