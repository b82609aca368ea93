"""The edge of the Index service: what it refuses, records and reports. Real ledger, fake queue and store."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from encoder_service.index_servicer import IndexServicer
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from kosearch.jobs import Rejection, SourceFields
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import index_pb2

MODEL = ModelDirectory(Path("/model"), "tiny", 4, 128, "f" * 64)
CONTEXT: Any = None


@dataclass
class FakeQueue:
    sent: list[str] = field(default_factory=list)
    is_away: bool = False

    def send_job(self, job_id: str) -> None:
        if self.is_away:
            raise UnavailableError("the broker is away")
        self.sent.append(job_id)


@dataclass
class FakeStore:
    error: Exception | None = None
    deleted: list[tuple[str, list[str]]] = field(default_factory=list)

    def check_collection(self, collection: str, dim: int, model_name: str, model_fingerprint: str) -> bool:
        assert (dim, model_name, model_fingerprint) == (MODEL.dim, MODEL.name, MODEL.fingerprint)
        if self.error:
            raise self.error
        return False

    def delete_documents(self, collection: str, document_ids: list[str]) -> int:
        self.deleted.append((collection, document_ids))
        return 7


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Service:
    """The servicer between its neighbours."""

    ledger: Ledger
    queue: FakeQueue
    store: FakeStore
    clock: Clock
    servicer: IndexServicer

    async def submit(self, *paths: str, collection: str = "laws", **fields: str) -> str:
        request = index_pb2.SubmitJobRequest(paths=paths, collection=collection, **fields)
        return (await self.servicer.SubmitJob(request, CONTEXT)).job_id

    async def watch(self, job_id: str) -> list[index_pb2.WatchJobResponse]:
        return [reply async for reply in self.servicer.WatchJob(index_pb2.WatchJobRequest(job_id=job_id), CONTEXT)]

    async def first_progress(self, job_id: str) -> index_pb2.WatchJobResponse:
        replies = self.servicer.WatchJob(index_pb2.WatchJobRequest(job_id=job_id), CONTEXT)
        return await anext(replies)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    clock, queue, store = Clock(), FakeQueue(), FakeStore()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", clock)
    fakes: Any = (queue, store)
    yield Service(ledger, queue, store, clock, IndexServicer(ledger, *fakes, lambda: MODEL))
    ledger.close()


async def test_a_job_is_recorded_and_sent(service: Service) -> None:
    """The worker finds in the ledger what was submitted, each path once."""
    job_id = await service.submit(
        "/b.jsonl", "/a.csv", "/b.jsonl", id_field="번호", text_field="내용", title_field="제목"
    )
    job = service.ledger.claim_job(job_id, "w", 10, 3)
    assert job is not None
    assert (job.collection, job.paths) == ("laws", (Path("/b.jsonl"), Path("/a.csv")))
    assert job.fields == SourceFields("번호", "내용", "제목")
    assert service.queue.sent == [job_id]


async def test_field_names_have_defaults(service: Service) -> None:
    """Empty names mean the usual ones."""
    job = service.ledger.claim_job(await service.submit("/a.jsonl"), "w", 10, 3)
    assert job is not None
    assert job.fields == SourceFields("id", "text", "title")


async def test_a_job_is_accepted_while_the_broker_is_away(service: Service) -> None:
    """Recorded is accepted: the dispatcher sends it later."""
    service.queue.is_away = True
    job_id = await service.submit("/a.jsonl")
    service.clock.now += 6
    assert service.ledger.due_jobs(5) == [job_id]


@pytest.mark.parametrize(
    ("paths", "collection", "fields", "complaint"),
    [
        ([], "laws", {}, "0 paths"),
        (["/a"] * 10_001, "laws", {}, "10001 paths"),
        (["a.jsonl"], "laws", {}, "relative"),
        (["/a.jsonl", ""], "laws", {}, "relative"),
        (["/a\0.jsonl"], "laws", {}, "NUL"),
        (["/a.jsonl"], "", {}, "collection name"),
        (["/a.jsonl"], "법률", {}, "collection name"),
        (["/a.jsonl"], "../etc", {}, "collection name"),
        (["/a.jsonl"], ".hidden", {}, "collection name"),
        (["/a.jsonl"], "a" * 256, {}, "collection name"),
        (["/a.jsonl"], "a\n", {}, "collection name"),
        (["/a.jsonl"], "laws", {"id_field": "text"}, "three fields"),
        (["/a.jsonl"], "laws", {"text_field": "x", "title_field": "x"}, "three fields"),
        (["/a.jsonl"], "laws", {"text_field": "가" * 256}, "at most 255"),
    ],
)
async def test_a_bad_request_is_refused_and_nothing_recorded(
    paths: list[str], collection: str, fields: dict[str, str], complaint: str, service: Service
) -> None:
    """The message names what is wrong, and no job comes of it."""
    with pytest.raises(InvalidRequestError, match=complaint):
        await service.submit(*paths, collection=collection, **fields)
    service.clock.now += 100
    assert service.ledger.due_jobs(0) == []


@pytest.mark.parametrize("path", ["{0}/secret", "{0}/open/../secret/a.txt", "{0}/open/link/a.txt", "{0}/open2", "/"])
async def test_a_path_outside_of_the_allowed_folders_is_refused(path: str, service: Service, tmp_path: Path) -> None:
    """Through `..`, through a link, by a name that begins alike; what lies inside is accepted."""
    (tmp_path / "open").mkdir()
    (tmp_path / "secret").mkdir()
    (tmp_path / "open/link").symlink_to(tmp_path / "secret")
    fakes: Any = (service.queue, service.store)
    service.servicer = IndexServicer(service.ledger, *fakes, lambda: MODEL, [tmp_path / "open"])
    with pytest.raises(InvalidRequestError, match="KOSEARCH_WORKER__SOURCE_ROOTS"):
        await service.submit(str(tmp_path / "open/a.jsonl"), path.format(tmp_path))
    assert service.queue.sent == []
    await service.submit(str(tmp_path / "open/a.jsonl"), str(tmp_path / "open/**/*.hwp"))


@pytest.mark.parametrize("error", [ConflictError("another model"), UnavailableError("Qdrant is away")])
async def test_a_collection_that_cannot_be_used_is_said_at_once(error: Exception, service: Service) -> None:
    """Whoever mixes models learns it from the submission, not from a failed job."""
    service.store.error = error
    with pytest.raises(type(error)):
        await service.submit("/a.jsonl")
    assert service.queue.sent == []


async def test_watching_ends_with_the_job(service: Service) -> None:
    """The last message of the stream is the end of the job."""
    job_id = await service.submit("/a.jsonl")
    service.ledger.fail_job(job_id, "the file is gone")
    (last,) = await service.watch(job_id)
    assert (last.state, last.error) == (index_pb2.JOB_STATE_FAILED, "the file is gone")


async def test_a_job_that_no_worker_takes_gets_a_hint(service: Service) -> None:
    """After some seconds the user is told where to look."""
    job_id = await service.submit("/a.jsonl")
    assert (await service.first_progress(job_id)).error == ""
    service.clock.now += 6
    assert "kosearch status" in (await service.first_progress(job_id)).error


async def test_a_hint_does_not_hide_the_reason(service: Service) -> None:
    """A job that waits for a neighbour says so."""
    job_id = await service.submit("/a.jsonl")
    service.ledger.claim_job(job_id, "w", 10, 3)
    service.ledger.release_job(job_id, "w", "Qdrant is away")
    service.clock.now += 60
    assert (await service.first_progress(job_id)).error == "Qdrant is away"


async def test_an_unknown_job_is_not_found(service: Service) -> None:
    """Watching and listing say which job does not exist."""
    with pytest.raises(NotFoundError, match="nonsense"):
        await service.watch("nonsense")
    request = index_pb2.ListRejectionsRequest(job_id="nonsense")
    with pytest.raises(NotFoundError, match="nonsense"):
        [reply async for reply in service.servicer.ListRejections(request, CONTEXT)]


async def test_rejections_are_listed_as_recorded(service: Service) -> None:
    """Path, line, identifier, reason and detail reach the caller."""
    job_id = await service.submit("/a.jsonl")
    service.ledger.claim_job(job_id, "w", 10, 3)
    rejections = [Rejection("/a.jsonl", n, "민법-1", "empty_text", "빈 글") for n in (3, 4)]
    service.ledger.save_plan(job_id, "w", [], rejections, replaces=False)
    request = index_pb2.ListRejectionsRequest(job_id=job_id)
    replies = [reply async for reply in service.servicer.ListRejections(request, CONTEXT)]
    assert [Rejection(r.path, r.line, r.document_id, r.reason, r.detail) for r in replies] == rejections


async def test_documents_are_deleted_by_the_identifier_they_were_stored_with(service: Service) -> None:
    """An identifier typed in decomposed form or with a space finds the stored one."""
    request = index_pb2.DeleteDocumentsRequest(collection="laws", ids=["가-1", " a ", "b"])
    reply = await service.servicer.DeleteDocuments(request, CONTEXT)
    assert (reply.chunks_deleted, service.store.deleted) == (7, [("laws", ["가-1", "a", "b"])])


@pytest.mark.parametrize(("collection", "count"), [("laws", 0), ("laws", 10_001), ("../x", 1)])
async def test_a_bad_deletion_is_refused(collection: str, count: int, service: Service) -> None:
    """Nothing is deleted by a request without identifiers, with too many, or for no collection."""
    request = index_pb2.DeleteDocumentsRequest(collection=collection, ids=["x"] * count)
    with pytest.raises(InvalidRequestError):
        await service.servicer.DeleteDocuments(request, CONTEXT)
    assert service.store.deleted == []
