"""What the store promises while it builds an index: nothing is lost, whoever dies, and nobody waits."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from tests.store_process import StoreProcess, running_store

DIM = 16
POINTS = 2000
WAIT_S = 60.0


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory for a store of the test's own."""
    return tmp_path / "data"


@pytest.fixture
def store(data_dir: Path) -> Iterator[StoreProcess]:
    """A store with a collection that is large enough for an index, once it is asked for."""
    with running_store(data_dir) as process:
        client = process.client()
        client.create_collection("c", vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE))
        client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER, wait=True)
        client.update_collection("c", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))
        upsert(client, range(POINTS))
        client.close()
        yield process


@pytest.fixture
def hybrid(data_dir: Path) -> Iterator[StoreProcess]:
    """The same with terms beside the rows; every tenth point has none."""
    with running_store(data_dir) as process:
        client = process.client()
        client.create_collection(
            "c",
            vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE),
            sparse_vectors_config={"lexical": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        )
        client.update_collection("c", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0))
        upsert_with_terms(client, range(POINTS))
        client.close()
        yield process


def rows(ids: range) -> NDArray[np.float32]:
    """Return a row for each id, of shape (len(ids), DIM)."""
    return np.stack([np.random.default_rng(n).standard_normal(DIM) for n in ids]).astype(np.float32)


def upsert(client: QdrantClient, ids: range, **payload: Any) -> None:
    points = models.Batch(
        ids=list(ids), vectors=rows(ids).tolist(), payloads=[{"n": n, "text": "글", **payload} for n in ids]
    )
    client.upsert("c", points, wait=True)


def upsert_with_terms(client: QdrantClient, ids: range, seed: int = 0) -> None:
    points = []
    for n, row in zip(ids, rows(ids).tolist(), strict=True):
        vectors = {"": row, "lexical": terms(n, seed)} if n % 10 else {"": row}
        points.append(models.PointStruct(id=n, vector=vectors, payload={"n": n}))
    client.upsert("c", points, wait=True)


def terms(n: int, seed: int = 0) -> models.SparseVector:
    """Return 1 to 10 of 50 terms."""
    generator = np.random.default_rng([n, seed])
    indices = sorted(set(generator.integers(50, size=10).tolist()))
    return models.SparseVector(indices=indices, values=generator.uniform(0.1, 2.0, len(indices)).tolist())


def found_by_terms(client: QdrantClient) -> dict[Any, float]:
    """Return the scores of the best hits for some terms."""
    query = models.SparseVector(indices=[3, 17, 30, 49], values=[1.0, 0.5, 2.0, 0.25])
    chosen = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=5))])
    hits = client.query_points("c", query=query, using="lexical", query_filter=chosen, limit=POINTS).points
    return {hit.id: hit.score for hit in hits}


def ask_for_index(client: QdrantClient) -> None:
    client.update_collection("c", optimizers_config=models.OptimizersConfigDiff(indexing_threshold=50))


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def wait_for_index(client: QdrantClient) -> None:
    wait_until(lambda: client.get_collection("c").status is models.CollectionStatus.GREEN)


def builder_of(store: StoreProcess) -> psutil.Process | None:
    """Return the process that builds, when there is one."""
    assert store._process is not None
    children = psutil.Process(store._process.pid).children()
    return children[0] if children else None


def suspended_builder(store: StoreProcess, client: QdrantClient) -> psutil.Process:
    """Ask for an index and halt the process that builds it, as if it took long."""
    ask_for_index(client)
    wait_until(lambda: any((store.data_dir / "scratch").glob("*/segments")))
    builder = builder_of(store)
    assert builder is not None
    builder.suspend()
    return builder


def contents(client: QdrantClient) -> dict[Any, Any]:
    """Return all points: id -> (payload, vector)."""
    page, _ = client.scroll("c", limit=10 * POINTS, with_vectors=True)
    return {record.id: (record.payload, record.vector) for record in page}


def greater(n: int) -> models.FilterSelector:
    chosen = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=n))])
    return models.FilterSelector(filter=chosen)


def change_in_every_way(client: QdrantClient) -> None:
    """Write new points, write over old ones, change payloads and delete, by ids and by filter."""
    upsert(client, range(POINTS, POINTS + 700))
    upsert(client, range(0, 50), again=True)
    client.set_payload("c", {"set": 1}, points=[60, 61], wait=True)
    client.set_payload("c", {"many": 1}, points=greater(POINTS + 600).filter, wait=True)
    client.overwrite_payload("c", {"n": 70}, points=[70], wait=True)
    other = rows(range(10**6, 10**6 + 2)).tolist()
    client.update_vectors(
        "c", [models.PointVectors(id=n, vector=row) for n, row in zip([90, 91], other, strict=True)], wait=True
    )
    client.delete("c", points_selector=[80, 81, POINTS + 1, 10**6], wait=True)
    client.delete("c", points_selector=greater(POINTS + 690), wait=True)


def same(ours: dict[Any, Any], theirs: dict[Any, Any]) -> bool:
    """Compare points; normalising a unit vector again may change its last bit."""
    return {key: value[0] for key, value in ours.items()} == {key: value[0] for key, value in theirs.items()} and all(
        np.allclose(value[1], theirs[key][1], atol=1e-6) for key, value in ours.items()
    )


def test_what_changes_during_a_build_is_in_the_index(store: StoreProcess) -> None:
    """The collection is the same before and after, and after a restart; only quicker to search."""
    client = store.client()
    builder = suspended_builder(store, client)
    change_in_every_way(client)
    before = contents(client)
    assert client.get_collection("c").status is models.CollectionStatus.YELLOW
    builder.resume()
    wait_for_index(client)
    assert same(contents(client), before)
    info = client.get_collection("c")
    assert info.indexed_vectors_count is not None
    assert 0 < info.indexed_vectors_count < info.points_count == len(before)
    assert info.payload_schema["n"].data_type is models.PayloadSchemaType.INTEGER
    client.close()
    store.kill()
    client = store.start().client()
    assert same(contents(client), before)
    assert client.get_collection("c").indexed_vectors_count == info.indexed_vectors_count
    client.close()


def test_terms_are_found_alike_before_during_and_after_a_build(hybrid: StoreProcess) -> None:
    """What is written during the build included.

    What was overwritten meanwhile goes on to count in the rarity of its terms, so that scores differ by 3 %.
    """
    client = hybrid.client()
    before = found_by_terms(client)
    assert len(before) > 500
    assert client.get_collection("c").indexed_vectors_count == POINTS * 0.9
    builder = suspended_builder(hybrid, client)
    assert found_by_terms(client) == before
    upsert_with_terms(client, range(POINTS, POINTS + 500))
    upsert_with_terms(client, range(0, 300), seed=1)
    changed = [models.PointVectors(id=n, vector={"lexical": terms(n, 2)}) for n in range(300, 320)]
    client.update_vectors("c", changed, wait=True)
    client.delete_vectors("c", ["lexical"], greater(POINTS + 480).filter, wait=True)
    during, contents_during = found_by_terms(client), terms_of_all(client)
    assert during != before
    builder.resume()
    wait_for_index(client)
    assert found_by_terms(client) == pytest.approx(during, rel=0.03)
    assert terms_of_all(client) == contents_during
    client.close()
    hybrid.kill()
    client = hybrid.start().client()
    assert found_by_terms(client) == pytest.approx(during, rel=0.03)
    client.close()


def terms_of_all(client: QdrantClient) -> dict[Any, Any]:
    """Return the terms of all points by id."""
    page, _ = client.scroll("c", limit=10 * POINTS, with_vectors=["lexical"])
    return {record.id: record.vector for record in page}


def test_nobody_waits_for_the_builder(store: StoreProcess) -> None:
    """Searches and writes are answered while it stands still, and what was written is found."""
    client = store.client()
    builder = suspended_builder(store, client)
    upsert(client, range(POINTS, POINTS + 1))
    (hit,) = client.query_points("c", query=rows(range(POINTS, POINTS + 1))[0].tolist(), limit=1).points
    assert hit.id == POINTS
    builder.resume()
    client.close()


def test_overwritten_and_deleted_points_do_not_count_as_indexed(store: StoreProcess) -> None:
    client = store.client()
    ask_for_index(client)
    wait_for_index(client)
    assert client.get_collection("c").indexed_vectors_count == POINTS
    upsert(client, range(0, 100), again=True)
    client.delete("c", points_selector=list(range(100, 200)), wait=True)
    info = client.get_collection("c")
    assert (info.points_count, info.indexed_vectors_count) == (POINTS - 100, POINTS - 200)
    client.close()


def test_a_new_share_large_enough_is_indexed_again(store: StoreProcess) -> None:
    """Without anybody's asking: the threshold holds for good."""
    client = store.client()
    ask_for_index(client)
    wait_for_index(client)
    upsert(client, range(POINTS, POINTS + 300))
    assert client.get_collection("c").indexed_vectors_count == POINTS
    upsert(client, range(POINTS + 300, POINTS + 1500))
    assert client.get_collection("c").status is models.CollectionStatus.YELLOW
    wait_for_index(client)
    assert client.get_collection("c").indexed_vectors_count == POINTS + 1500
    client.close()


def test_a_store_that_dies_while_building_loses_nothing(store: StoreProcess, data_dir: Path) -> None:
    """The builder ends with it, what it left is removed, and the index built anew."""
    client = store.client()
    builder = suspended_builder(store, client)
    change_in_every_way(client)
    before = contents(client)
    client.close()
    store.kill()
    wait_until(lambda: not builder.is_running() or builder.status() == psutil.STATUS_ZOMBIE)
    client = store.start().client()
    assert same(contents(client), before)
    wait_for_index(client)
    assert same(contents(client), before)
    (directory,) = (data_dir / "collections").iterdir()
    assert len(list(directory.glob("shard*"))) == 1
    client.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.6, 0.9, 1.2, 1.5])
def test_killed_at_any_moment_it_comes_back_whole(store: StoreProcess, delay_s: float) -> None:
    client = store.client()
    before = contents(client)
    ask_for_index(client)
    time.sleep(delay_s)
    client.close()
    store.kill()
    client = store.start().client()
    assert same(contents(client), before)
    wait_for_index(client)
    assert same(contents(client), before)
    client.close()


def test_a_builder_that_dies_is_tried_again(store: StoreProcess) -> None:
    client = store.client()
    suspended_builder(store, client).kill()
    wait_until(lambda: "index.failed" in store.log())
    assert client.get_collection("c").status is models.CollectionStatus.YELLOW
    wait_for_index(client)
    assert client.get_collection("c").indexed_vectors_count == POINTS
    client.close()


def test_a_stop_does_not_wait_for_the_builder(store: StoreProcess) -> None:
    client = store.client()
    builder = suspended_builder(store, client)
    client.close()
    began_s = time.monotonic()
    assert store.terminate() == 0
    assert time.monotonic() - began_s < 5
    assert not builder.is_running()


def test_a_collection_that_goes_takes_its_build_along(store: StoreProcess, data_dir: Path) -> None:
    client = store.client()
    builder = suspended_builder(store, client)
    client.delete_collection("c")
    wait_until(lambda: not builder.is_running())
    wait_until(lambda: "index.abandoned" in store.log())
    assert list((data_dir / "collections").iterdir()) == []
    client.close()


def test_a_payload_index_that_comes_meanwhile_is_built_in(store: StoreProcess) -> None:
    """The build begins again, as the links of the index are made with payload indexes in mind."""
    client = store.client()
    builder = suspended_builder(store, client)
    client.create_payload_index("c", "text", models.PayloadSchemaType.KEYWORD, wait=True)
    wait_until(lambda: not builder.is_running())
    wait_for_index(client)
    assert client.get_collection("c").payload_schema["text"].points == POINTS
    client.close()


def test_a_shard_that_is_not_the_collections_is_removed(store: StoreProcess, data_dir: Path) -> None:
    """A crash may leave the next shard, or the last one, beside the one that meta.json names."""
    client = store.client()
    ask_for_index(client)
    wait_for_index(client)
    client.close()
    store.send_signal(signal.SIGTERM)
    assert store.wait() == 0
    (directory,) = (data_dir / "collections").iterdir()
    (shard,) = directory.glob("shard*")
    shutil.copytree(shard, directory / "shard")
    shutil.copytree(shard / "segments", directory / "shard-unfinished" / "segments")
    client = store.start().client()
    assert client.get_collection("c").indexed_vectors_count == POINTS
    assert list(directory.glob("shard*")) == [shard]
    client.close()


def test_other_settings_of_the_optimizer_are_refused(store: StoreProcess) -> None:
    """They would be dropped without a word otherwise."""
    client = store.client()
    with pytest.raises(Exception, match="max_segment_size"):
        client.update_collection("c", optimizers_config=models.OptimizersConfigDiff(max_segment_size=1))
    client.close()


def test_aliases_and_metadata_stay_with_a_collection_that_is_built(store: StoreProcess) -> None:
    client = store.client()
    builder = suspended_builder(store, client)
    client.update_collection("c", metadata={"model": "한국어"})
    alias = models.CreateAlias(collection_name="c", alias_name="다른 이름")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    builder.resume()
    wait_for_index(client)
    assert client.get_collection("다른 이름").config.metadata == {"model": "한국어"}
    assert client.count("다른 이름").count == POINTS
    client.close()
    store.kill()
    client = store.start().client()
    assert client.get_collection("c").config.metadata == {"model": "한국어"}
    client.close()
