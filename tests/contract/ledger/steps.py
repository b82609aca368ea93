"""What tests do with a ledger, each in a word."""

import json
from collections.abc import Sequence
from pathlib import Path

from kosearch.errors import OutdatedError
from kosearch.jobs import Job, JobOptions, JobState, Partition, Rejection, Source, SourceFields, Span
from kosearch.ledger import DocumentVersion, KnownDocument, Ledger, PartitionResult, PlannedSpan, PlanWriter

LEASE_S = 10.0
MAX_ATTEMPTS = 3
LAWS = Source(Path("/data/laws.jsonl"), 1000, 123_456_789_012_345_678)
CASES = Source(Path("/data/cases.jsonl"), 500, 123_456_789_012_345_679)
FIELDS = SourceFields("번호", "내용", "제목")
SIGNATURE = "model and chunks"


class Clock:
    """Seconds since the epoch, as the test wants them."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; less than none puts the clock back."""
        self.now += seconds


def spans(*documents: int, source: Source = LAWS) -> list[Span]:
    """Return one span of ten lines for each number of documents."""
    return [
        Span(source, 100 * number, 100 * number + 100, 10 * number + 1, 10 * number + 10, count)
        for number, count in enumerate(documents)
    ]


def rejection(line: int, reason: str = "malformed_json", path: str = str(LAWS.path), documents: int = 1) -> Rejection:
    """Return what is wrong with a line."""
    return Rejection(path, line, f"id{line}", reason, "not JSON", documents)


def submit(ledger: Ledger, collection: str = "laws", options: JobOptions | None = None) -> str:
    """Submit a job. Returns its id."""
    return ledger.create_job(collection, [LAWS.path], FIELDS, options)


def claim(ledger: Ledger, job_id: str, owner: str = "planner") -> Job | None:
    """Claim a job."""
    return ledger.claim_job(job_id, owner, LEASE_S, MAX_ATTEMPTS)


def writer_of(ledger: Ledger, job_id: str, owner: str = "planner") -> PlanWriter:
    """Claim a job to plan it."""
    job = claim(ledger, job_id, owner)
    assert job is not None
    return ledger.plan_writer(job, owner)


def write_plan(
    writer: PlanWriter, planned: Sequence[Span], rejections: Sequence[Rejection] = (), *, builds_index: bool = False
) -> list[int]:
    """Write a plan of spans and rejections. Returns the numbers of its partitions."""
    file_id = writer.open_file(planned[0].source if planned else LAWS, SIGNATURE)
    writer.add([PlannedSpan(span, file_id) for span in planned], rejections, 0)
    return writer.finish(replaces=False, builds_index=builds_index)


def plan(
    ledger: Ledger, *documents: int, rejections: Sequence[Rejection] = (), collection: str = "laws"
) -> tuple[str, list[int]]:
    """Submit and plan a job. Returns (its id, numbers of its partitions)."""
    job_id = submit(ledger, collection)
    return job_id, write_plan(writer_of(ledger, job_id), spans(*documents), rejections)


def take(ledger: Ledger, partition_id: int, owner: str = "a") -> Partition:
    """Claim a partition that can be had."""
    partition = ledger.claim_partition(partition_id, owner, LEASE_S, MAX_ATTEMPTS)
    assert partition is not None
    return partition


def claims(ledger: Ledger, partition_id: int, owner: str) -> bool:
    """Try to claim a partition."""
    return ledger.claim_partition(partition_id, owner, LEASE_S, MAX_ATTEMPTS) is not None


def version(document_id: str, digest: str = "1", chunks: int = 2) -> DocumentVersion:
    """Return a version of a document."""
    return DocumentVersion(document_id, digest.encode(), chunks)


def result(*versions: DocumentVersion, rejections: Sequence[Rejection] = (), unchanged: int = 0) -> PartitionResult:
    """Return what became of a partition whose documents were stored in these versions."""
    rejected = sum(rejection.documents for rejection in rejections)
    return PartitionResult(len(versions) + rejected + unchanged, versions, rejections, unchanged=unchanged)


def stored(ledger: Ledger, partition: Partition, *versions: DocumentVersion, owner: str = "a") -> JobState:
    """Do as a worker does with the partition that it holds. Returns the job's state."""
    ledger.begin_documents(partition, [each.document_id for each in versions])
    while True:
        newer = ledger.newer_documents(partition.job, [each.document_id for each in versions])
        try:
            return ledger.finish_partition(partition.id, owner, result(*versions), newer)
        except OutdatedError:
            continue


def index(ledger: Ledger, *versions: DocumentVersion, collection: str = "laws", source: Source = LAWS) -> Job:
    """Run a job on one file from its start to its end."""
    writer = writer_of(ledger, submit(ledger, collection))
    (number,) = write_plan(writer, spans(len(versions), source=source))
    partition = take(ledger, number)
    assert stored(ledger, partition, *versions) is JobState.SUCCEEDED
    return partition.job


def push(ledger: Ledger, *document_ids: str, collection: str = "laws") -> tuple[str, int]:
    """Push documents. Returns (job id, number of the partition)."""
    content = "\n".join(json.dumps({"id": document_id, "text": "글"}) for document_id in document_ids)
    return ledger.push_documents(collection, content.encode(), len(document_ids))


def known(ledger: Ledger, job: Job, document_id: str) -> KnownDocument | None:
    """Return what is known of a document of the job's collection."""
    return ledger.known_documents(job, [document_id]).get(document_id)


def state(ledger: Ledger, job_id: str) -> JobState:
    """Return where a job stands."""
    return ledger.progress(job_id).state
