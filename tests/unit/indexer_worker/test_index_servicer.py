"""The edge of the Index service: what it refuses, records and reports. Real ledger, fake queue and store."""

import asyncio
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

import orjson
import pytest

from encoder_service.index_servicer import IndexServicer
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from kosearch.jobs import JobState, Rejection, SourceFields
from kosearch.ledger import DocumentVersion, Ledger, PartitionResult
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import index_pb2

MODEL = ModelDirectory(Path("/model"), "tiny", 4, 128, "f" * 64)
CONTEXT: Any = None


@dataclass
class FakeQueue:
    sent: list[str] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)
    was_pushed: Event = field(default_factory=Event)
    is_away: bool = False

    def send_job(self, job_id: str) -> None:
        if self.is_away:
            raise UnavailableError("the broker is away")
        self.sent.append(job_id)

    def send_partitions(self, partition_ids: Iterable[int], *, is_online: bool) -> None:
        assert is_online
        if self.is_away:
            raise UnavailableError("the broker is away")
        self.partitions += partition_ids
        self.was_pushed.set()


@dataclass
class FakeStore:
    error: Exception | None = None
    deleted: list[tuple[str, list[str]]] = field(default_factory=list)
    made: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    before_deletion: Callable[[], None] = int

    def count(self, collection: str) -> int:
        if self.error:
            raise self.error
        return 7

    def ensure_collection(self, collection: str, *_: Any) -> None:
        if self.error:
            raise self.error
        self.made.append((collection, dict(_[-1])))

    def check_collection(self, collection: str, dim: int, model_name: str, model_fingerprint: str) -> bool:
        assert (dim, model_name, model_fingerprint) == (MODEL.dim, MODEL.name, MODEL.fingerprint)
        if self.error:
            raise self.error
        return False

    def delete_documents(self, collection: str, document_ids: list[str]) -> int:
        self.before_deletion()
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

    def finish(self, job_id: str, *rejections: Rejection) -> None:
        """End a job that leaves these out."""
        job = self.ledger.claim_job(job_id, "w", 10, 3)
        assert job is not None
        writer = self.ledger.plan_writer(job, "w")
        writer.add([], rejections, 0)
        writer.finish(replaces=False, builds_index=False)

    async def push(self, *documents: index_pb2.Document, collection: str = "laws", wait: bool = False) -> Any:
        request = index_pb2.PushDocumentsRequest(collection=collection, documents=documents, wait=wait)
        return await self.servicer.PushDocuments(request, CONTEXT)

    async def first_progress(self, job_id: str) -> index_pb2.WatchJobResponse:
        replies = self.servicer.WatchJob(index_pb2.WatchJobRequest(job_id=job_id), CONTEXT)
        return await anext(replies)


def as_rejection(reply: index_pb2.ListRejectionsResponse) -> Rejection:
    return Rejection(reply.path, reply.line, reply.document_id, reply.reason, reply.detail, reply.documents)


def document(document_id: str, text: str = "글", **fields: Any) -> index_pb2.Document:
    made = index_pb2.Document(id=document_id, text=text)
    made.fields.update(fields)
    return made


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
    rejections = [Rejection("/a.jsonl", n, "민법-1", "empty_text", "빈 글", n) for n in (3, 4)]
    service.finish(job_id, *rejections)
    request = index_pb2.ListRejectionsRequest(job_id=job_id)
    replies = [reply async for reply in service.servicer.ListRejections(request, CONTEXT)]
    assert [as_rejection(reply) for reply in replies] == rejections


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


async def test_a_deletion_is_written_down_before_it_is_done(service: Service) -> None:
    """No worker that is at an older version brings the document back."""
    job_id, partition_id = service.ledger.push_documents("laws", b'{"id": "a", "text": "x", "title": ""}', 1)
    partition = service.ledger.claim_partition(partition_id, "w", 10, 3)
    assert partition is not None
    known: list[bool] = []

    def look() -> None:
        found = service.ledger.known_documents(partition.job, ["a"])
        known.append(found["a"].is_deleted and found["a"].job_number > partition.job.number)

    service.store.before_deletion = look
    await service.servicer.DeleteDocuments(index_pb2.DeleteDocumentsRequest(collection="laws", ids=["a"]), CONTEXT)
    assert known == [True]
    assert service.ledger.progress(job_id).state is JobState.RUNNING


async def test_nothing_is_written_down_for_a_collection_that_does_not_exist(service: Service) -> None:
    """It is not found, and no job comes of it."""
    service.store.error = NotFoundError("no such collection")
    with pytest.raises(NotFoundError):
        await service.servicer.DeleteDocuments(index_pb2.DeleteDocumentsRequest(collection="laws", ids=["a"]), CONTEXT)
    assert service.ledger.jobs(10) == []


# Listing, cancelling, retrying, finding


async def test_options_of_a_job_are_recorded(service: Service) -> None:
    """Workers find in the ledger what was wanted."""
    request = index_pb2.SubmitJobRequest(paths=["/a.jsonl"], collection="laws", drops_duplicates=True, rereads=True)
    job_id = (await service.servicer.SubmitJob(request, CONTEXT)).job_id
    job = service.ledger.claim_job(job_id, "w", 10, 3)
    assert job is not None
    assert (job.options.drops_duplicates, job.options.rereads) == (True, True)


async def test_several_fields_of_text_are_distinct(service: Service) -> None:
    """Names with commas between them; each once, and none of them identifier or title."""
    job = service.ledger.claim_job(await service.submit("/a.jsonl", text_field="issue,holding"), "w", 10, 3)
    assert job is not None
    assert job.fields.texts == ("issue", "holding")
    with pytest.raises(InvalidRequestError, match="three fields"):
        await service.submit("/a.jsonl", text_field="issue,title")


async def test_the_newest_jobs_come_first(service: Service) -> None:
    """With what was submitted, and how far they are."""
    first = await service.submit("/a.jsonl")
    service.clock.now += 5
    second = await service.submit("/b", "/c", collection="news")
    service.ledger.cancel_job(first)
    reply = await service.servicer.ListJobs(index_pb2.ListJobsRequest(), CONTEXT)
    assert [(job.job_id, job.collection, list(job.paths), job.created_at) for job in reply.jobs] == [
        (second, "news", ["/b", "/c"], 1005.0),
        (first, "laws", ["/a.jsonl"], 1000.0),
    ]
    states = [job.progress.state for job in reply.jobs]
    assert states == [index_pb2.JOB_STATE_PENDING, index_pb2.JOB_STATE_CANCELLED]


async def test_only_so_many_jobs_are_listed(service: Service) -> None:
    """As many as are asked for, twenty by default, and never more than a message holds."""
    for _ in range(25):
        await service.submit("/a.jsonl")
    replies = [
        await service.servicer.ListJobs(index_pb2.ListJobsRequest(limit=limit), CONTEXT) for limit in (0, 3, 1000)
    ]
    assert [len(reply.jobs) for reply in replies] == [20, 3, 25]
    with pytest.raises(InvalidRequestError, match="1,000"):
        await service.servicer.ListJobs(index_pb2.ListJobsRequest(limit=1001), CONTEXT)


async def test_a_job_is_cancelled_once(service: Service) -> None:
    """An ended one is left as it is; an unknown one is not found."""
    going, ended = await service.submit("/a.jsonl"), await service.submit("/b.jsonl", collection="news")
    service.finish(ended)
    replies = [
        await service.servicer.CancelJob(index_pb2.CancelJobRequest(job_id=job_id), CONTEXT)
        for job_id in (going, going, ended)
    ]
    cancelled, succeeded = index_pb2.JOB_STATE_CANCELLED, index_pb2.JOB_STATE_SUCCEEDED
    assert [reply.state for reply in replies] == [cancelled, cancelled, succeeded]
    with pytest.raises(NotFoundError, match="nonsense"):
        await service.servicer.CancelJob(index_pb2.CancelJobRequest(job_id="nonsense"), CONTEXT)


async def test_what_was_left_out_is_submitted_again(service: Service) -> None:
    """The new job knows which one it retries, and for which reason; it is sent like any other."""
    job_id = await service.submit("/a.jsonl", id_field="번호")
    service.finish(job_id, Rejection("/a.jsonl", 0, "", "unreadable_file", "disk"))
    request = index_pb2.RetryJobRequest(job_id=job_id, reason="unreadable_file")
    retry = (await service.servicer.RetryJob(request, CONTEXT)).job_id
    job = service.ledger.claim_job(retry, "w", 10, 3)
    assert job is not None
    assert (job.paths, job.fields.id) == ((Path("/a.jsonl"),), "번호")
    assert (job.options.retries, job.options.retry_reason) == (job_id, "unreadable_file")
    assert service.queue.sent == [job_id, retry]


@pytest.mark.parametrize(("reason", "complaint"), [("", "wait until it has ended"), ("typo", "nothing")])
async def test_a_retry_of_nothing_is_refused(reason: str, complaint: str, service: Service) -> None:
    """While the job goes on, and when nothing was left out for this reason."""
    job_id = await service.submit("/a.jsonl")
    if reason:
        service.finish(job_id, Rejection("/a.jsonl", 0, "", "unreadable_file", "disk"))
    with pytest.raises(InvalidRequestError, match=complaint):
        await service.servicer.RetryJob(index_pb2.RetryJobRequest(job_id=job_id, reason=reason), CONTEXT)
    assert service.queue.sent == [job_id]


@pytest.mark.parametrize("name", ["가-1", "/a.jsonl"])
async def test_what_became_of_a_document_is_found(name: str, service: Service) -> None:
    """By its identifier, however it is typed, or by the path of its file."""
    job_id = await service.submit("/a.jsonl")
    rejection = Rejection("/a.jsonl", 3, "가-1", "empty_text", "빈 글")
    service.finish(job_id, rejection)
    request = index_pb2.FindDocumentRequest(name=unicodedata.normalize("NFD", name))
    reply = await service.servicer.FindDocument(request, CONTEXT)
    (dead_letter,) = reply.dead_letters
    assert (dead_letter.job_id, as_rejection(dead_letter.rejection)) == (job_id, rejection)


async def test_a_deleted_document_is_found_as_deleted(service: Service) -> None:
    """It has no chunks, and the job that is named is the deletion."""
    service.ledger.delete_documents("laws", ["a"])
    reply = await service.servicer.FindDocument(index_pb2.FindDocumentRequest(name="a"), CONTEXT)
    (stored,) = reply.stored
    (job,) = service.ledger.jobs(1)
    assert (stored.collection, stored.document_id, stored.chunks, stored.job_id) == ("laws", "a", 0, job.id)


# Pushing


async def test_pushed_documents_go_to_the_queue_of_their_own(service: Service) -> None:
    """As the lines of JSON that workers read; whole numbers are integers, as they were sent."""
    reply = await service.push(document("가-1", "글", year=2023, rating=4.5, tags=[1, {"n": 2}]), document("b"))
    assert reply.state == index_pb2.JOB_STATE_RUNNING
    (number,) = service.queue.partitions
    partition = service.ledger.claim_partition(number, "w", 10, 3)
    assert partition is not None
    assert partition.job.id == reply.job_id
    assert [orjson.loads(line) for line in (partition.content or b"").splitlines()] == [
        {"id": "가-1", "text": "글", "title": "", "year": 2023, "rating": 4.5, "tags": [1, {"n": 2}]},
        {"id": "b", "text": "글", "title": ""},
    ]
    assert service.store.made == [("laws", {"year": "integer", "rating": "float"})]


@pytest.mark.parametrize(
    ("documents", "complaint"),
    [
        ([], "0 documents"),
        ([document(str(n)) for n in range(1001)], "1001 documents"),
        ([document("")], "1 to 512 bytes"),
        ([document("가" * 171)], "1 to 512 bytes"),
        ([document("a", " ")], "'a': its text is empty"),
        ([document("a"), document("a ")], "'a' stands twice"),
        ([document("a", title="x")], "'title' is no name"),
        ([document("a", x="x" * 300_000)], "262,144 bytes"),
        ([document("a", x=float("nan"))], "'a': a field has no form in JSON"),
        ([document("a", x=[float("inf")])], "'a': a field has no form in JSON"),
    ],
)
async def test_a_bad_push_is_refused_and_nothing_recorded(
    documents: list[index_pb2.Document], complaint: str, service: Service
) -> None:
    """Nothing of the call is stored: whoever pushes knows which documents are in."""
    with pytest.raises(InvalidRequestError, match=complaint):
        await service.push(*documents)
    assert (service.ledger.jobs(10), service.store.made) == ([], [])


async def test_names_of_pushed_fields_are_indexed_as_they_are_stored(service: Service) -> None:
    """In NFC, as those that come from files, whatever the keyboard makes of them."""
    await service.push(document("a", **{unicodedata.normalize("NFD", "법령"): unicodedata.normalize("NFD", "민법")}))
    partition = service.ledger.claim_partition(service.queue.partitions[0], "w", 10, 3)
    assert partition is not None
    assert orjson.loads(partition.content or b"")["법령"] == "민법"
    assert service.store.made == [("laws", {"법령": "keyword"})]


@pytest.mark.parametrize("error", [ConflictError("another model"), UnavailableError("Qdrant is away")])
async def test_a_push_into_a_collection_that_cannot_be_used_is_refused(error: Exception, service: Service) -> None:
    """Nothing is recorded."""
    service.store.error = error
    with pytest.raises(type(error)):
        await service.push(document("a"))
    assert service.ledger.jobs(10) == []


async def test_a_push_is_accepted_while_the_broker_is_away(service: Service) -> None:
    """Recorded is accepted: the dispatcher sends it later."""
    service.queue.is_away = True
    await service.push(document("a"))
    service.clock.now += 6
    assert len(service.ledger.due_partitions(5, 10, is_push=True)) == 1


async def test_whoever_waits_for_a_push_hears_of_its_end(service: Service) -> None:
    """The answer comes when the documents are stored, or have become dead letters."""
    waiting = asyncio.create_task(service.push(document("a"), wait=True))
    assert await asyncio.to_thread(service.queue.was_pushed.wait, 10)
    assert not waiting.done()
    partition = service.ledger.claim_partition(service.queue.partitions[0], "w", 10, 3)
    assert partition is not None
    service.ledger.begin_documents(partition, ["a"])
    service.ledger.finish_partition(partition.id, "w", PartitionResult(1, [DocumentVersion("a", b"1", 1)]))
    assert (await asyncio.wait_for(waiting, 10)).state == index_pb2.JOB_STATE_SUCCEEDED
