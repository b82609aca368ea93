"""Indexing jobs as every part of kosearch speaks of them."""

import enum
from dataclasses import dataclass, field
from pathlib import Path


class JobState(enum.StrEnum):
    """Where a job stands."""

    PENDING = "pending"
    PLANNING = "planning"
    RUNNING = "running"
    FINISHING = "finishing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_ended(self) -> bool:
        """Tell whether nothing more will happen to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class PartitionState(enum.StrEnum):
    """Where a partition stands."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class SourceFields:
    """Names of the fields that hold identifier, text and title.

    text: may be several, with commas between them; those that a record has are its text, one below the other
    """

    id: str = "id"
    text: str = "text"
    title: str = "title"

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the names of the fields of the text."""
        return tuple(dict.fromkeys(name.strip() for name in self.text.split(",") if name.strip())) or (self.text,)


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What a job is to do beyond the usual.

    drops_duplicates: content that the collection has already, under another identifier, is left out
    rereads: files are read even when size and time of change are those of the last job
    retries: the job whose left out files are tried again, and only they; `retry_reason` narrows them down
    """

    drops_duplicates: bool = False
    rereads: bool = False
    retries: str = ""
    retry_reason: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker has to know about a job.

    number: grows from job to job of a ledger; of two versions of a document the one of the higher number is the newer
    replaces: the collection had points when the job began, so older versions of its documents have to go
    builds_index: the vector index is built at the end, once for all
    """

    id: str
    number: int
    collection: str
    paths: tuple[Path, ...]
    fields: SourceFields
    state: JobState
    replaces: bool = False
    builds_index: bool = False
    options: JobOptions = field(default_factory=JobOptions)


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was when the job was planned; `size` in bytes as stored, `mtime_ns` since the epoch."""

    path: Path
    size: int
    mtime_ns: int


WHOLE_FILE = -1


@dataclass(frozen=True, slots=True)
class Span:
    """A run of records in a source: bytes [start, end) of the decompressed file, lines [first_line, last_line] from 1.

    end: WHOLE_FILE for one that is read to its end, whose length nobody knows yet
    documents: records in it that are to be indexed; rejected and unchanged ones are not counted
    """

    source: Source
    start: int
    end: int
    first_line: int
    last_line: int
    documents: int


@dataclass(frozen=True, slots=True)
class Rejection:
    """Documents that are left out: a dead letter.

    line: from 1; 0 stands for the whole file
    reason: kind of fault, a stable word
    documents: how many it stands for
    """

    path: str
    line: int
    document_id: str
    reason: str
    detail: str
    documents: int = 1


@dataclass(frozen=True, slots=True)
class Partition:
    """A claimed partition with what is needed to index it.

    lines: the lines [first, last] of its span that are its own; a partition on which workers died is halved
    content: the records themselves where documents were pushed; None: they stand in a file
    file_id: the file's row in the ledger; None for pushed documents
    is_first_try: nobody has had it before, who may have written something of it
    """

    id: int
    job: Job
    span: Span
    rejected_lines: frozenset[int]
    lines: tuple[int, int]
    content: bytes | None = None
    file_id: int | None = None
    is_first_try: bool = True


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is. Counts of documents, chunks and tokens; `elapsed_s` since it was submitted.

    documents_unchanged: found in the collection as they are, so nothing was done
    tokens: of all chunks; tokens_embedded: those that the encoder read
    """

    state: JobState
    documents_total: int
    documents_indexed: int
    documents_rejected: int
    chunks_indexed: int
    documents_truncated: int
    elapsed_s: float
    error: str
    documents_unchanged: int = 0
    documents_removed: int = 0
    tokens: int = 0
    tokens_embedded: int = 0


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job in a list; `created_at` in seconds since the epoch."""

    id: str
    collection: str
    paths: tuple[str, ...]
    created_at: float
    progress: JobProgress


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """Where a document is. `chunks` 0: it was deleted; `job_id`: of the job whose version it is."""

    collection: str
    document_id: str
    chunks: int
    job_id: str
