"""The command `kosearch index`: what it submits, and how it goes on watching."""

import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from kosearch.client import Client
from kosearch.errors import InvalidRequestError
from kosearch.jobs import JobOptions, JobProgress, SourceFields
from kosearch.settings import Settings
from kosearch.source_arguments import absolute_source
from kosearch.spool import Spool
from kosearch.watching import changes_of, keep_indexed

_STDIN = Path("-")


class StdinFormat(StrEnum):
    """What standard input holds."""

    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    TXT = "txt"


def submit_sources(
    client: Client,
    settings: Settings,
    collection: str,
    paths: Sequence[Path],
    fields: SourceFields,
    options: JobOptions,
    stdin_format: StdinFormat | None,
) -> str:
    """Submit a job for files, folders, patterns and `-`. Returns its id."""
    absolute = [absolute_source(path) for path in paths if path != _STDIN]
    if _STDIN not in paths:
        if stdin_format:
            raise InvalidRequestError("--format is for standard input: kosearch index - --format csv")
        return client.submit_job(collection, absolute, fields, options)
    spool = Spool(settings.spool_dir)
    spool.sweep(lambda job_id: progress_of(client, job_id))
    return spool.submit(
        sys.stdin.buffer,
        f".{stdin_format or StdinFormat.JSONL}",
        lambda spooled: client.submit_job(collection, [*absolute, spooled], fields, options),
    )


def sweep_spool(client: Client, settings: Settings) -> None:
    """Remove what was piped in for jobs that need it no more."""
    Spool(settings.spool_dir).sweep(lambda job_id: progress_of(client, job_id))


def keep_sources_indexed(
    connect: Callable[[], Client],
    collection: str,
    paths: Sequence[Path],
    fields: SourceFields,
    options: JobOptions,
    say: Callable[[str], None],
    *,
    is_polled: bool,
) -> None:
    """Index sources now and whenever they change, until Ctrl-C."""
    if _STDIN in paths:
        raise InvalidRequestError("standard input cannot be watched; name files, folders or patterns")
    absolute = [absolute_source(path) for path in paths]
    jobs = _WatchJobs(connect, collection, absolute, fields, options)
    try:
        keep_indexed(changes_of(absolute, is_polled=is_polled), jobs, say)
    except KeyboardInterrupt:
        say("더 지켜보지 않습니다 / no longer watching; a job that was submitted goes on")
    finally:
        jobs.close()


def progress_of(client: Client, job_id: str) -> JobProgress:
    """Return how far a job is now. Raises NotFoundError, UnavailableError."""
    return next(client.watch_job(job_id))


class _WatchJobs:
    """One job again and again; see `kosearch.watching.Jobs`."""

    def __init__(
        self,
        connect: Callable[[], Client],
        collection: str,
        paths: Sequence[Path],
        fields: SourceFields,
        options: JobOptions,
    ) -> None:
        self._connect = connect
        self._client = connect()
        self._collection = collection
        self._paths = paths
        self._fields = fields
        self._options = options

    def submit(self) -> str:
        return self._client.submit_job(self._collection, self._paths, self._fields, self._options)

    def wait(self, job_id: str) -> JobProgress:
        for progress in self._client.watch_job(job_id):  # noqa: B007 - the last one counts
            pass
        return progress

    def reconnect(self) -> None:
        self._client.close()
        self._client = self._connect()

    def close(self) -> None:
        self._client.close()
