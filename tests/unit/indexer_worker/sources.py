"""Source files, and what a plan of them, read back as a worker reads it, holds."""

import io
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indexer_worker.planner import Planned, plan_job
from indexer_worker.readers.byte_streams import ForwardReader, open_bytes
from indexer_worker.readers.documents import record_format
from indexer_worker.readers.records import iterate_records
from indexer_worker.sources import name_of
from kosearch.documents import Document
from kosearch.jobs import JobOptions, Partition, Rejection, SourceFields, Span
from kosearch.ledger import Ledger
from kosearch.settings import WorkerSettings

MAX_LINE_BYTES = 4096
SIGNATURE = "model and chunking"
_LEASE_S = 10.0


def worker_settings(**changes: Any) -> WorkerSettings:
    """Return settings with a small line limit; unchecked, so that a test may have partitions of a few bytes."""
    return WorkerSettings.model_construct(
        **{**WorkerSettings().model_dump(), "partition_documents": 1000, "max_line_bytes": MAX_LINE_BYTES, **changes}
    )


@dataclass(frozen=True)
class Plan:
    """What stands in the ledger after a job was planned, and what the planner says of it."""

    partitions: list[Partition]
    rejections: list[Rejection]
    planned: Planned

    @property
    def spans(self) -> list[Span]:
        """Return the spans of the partitions."""
        return [partition.span for partition in self.partitions]


def plan_in(
    ledger: Ledger,
    paths: Sequence[Path],
    fields: SourceFields | None = None,
    *,
    collection: str = "laws",
    check_lease: Callable[[], None] = int,
    replaces: bool = False,
    options: JobOptions | None = None,
    **changes: Any,
) -> Plan:
    """Submit a job for files and plan it; its partitions are claimed."""
    job_id = ledger.create_job(collection, paths, fields or SourceFields(), options)
    job = ledger.claim_job(job_id, "planner", _LEASE_S, 3)
    assert job is not None
    writer = ledger.plan_writer(job, "planner")
    writer.begin()
    planned = plan_job(job, worker_settings(**changes), writer, SIGNATURE, None, check_lease)
    numbers = writer.finish(replaces=replaces, builds_index=False)
    partitions = [ledger.claim_partition(number, "worker", _LEASE_S, 3) for number in numbers]
    return Plan([each for each in partitions if each], list(ledger.rejections(job_id)), planned)


def plan(*paths: Path, fields: SourceFields | None = None, known_ledger: Ledger | None = None, **changes: Any) -> Plan:
    """Plan a job for files, into a collection of which the ledger knows nothing."""
    ledger = known_ledger or Ledger("sqlite://")
    try:
        return plan_in(ledger, paths, fields, collection=uuid.uuid4().hex, **changes)
    finally:
        if ledger is not known_ledger:
            ledger.close()


def read_back(planned: Plan, fields: SourceFields | None = None, folder: Path | None = None) -> list[Document]:
    """Return the documents of a plan, span by span; `folder`: the one that was planned."""
    reader = ForwardReader()
    documents = [document for each in planned.partitions for document in _of_span(each, fields, reader, folder)]
    reader.close()
    return documents


def _of_span(
    partition: Partition, fields: SourceFields | None, reader: ForwardReader, folder: Path | None
) -> list[Document]:
    span, path = partition.span, partition.span.source.path
    record_reader = record_format(path, fields or SourceFields(), name_of(path, [folder or path]))
    options: Any = {"is_quoted": record_reader.is_quoted, "max_bytes": MAX_LINE_BYTES}
    if record_reader.needs_header:
        with open_bytes(path) as stream:
            record_reader.takes_header(next(iterate_records(stream, **options)))
    content = io.BytesIO(reader.read(span.source, span.start, span.end))
    records = iterate_records(content, first_line=span.first_line, start=span.start, **options)
    read = [record_reader.document(record) for record in records if record.line not in partition.rejected_lines]
    documents = [document for document in read if document is not None]
    assert len(documents) == span.documents
    return documents
