"""The commands for jobs: `kosearch jobs`, `why`, `retry`, `cancel`."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from rich.console import Console

from kosearch.client import Client
from kosearch.errors import NotFoundError
from kosearch.job_progress import STATE_WORDS, rejection_line
from kosearch.jobs import JobProgress, JobState, JobSummary, Rejection

_JOB_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_EXAMPLES = 5
_SHOWN_PATHS = 2


def print_jobs(jobs: Iterable[JobSummary], console: Console) -> None:
    """Print two lines a job: how it stands, and what it was given."""
    for job in jobs:
        progress = job.progress
        done = progress.documents_indexed + progress.documents_unchanged
        paths = ", ".join(job.paths[:_SHOWN_PATHS])
        more = len(job.paths) - _SHOWN_PATHS
        submitted = datetime.fromtimestamp(job.created_at).astimezone()
        left_out = f"  빠짐 / left out {progress.documents_rejected:,}" if progress.documents_rejected else ""
        console.print(
            f"{job.id}  {submitted:%Y-%m-%d %H:%M:%S}  {STATE_WORDS[progress.state]}  "
            f"{done:,}/{progress.documents_total:,}{left_out}",
            markup=False,
        )
        console.print(f"    {job.collection} <- {paths}" + (f" (+{more:,})" if more > 0 else ""), markup=False)


def as_row(job: JobSummary) -> dict[str, object]:
    """Return a job for JSON; `coverage`: share of the tokens that are embedded."""
    progress = job.progress
    return {
        "job_id": job.id,
        "collection": job.collection,
        "paths": job.paths,
        "created_at": job.created_at,
        "state": progress.state,
        "documents_total": progress.documents_total,
        "documents_indexed": progress.documents_indexed,
        "documents_unchanged": progress.documents_unchanged,
        "documents_removed": progress.documents_removed,
        "documents_rejected": progress.documents_rejected,
        "documents_truncated": progress.documents_truncated,
        "chunks_indexed": progress.chunks_indexed,
        "tokens": progress.tokens,
        "coverage": coverage(progress),
        "elapsed_s": progress.elapsed_s,
        "error": progress.error,
    }


def coverage(progress: JobProgress) -> float:
    """Return the share of the tokens of what was indexed that the encoder read; 1 where there were none."""
    return progress.tokens_embedded / progress.tokens if progress.tokens else 1.0


def explain(client: Client, name: str, console: Console) -> bool:
    """Print why something is not found: of a job, what it left out; of a document or file, what became of it.

    Returns whether anything was left out. Raises NotFoundError when nothing is known of the name.
    """
    if _JOB_ID.fullmatch(name):
        return _explain_job(client, name, console)
    stored, dead_letters = client.find_document(name)
    if not stored and not dead_letters:
        raise NotFoundError(
            f"no job has met {name!r}: neither a job, nor the identifier of a document, nor the path of a file; "
            "`kosearch jobs` lists the jobs"
        )
    for each in stored:
        what = f"청크 {each.chunks:,}개 / {each.chunks:,} chunks" if each.chunks else "지워짐 / deleted"
        console.print(f"{each.collection}: {each.document_id}: {what} (job {each.job_id})", markup=False)
    times = Counter(rejection for _, rejection in dead_letters)
    newest = {rejection: job_id for job_id, rejection in reversed(dead_letters)}
    for rejection, count in times.items():
        before = f" (and {count - 1:,} earlier jobs)" if count > 1 else ""
        console.print(f"{rejection_line(rejection)} (job {newest[rejection]}){before}", markup=False)
    return bool(dead_letters)


def _explain_job(client: Client, job_id: str, console: Console) -> bool:
    progress = next(iter(client.watch_job(job_id)))
    console.print(STATE_WORDS[progress.state] + (f": {progress.error}" if progress.error else ""), markup=False)
    print_coverage(progress, console)
    counts: Counter[str] = Counter()
    examples: dict[str, list[Rejection]] = {}
    for rejection in client.rejections(job_id):
        counts[rejection.reason] += rejection.documents
        some = examples.setdefault(rejection.reason, [])
        if len(some) < _EXAMPLES:
            some.append(rejection)
    for reason, count in counts.most_common():
        console.print(f"{reason}: {count:,}", style="yellow", markup=False)
        for rejection in examples[reason]:
            console.print(f"  {rejection_line(rejection)}", markup=False)
        rest = count - sum(rejection.documents for rejection in examples[reason])
        if rest:
            console.print(f"  … {rest:,} more")
    if not counts:
        console.print("빠진 문서가 없습니다 / nothing was left out")
    if counts or progress.state in (JobState.FAILED, JobState.CANCELLED):
        narrowed = f" [--reason {counts.most_common(1)[0][0]}]" if len(counts) > 1 else ""
        console.print(f"다시 시도 / try again: kosearch retry {job_id}{narrowed}", markup=False)
    return bool(counts) or progress.state is JobState.FAILED


def print_coverage(progress: JobProgress, console: Console) -> None:
    """Print what a job did, in one line for each kind of outcome there was."""
    rate = progress.documents_indexed / max(progress.elapsed_s, 1e-3)
    if progress.documents_indexed:
        console.print(
            f"문서 {progress.documents_indexed:,}건, 청크 {progress.chunks_indexed:,}개, {progress.elapsed_s:.1f}초 "
            f"(초당 {rate:,.0f}건) / {progress.documents_indexed:,} documents, {progress.chunks_indexed:,} chunks, "
            f"{progress.elapsed_s:.1f} s ({rate:,.0f} documents/s)"
        )
    else:
        console.print(
            f"새로 넣은 문서 없음, {progress.elapsed_s:.1f}초 / no document indexed, {progress.elapsed_s:.1f} s"
        )
    outcomes = {
        "그대로 / unchanged": progress.documents_unchanged,
        "삭제 / removed": progress.documents_removed,
        "빠짐 / left out": progress.documents_rejected,
        "잘린 문서 / documents cut": progress.documents_truncated,
    }
    for words, count in outcomes.items():
        if count:
            console.print(f"{words}: {count:,}")
    if progress.tokens:
        console.print(f"임베딩된 토큰 / tokens embedded: {100 * coverage(progress):.2f} % of {progress.tokens:,}")
