"""Source files, and what a plan of them, read back as a worker reads it, holds."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from indexer_worker.planner import Plan, plan_job
from indexer_worker.readers.byte_streams import ForwardReader, open_bytes
from indexer_worker.readers.documents import record_format
from indexer_worker.readers.records import iterate_records
from indexer_worker.sources import name_of
from kosearch.documents import Document
from kosearch.jobs import Job, JobState, SourceFields
from kosearch.settings import WorkerSettings

MAX_LINE_BYTES = 4096


def worker_settings(**changes: Any) -> WorkerSettings:
    """Return settings with a small line limit; unchecked, so that a test may have partitions of a few bytes."""
    return WorkerSettings.model_construct(
        **{**WorkerSettings().model_dump(), "partition_documents": 1000, "max_line_bytes": MAX_LINE_BYTES, **changes}
    )


def make_job(paths: Sequence[Path], fields: SourceFields | None = None, *, replaces: bool = False) -> Job:
    """Return a job as a planner gets it."""
    return Job("job", "laws", tuple(paths), fields or SourceFields(), JobState.RUNNING, replaces)


def plan(
    *paths: Path, fields: SourceFields | None = None, check_lease: Callable[[], None] = int, **changes: Any
) -> Plan:
    """Plan a job for files."""
    return plan_job(make_job(paths, fields), worker_settings(**changes), check_lease)


def read_back(planned: Plan, fields: SourceFields | None = None, folder: Path | None = None) -> list[Document]:
    """Return the documents of a plan, span by span; `folder`: the one that was planned."""
    reader = ForwardReader()
    documents = [document for span in planned.spans for document in _of_span(span, planned, fields, reader, folder)]
    reader.close()
    return documents


def _of_span(
    span: Any, planned: Plan, fields: SourceFields | None, reader: ForwardReader, folder: Path | None
) -> list[Document]:
    path = span.source.path
    rejected = {each.line for each in planned.rejections if each.path == str(path)}
    record_reader = record_format(path, fields or SourceFields(), name_of(path, [folder or path]))
    options = {"is_quoted": record_reader.is_quoted, "max_bytes": MAX_LINE_BYTES}
    if record_reader.needs_header:
        with open_bytes(path) as stream:
            record_reader.takes_header(next(iterate_records(stream, **options)))
    content = io.BytesIO(reader.read(span.source, span.start, span.end))
    records = iterate_records(content, first_line=span.first_line, start=span.start, **options)
    read = [record_reader.document(record) for record in records if record.line not in rejected]
    documents = [document for document in read if document is not None]
    assert len(documents) == span.documents
    return documents
