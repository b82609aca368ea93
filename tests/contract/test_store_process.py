"""What the store process promises beyond Qdrant's API: crashes, restarts, refusals, bad starts."""

import asyncio
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client import grpc as pb

from tests.contract.refusals import refusal
from tests.store_process import CALL_TIMEOUT_S, START_TIMEOUT_S, StoreProcess, running_store

DIM = 8
COSINE = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
ONE = [1.0] * DIM
IDF = models.SparseVectorParams(modifier=models.Modifier.IDF)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A directory for a store of the test's own."""
    return tmp_path / "data"


@pytest.fixture
def client(store: StoreProcess) -> Iterator[QdrantClient]:
    """A client of the shared store."""
    with_client = store.client()
    yield with_client
    with_client.close()


@pytest.fixture
def collection(client: QdrantClient) -> Iterator[str]:
    """An empty collection in the shared store."""
    client.create_collection("process", vectors_config=COSINE)
    yield "process"
    client.delete_collection("process")


def points(start: int, count: int) -> list[models.PointStruct]:
    """Return points with the ids from `start` on."""
    rows = np.random.default_rng(start).standard_normal((count, DIM))
    return [
        models.PointStruct(id=start + n, vector=row.tolist(), payload={"n": start + n, "text": "글" * 300})
        for n, row in enumerate(rows)
    ]


def upsert_until_it_stops(client: QdrantClient, start: int) -> int:
    """Upsert 50 points at a time, waiting for every fourth batch. Returns the first id that was not acknowledged."""
    while True:
        try:
            client.upsert("c", points(start, 50), wait=start % 200 == 0)
        except grpc.RpcError:
            return start
        start += 50


class TestCrashes:
    def test_kill_loses_no_acknowledged_point(self, data_dir: Path) -> None:
        """Killed at three moments of a stream of upserts, waited for or not, it comes back with all it answered to."""
        store = StoreProcess(data_dir).start()
        client = store.client()
        client.create_collection("c", vectors_config=COSINE)
        client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
        acknowledged = 0
        for delay_s in (0.3, 0.5, 0.7):
            threading.Timer(delay_s, store.kill).start()
            acknowledged = upsert_until_it_stops(client, acknowledged)
            client.close()
            client = store.start().client()
            assert acknowledged > 0
            known = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=acknowledged))])
            assert client.count("c", count_filter=known).count == acknowledged
            assert client.get_collection("c").payload_schema["n"].data_type == models.PayloadSchemaType.INTEGER
        client.close()
        store.kill()

    def test_log_alone_restores_what_was_waited_for(self, data_dir: Path) -> None:
        """After a power cut the segments may be as old as their last flush; the synced log makes up for it."""
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE)
            client.upsert("c", points(0, 100), wait=True)
            client.close()
            store.terminate()
            (old,) = (data_dir / "collections").glob("c-*")
            segments = shutil.copytree(old / "shard" / "segments", data_dir.with_name("segments"))
            store.start()
            client = store.client()
            client.upsert("c", points(100, 400), wait=True)
            client.delete("c", points_selector=[0, 1], wait=True)
            client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER, wait=True)
            client.close()
            store.kill()
            shutil.rmtree(old / "shard" / "segments")
            shutil.copytree(segments, old / "shard" / "segments")
            client = store.start().client()
            assert client.count("c").count == 498
            assert "n" in client.get_collection("c").payload_schema
            client.close()

    def test_log_alone_restores_vectors_that_were_waited_for(self, data_dir: Path) -> None:
        """A failed update in the log does not keep the store from opening it."""

        def terms(*indices: int) -> models.SparseVector:
            return models.SparseVector(indices=list(indices), values=[1.0] * len(indices))

        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE, sparse_vectors_config={"lexical": IDF})
            client.close()
            store.terminate()
            (collection,) = (data_dir / "collections").glob("c-*")
            segments = shutil.copytree(collection / "shard" / "segments", data_dir.with_name("segments"))
            client = store.start().client()
            made = [models.PointStruct(id=n, vector={"": ONE, "lexical": terms(n)}) for n in range(3)]
            client.upsert("c", made, wait=True)
            client.update_vectors("c", [models.PointVectors(id=1, vector={"lexical": terms(7, 9)})], wait=True)
            unknown = models.PointVectors(id=99, vector={"lexical": terms(1)})
            assert refusal(lambda: client.update_vectors("c", [unknown]))[0] is grpc.StatusCode.NOT_FOUND
            client.delete_vectors("c", ["lexical"], [2], wait=True)
            client.close()
            store.kill()
            shutil.rmtree(collection / "shard" / "segments")
            shutil.copytree(segments, collection / "shard" / "segments")
            client = store.start().client()
            found = client.retrieve("c", [0, 1, 2], with_vectors=["lexical"])
            assert [record.vector for record in found] == [{"lexical": terms(0)}, {"lexical": terms(7, 9)}, {}]
            (hit,) = client.query_points("c", query=terms(9), using="lexical").points
            assert hit.id == 1
            client.close()

    def test_deleted_points_stay_deleted(self, data_dir: Path) -> None:
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE)
            client.upsert("c", points(0, 100), wait=True)
            client.delete("c", points_selector=list(range(40)), wait=True)
            store.kill()
            store.start()
            client.close()
            client = store.client()
            assert client.count("c").count == 60
            client.close()

    def test_creation_cut_short_leaves_nothing(self, data_dir: Path) -> None:
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("whole", vectors_config=COSINE)
            client.create_collection("cut", vectors_config=COSINE)
            client.close()
            store.terminate()
            (cut,) = (data_dir / "collections").glob("cut-*")
            (cut / "meta.json").rename(cut / "meta.json.draft")
            (data_dir / "collections" / "empty-1").mkdir()
            (data_dir / "collections" / ".deleted-old-1" / "shard").mkdir(parents=True)
            store.start()
            client = store.client()
            assert [each.name for each in client.get_collections().collections] == ["whole"]
            client.create_collection("cut", vectors_config=COSINE)
            client.close()
            assert not cut.exists()
            assert not (data_dir / "collections" / ".deleted-old-1").exists()


class TestRestart:
    def test_keeps_collections_aliases_and_metadata(self, data_dir: Path) -> None:
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE, metadata={"model": "한국어", "n": 2**60})
            client.create_collection(
                "d", vectors_config={"a": COSINE}, sparse_vectors_config={"lexical": IDF}, metadata={}
            )
            client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER)
            client.upsert("c", points(0, 300), wait=False)
            alias = models.CreateAlias(collection_name="c", alias_name="다른 이름")
            client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
            client.update_collection("c", metadata={"added": 1.5})
            before = client.get_collection("c"), client.query_points("c", query=ONE).points
            client.close()
            assert store.terminate() == 0
            assert "store.stopped" in store.log()
            store.start()
            client = store.client()
            assert (client.get_collection("c"), client.query_points("c", query=ONE).points) == before
            assert before[0].config.metadata == {"model": "한국어", "n": 2**60, "added": 1.5}
            assert client.count("다른 이름").count == 300
            params = client.get_collection("d").config.params
            assert (params.vectors, params.sparse_vectors) == ({"a": COSINE}, {"lexical": IDF})
            client.close()

    def test_stop_under_load_is_orderly(self, data_dir: Path) -> None:
        """Told to stop in the middle of upserts it exits with 0 and keeps what it answered to."""
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE)
            told = threading.Timer(0.5, store.send_signal, [signal.SIGTERM])
            told.start()
            acknowledged = upsert_until_it_stops(client, 0)
            told.join()
            assert store.terminate() == 0
            client.close()
            client = store.start().client()
            assert client.count("c").count >= acknowledged > 0
            client.close()


class TestConcurrency:
    async def test_upserts_and_searches_at_once(self, store: StoreProcess, collection: str) -> None:
        """Eight writers and eight readers for one store: all answered, nothing lost."""
        client = AsyncQdrantClient(
            host="127.0.0.1", grpc_port=store.port, prefer_grpc=True, https=False, check_compatibility=False, timeout=60
        )

        async def write(writer: int) -> None:
            for n in range(5):
                await client.upsert(collection, points(writer * 1000 + n * 40, 40), wait=n % 2 == 0)

        async def read() -> None:
            for _ in range(10):
                await client.query_points(collection, query=ONE, limit=5)
                await client.count(collection)

        await asyncio.gather(*(write(writer) for writer in range(8)), *(read() for _ in range(8)))
        assert (await client.count(collection)).count == 8 * 5 * 40
        await client.close()

    def test_batch_of_which_one_point_is_wrong_changes_nothing(self, client: QdrantClient, collection: str) -> None:
        """Unlike the server, which stores the points before the wrong one."""
        batch = [*points(0, 2), models.PointStruct(id=9, vector=[1.0])]
        assert refusal(lambda: client.upsert(collection, batch, wait=True))[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert client.count(collection).count == 0

    def test_aliases_change_all_or_none(self, client: QdrantClient, collection: str) -> None:
        """Unlike the server, which keeps the actions before the wrong one."""
        actions = [
            models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=f"to-{name}"))
            for name in (collection, "nowhere")
        ]
        assert refusal(lambda: client.update_collection_aliases(actions))[0] is grpc.StatusCode.NOT_FOUND
        assert client.get_aliases().aliases == []


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "named"),
        [
            (lambda c, n: c.query_points_groups(n, group_by="a", query=ONE), "qdrant.Points/QueryGroups"),
            (lambda c, n: c.search_matrix_pairs(n), "qdrant.Points/SearchMatrixPairs"),
            (
                lambda c, n: c.update_vectors(
                    n, [models.PointVectors(id=1, vector=ONE)], update_filter=models.Filter(must=[])
                ),
                "update_filter",
            ),
            (lambda c, n: c.create_snapshot(n), "qdrant.Snapshots/Create"),
            (lambda c, n: c.cluster_collection_update(n, None), "qdrant.Collections/"),
            (lambda c, n: c.upsert(n, points(0, 1), update_mode=models.UpdateMode.INSERT_ONLY), "update_mode"),
            (lambda c, n: c.upsert(n, points(0, 1), shard_key_selector="a"), "shard_key_selector"),
            (lambda c, n: c.query_points(n, query=7), "id"),
            (lambda c, n: c.query_points(n, prefetch=models.Prefetch(query=ONE), query=ONE), "prefetch"),
            (lambda c, n: c.query_points(n), "without a vector"),
            (
                lambda c, n: c.query_points(n, query=ONE, search_params=models.SearchParams(indexed_only=True)),
                "indexed_only",
            ),
            (lambda c, n: c.scroll(n, order_by="n"), "order_by"),
            (lambda c, n: c.create_payload_index(n, "where", models.PayloadSchemaType.GEO), "Geo"),
            (lambda c, _: c.create_collection("x", vectors_config=COSINE, shard_number=2), "shard_number"),
            (lambda c, _: c.create_collection("x", vectors_config=COSINE, on_disk_payload=True), "on_disk_payload"),
            (lambda c, _: c.create_collection("x", vectors_config={}), "without dense vectors"),
            (lambda c, _: c.create_collection("x", sparse_vectors_config={"s": IDF}), "without dense vectors"),
            (
                lambda c, _: c.create_collection(
                    "x",
                    vectors_config=COSINE,
                    sparse_vectors_config={
                        "s": models.SparseVectorParams(index=models.SparseIndexParams(datatype=models.Datatype.UINT8))
                    },
                ),
                "datatype",
            ),
            (
                lambda c, _: c.create_collection(
                    "x",
                    vectors_config=models.VectorParams(
                        size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16
                    ),
                ),
                "datatype",
            ),
        ],
    )
    def test_what_only_a_server_does_is_refused_by_name(
        self, client: QdrantClient, collection: str, call: Callable[[QdrantClient, str], Any], named: str
    ) -> None:
        if named.startswith("qdrant.Collections"):
            request = pb.UpdateCollectionClusterSetupRequest(collection_name=collection)
            code, message = refusal(lambda: client.grpc_collections.UpdateCollectionClusterSetup(request, timeout=9))
        else:
            code, message = refusal(lambda: call(client, collection))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert named in message
        assert "KOSEARCH_QDRANT__URL" in message

    def test_field_of_a_newer_api_is_refused(self, client: QdrantClient, collection: str) -> None:
        """A field number that this version of the API does not know."""
        newer = pb.CountPoints.FromString(
            pb.CountPoints(collection_name=collection).SerializeToString() + b"\x98\x06\x01"
        )
        assert len(UnknownFieldSet(newer)) == 1
        code, message = refusal(lambda: client.grpc_points.Count(newer, timeout=CALL_TIMEOUT_S))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        assert "field number 99" in message

    @pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
    def test_vector_that_is_not_finite(self, client: QdrantClient, collection: str, wrong: float) -> None:
        vector = [1.0] * (DIM - 1) + [wrong]
        upsert = refusal(lambda: client.upsert(collection, [models.PointStruct(id=1, vector=vector)], wait=True))
        assert upsert[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert refusal(lambda: client.query_points(collection, query=vector))[0] is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("name", [".", "..", "a\nb"])
    def test_name_that_harms_a_server(self, client: QdrantClient, name: str) -> None:
        code, _ = refusal(lambda: client.create_collection(name, vectors_config=COSINE))
        assert code is grpc.StatusCode.INVALID_ARGUMENT

    def test_message_over_the_limit(self, client: QdrantClient, collection: str) -> None:
        huge = models.PointStruct(id=1, vector=ONE, payload={"text": "a" * (65 << 20)})
        code, _ = refusal(lambda: client.upsert(collection, [huge], wait=True))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert client.count(collection).count == 0

    def test_disk_nearly_full(self, data_dir: Path) -> None:
        """Writes are refused, reads and the process go on."""
        with running_store(data_dir) as store:
            client = store.client()
            client.create_collection("c", vectors_config=COSINE)
            client.upsert("c", points(0, 10), wait=True)
            client.close()
            store.terminate()
        more_than_there_is = str((shutil.disk_usage(data_dir).total >> 20) * 8)
        with running_store(data_dir, "--min-free-mib", more_than_there_is) as store:
            client = store.client()
            for write in (
                lambda: client.upsert("c", points(10, 1), wait=True),
                lambda: client.create_collection("d", vectors_config=COSINE),
                lambda: client.delete("c", points_selector=[1]),
            ):
                code, message = refusal(write)
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert "free some" in message
            assert client.count("c").count == 10
            client.close()


class TestKey:
    def test_only_the_right_key_opens(self, data_dir: Path) -> None:
        with running_store(data_dir, api_key="비밀-key") as store:
            for headers in ({}, {"api-key": "wrong"}):
                client = store.client(headers=headers)
                assert refusal(client.get_collections)[0] is grpc.StatusCode.UNAUTHENTICATED
                assert refusal(functools.partial(client.facet, "c", "a"))[0] is grpc.StatusCode.UNAUTHENTICATED
                assert client.info().version
                client.close()

    def test_right_key(self, data_dir: Path) -> None:
        with running_store(data_dir, api_key="right") as store:
            client = store.client(headers={"api-key": "right"})
            assert client.get_collections().collections == []
            client.close()
            with grpc.insecure_channel(f"127.0.0.1:{store.port}") as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                health = stub.Check(health_pb2.HealthCheckRequest(), timeout=9)
                assert health.status == health_pb2.HealthCheckResponse.SERVING

    def test_services_are_told_by_reflection(self, store: StoreProcess) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{store.port}") as channel:
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
            request = reflection_pb2.ServerReflectionRequest(list_services="")
            (response,) = stub.ServerReflectionInfo(iter([request]), timeout=9)
        told = {service.name for service in response.list_services_response.service}
        assert told == {"qdrant.Qdrant", "qdrant.Collections", "qdrant.Points", "grpc.health.v1.Health"}


class TestBadStarts:
    def run(self, data_dir: Path, *options: str) -> tuple[int, str]:
        """Return exit code and log of a store that does not start."""
        process = StoreProcess(data_dir)
        code = process.spawn(*options).wait(START_TIMEOUT_S)
        return code, process.log()

    def test_second_process_on_the_directory(self, data_dir: Path) -> None:
        with running_store(data_dir) as store:
            code, log = self.run(data_dir, "--port", "0")
            assert code == 3
            assert str(data_dir) in log
            assert "kosearch down" in log
            assert store.is_running()
            client = store.client()
            client.create_collection("still", vectors_config=COSINE)
            client.close()

    def test_port_in_use(self, data_dir: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            code, log = self.run(data_dir, "--port", str(port))
        assert code == 4
        assert f"port {port}" in log
        assert "--port" in log

    def test_port_of_another_store(self, store: StoreProcess, data_dir: Path) -> None:
        assert self.run(data_dir, "--port", str(store.port))[0] == 4

    def test_open_to_the_network_without_a_key(self, data_dir: Path) -> None:
        code, log = self.run(data_dir, "--port", "0", "--host", "0.0.0.0")
        assert code == 1
        assert "KOSEARCH_QDRANT__API_KEY" in log

    def test_directory_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        process = StoreProcess(tmp_path / "file" / "data")
        process.log_file = tmp_path / "log"
        assert process.spawn("--port", "0").wait(START_TIMEOUT_S) == 1
        assert "store.failed" in process.log()

    @pytest.mark.parametrize("damage", ["segments", "edge_config.json", "meta.json"])
    def test_damaged_collection_is_named_and_the_others_served(self, data_dir: Path, damage: str) -> None:
        with running_store(data_dir) as store:
            client = store.client()
            for name in ("sound", "damaged"):
                client.create_collection(name, vectors_config=COSINE)
                client.upsert(name, points(0, 10), wait=True)
            client.close()
            store.terminate()
            (directory,) = (data_dir / "collections").glob("damaged-*")
            ruin(directory, damage)
            store.start()
            client = store.client()
            assert client.count("sound").count == 10
            assert directory.name in store.log()
            code, message = refusal(lambda: client.count("damaged"))
            if damage == "meta.json":  # which holds the name
                assert code is grpc.StatusCode.NOT_FOUND
                assert directory.exists()
            else:
                assert code is grpc.StatusCode.DATA_LOSS
                assert str(directory) in message
                params = refusal(lambda: client.create_collection("damaged", vectors_config=COSINE))
                assert params[0] is grpc.StatusCode.ALREADY_EXISTS
                assert client.delete_collection("damaged") is True
                assert not directory.exists()
            client.close()

    def test_port_file_and_lock_tell_port_and_pid(self, data_dir: Path) -> None:
        with running_store(data_dir) as store:
            assert 1024 <= store.port <= 65_535
            os.kill(int((data_dir / "store.lock").read_text()), signal.SIGINT)
            assert store.wait() == 0


def ruin(directory: Path, damage: str) -> None:
    """Damage one part of a collection's directory."""
    if damage == "segments":
        shutil.rmtree(directory / "shard" / "segments")
    elif damage == "edge_config.json":
        (directory / "shard" / damage).write_text("{bad")
    else:
        (directory / damage).write_text(json.dumps({"format": 99}))


def test_options_are_explained() -> None:
    command = [sys.executable, "-m", "standalone.store", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    for option in ("--data-dir", "--host", "--port", "--port-file", "--min-free-mib"):
        assert option in told
