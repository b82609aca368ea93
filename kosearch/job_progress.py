"""Shows an indexing job on a terminal: a bar with rate and time left, or a line now and then in a log."""

import time
from collections.abc import Iterator
from itertools import islice

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from kosearch.client import Client
from kosearch.errors import UnavailableError
from kosearch.jobs import JobProgress, JobState, Rejection

# The supervisor restarts a dead service within seconds; the job goes on meanwhile.
_RECONNECT_S = 60.0
_RECONNECT_PAUSE_S = 1.0
_LINE_EVERY_S = 10.0
_SHOWN_REJECTIONS = 100

STATE_WORDS = {
    JobState.PENDING: "대기 / waiting",
    JobState.PLANNING: "읽기 / reading",
    JobState.RUNNING: "색인 / indexing",
    JobState.SUCCEEDED: "완료 / done",
    JobState.FAILED: "실패 / failed",
    JobState.FINISHING: "마무리 / finishing",
    JobState.CANCELLED: "취소 / cancelled",
}


def show_progress(client: Client, job_id: str, console: Console) -> JobProgress:
    """Show the job until it has ended. Returns its last state. Raises UnavailableError when the service stays away."""
    if not console.is_terminal:
        return _show_lines(client, job_id, console)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}", style="yellow"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(STATE_WORDS[JobState.PENDING], total=None, rate="", note="")
        for progress in _watch(client, job_id):
            _update(bar, task, progress)
        return progress


def show_rejections(rejections: Iterator[Rejection], count: int, console: Console) -> None:
    """List what was left out, by file and line. `count`: documents that were, altogether."""
    console.print(f"빠진 문서 {count:,}건 / {count:,} left out:", style="yellow")
    for rejection in islice(rejections, _SHOWN_REJECTIONS):
        count -= rejection.documents
        console.print(f"  {rejection_line(rejection)}", markup=False, highlight=False, soft_wrap=True)
    if count > 0:
        console.print(f"  … {count:,} more")


def rejection_line(rejection: Rejection) -> str:
    """Return in one line what was left out and why."""
    where = f"{rejection.path}:{rejection.line}" if rejection.line else rejection.path
    name = f" [{rejection.document_id}]" if rejection.document_id else ""
    many = f" ({rejection.documents:,} documents)" if rejection.documents > 1 else ""
    return f"{where}: {rejection.reason}{name}: {rejection.detail}{many}"


def _watch(client: Client, job_id: str) -> Iterator[JobProgress]:
    """Yield progress, connecting again when the service was restarted."""
    last_answer = time.monotonic()
    while True:
        try:
            for progress in client.watch_job(job_id):
                last_answer = time.monotonic()
                yield progress
            return
        except UnavailableError:
            if time.monotonic() - last_answer > _RECONNECT_S:
                raise
            time.sleep(_RECONNECT_PAUSE_S)


def _show_lines(client: Client, job_id: str, console: Console) -> JobProgress:
    next_line = 0.0
    for progress in _watch(client, job_id):
        if time.monotonic() >= next_line or progress.state.is_ended:
            next_line = time.monotonic() + _LINE_EVERY_S
            done = _done(progress)
            note = f"  {progress.error}" if progress.error else ""
            console.print(
                f"{STATE_WORDS[progress.state]} {done:,}/{progress.documents_total:,} {_rate(progress)}{note}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
    return progress


def _update(bar: Progress, task: TaskID, progress: JobProgress) -> None:
    bar.update(
        task,
        description=STATE_WORDS[progress.state],
        total=progress.documents_total or None,
        completed=_done(progress),
        rate=_rate(progress),
        note=progress.error,
    )


def _done(progress: JobProgress) -> int:
    return progress.documents_indexed + progress.documents_unchanged + progress.documents_rejected


def _rate(progress: JobProgress) -> str:
    return f"{progress.documents_indexed / max(progress.elapsed_s, 1e-3):,.0f} docs/s"
