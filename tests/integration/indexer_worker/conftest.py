"""A worker between its real neighbours: ledger, broker, store, and the encoder service on a tiny random model."""

import dataclasses
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kosearch.client import Client
from kosearch.jobs import JobOptions, JobProgress, Rejection, SourceFields
from kosearch.settings import BrokerSettings, EncoderSettings, LedgerSettings, QdrantSettings, Settings
from kosearch.vector_store import VectorStore
from tests.integration.encoder_service.conftest import Shape, write_model
from tests.integration.indexer_worker.neighbours import environment, running, running_broker, running_worker
from tests.ledgers import Backing, server_backing
from tests.store_process import StoreProcess, running_store

KEY = "test-key"


@dataclasses.dataclass
class Stack:
    """Broker, store, encoder service and two workers that know each other by settings alone."""

    settings: Settings
    variables: dict[str, str]
    store: StoreProcess
    client: Client
    vectors: VectorStore

    def index(
        self, path: Path, collection: str, fields: SourceFields | None = None, options: JobOptions | None = None
    ) -> tuple[JobProgress, list[Rejection]]:
        """Index a file and wait. Returns the last progress and what was left out."""
        job_id = self.client.submit_job(collection, [path], fields or SourceFields(), options)
        *_, last = self.client.watch_job(job_id)
        return last, list(self.client.rejections(job_id))

    def texts(self, collection: str) -> dict[tuple[str, int], str]:
        """Return the stored texts by document and place, read past our own code."""
        client = self.store.client(headers={"api-key": KEY})
        points, rest = client.scroll(collection, limit=10_000, with_payload=True)
        client.close()
        assert rest is None
        payloads = [point.payload or {} for point in points]
        return {(each["document_id"], each["chunk_index"]): each["text"] for each in payloads}


@pytest.fixture(scope="session", params=["embedded", "servers"])
def backing(request: pytest.FixtureRequest) -> Iterator[Backing]:
    """What holds jobs and tasks: SQLite and the embedded broker, then PostgreSQL and Redis."""
    if request.param == "embedded":
        yield Backing()
        return
    with server_backing(request.getfixturevalue("postgres")) as servers:
        yield servers


@pytest.fixture(scope="session")
def stack(backing: Backing, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """All neighbours, for the whole run of these tests on one backing."""
    data_dir = tmp_path_factory.mktemp("stack")
    model = write_model(data_dir / "model", Shape()).directory
    with ExitStack() as processes:
        if not backing.broker_url:
            processes.enter_context(running_broker(data_dir))
        store = processes.enter_context(running_store(data_dir / "collections", api_key=KEY))
        address = f"127.0.0.1:{free_port()}"
        encoder = EncoderSettings(address=address, api_key=KEY, admin_key=KEY, model=model.path, threads=1)
        qdrant = QdrantSettings(url=f"http://127.0.0.1:{store.port}", grpc_port=store.port, api_key=KEY)
        variables = {
            **backing.variables,
            "KOSEARCH_ENCODER__ADDRESS": address,
            "KOSEARCH_ENCODER__API_KEY": KEY,
            "KOSEARCH_ENCODER__ADMIN_KEY": KEY,
            "KOSEARCH_ENCODER__MODEL": str(model.path),
            "KOSEARCH_ENCODER__THREADS": "1",
            "KOSEARCH_QDRANT__URL": qdrant.url,
            "KOSEARCH_QDRANT__GRPC_PORT": str(store.port),
            "KOSEARCH_QDRANT__API_KEY": KEY,
            "KOSEARCH_WORKER__PARTITION_DOCUMENTS": "10",
            "KOSEARCH_WORKER__MAX_LINE_BYTES": "20000",
        }
        processes.enter_context(
            running(
                [sys.executable, "-m", "encoder_service"],
                data_dir / "encoder.log",
                lambda: is_serving(address),
                environment(KOSEARCH_DATA_DIR=str(data_dir), **variables),
            )
        )
        for name in ("worker", "online"):
            processes.enter_context(running_worker(data_dir, name, **variables))
        vectors = VectorStore(qdrant)
        processes.callback(vectors.close)
        client = processes.enter_context(Client(encoder))
        settings = Settings(
            data_dir=data_dir,
            encoder=encoder,
            qdrant=qdrant,
            ledger=LedgerSettings(url=backing.ledger_url),
            broker=BrokerSettings(url=backing.broker_url),
        )
        yield Stack(settings, variables, store, client, vectors)


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_serving(address: str) -> bool:
    """Tell whether the service there answers."""
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
