"""Indexing jobs as every part of kosearch speaks of them."""

import enum
from dataclasses import dataclass
from pathlib import Path


class JobState(enum.StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    PLANNING = "planning"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_ended(self) -> bool:
        """Tell whether nothing more will happen to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED)


class PartitionState(enum.StrEnum):
    """Where a partition stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class SourceFields:
    """Names of the fields that hold identifier, text and title."""

    id: str = "id"
    text: str = "text"
    title: str = "title"


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker has to know about a job."""

    id: str
    collection: str
    paths: tuple[Path, ...]
    fields: SourceFields
    state: JobState
    replaces: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when the job was planned; `size` in bytes as stored, `mtime_ns` since the epoch."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Span:
    """A run of records in a source: bytes [start, end) of the decompressed file, lines [first_line, last_line] from 1.

    documents: records in it that are to be indexed; rejected ones are not counted
    """

    source: Source
    start: int
    end: int
    first_line: int
    last_line: int
    documents: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that is left out. `line` from 1; 0 stands for the whole file."""

    path: str
    line: int
    document_id: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Partition:
    """A claimed partition with what is needed to index it."""

    id: int
    job: Job
    span: Span
    rejected_lines: frozenset[int]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is. Counts of documents and chunks; `elapsed_s` since it was submitted."""

    state: JobState
    documents_total: int
    documents_indexed: int
    documents_rejected: int
    chunks_indexed: int
    documents_truncated: int
    elapsed_s: float
    error: str
