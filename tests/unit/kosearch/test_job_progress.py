"""The display of a job, on a terminal and in a log."""

import io
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from kosearch import job_progress
from kosearch.errors import UnavailableError
from kosearch.job_progress import STATE_WORDS, show_progress, show_rejections
from kosearch.jobs import JobProgress, JobState, Rejection


def progress(state: JobState, indexed: int = 0, rejected: int = 0, error: str = "") -> JobProgress:
    return JobProgress(state, 10, indexed, rejected, indexed, 0, 2.0, error)


class FakeClient:
    """Answers each watch with the next list; an error in it is raised."""

    def __init__(self, *watches: list[JobProgress | Exception]) -> None:
        self._watches = list(watches)

    def watch_job(self, _: str) -> Iterator[JobProgress]:
        for each in self._watches.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each


class Clock:
    """Seconds that pass while the code sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(job_progress, "time", made)
    return made


def show(client: Any, *, is_terminal: bool = False) -> tuple[JobProgress, str]:
    """Show a job. Returns its last state and what was printed."""
    output = io.StringIO()
    last = show_progress(client, "job", Console(file=output, force_terminal=is_terminal, width=200))
    return last, output.getvalue()


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_last_state_is_returned(is_terminal: bool) -> None:
    """The caller learns how the job ended."""
    end = progress(JobState.SUCCEEDED, 9, 1)
    assert show(FakeClient([progress(JobState.RUNNING, 5), end]), is_terminal=is_terminal)[0] == end


@pytest.mark.usefixtures("clock")
def test_a_log_gets_the_first_and_the_last_line() -> None:
    """Ten messages within a moment are not ten lines."""
    _, printed = show(
        FakeClient([progress(JobState.RUNNING, n) for n in range(9)] + [progress(JobState.SUCCEEDED, 9, 1)])
    )
    assert printed.splitlines() == ["색인 / indexing 0/10 0 docs/s", "완료 / done 10/10 4 docs/s"]


def test_a_log_gets_a_line_every_ten_seconds(clock: Clock) -> None:
    """A long job shows that it lives."""

    def slowly() -> Iterator[JobProgress]:
        for n in range(10):
            yield progress(JobState.RUNNING, n)
            clock.now += 5.0
        yield progress(JobState.SUCCEEDED, 10)

    class Slow:
        def watch_job(self, _: str) -> Iterator[JobProgress]:
            return slowly()

    assert len(show(Slow())[1].splitlines()) == 6


@pytest.mark.usefixtures("clock")
def test_what_is_stored_as_it_is_counts_as_done() -> None:
    """A job that finds most of its documents unchanged is as far as that."""
    end = JobProgress(JobState.SUCCEEDED, 10, 1, 1, 1, 0, 2.0, "", documents_unchanged=8)
    assert "10/10" in show(FakeClient([end]))[1]


@pytest.mark.usefixtures("clock")
def test_what_the_job_waits_for_is_shown() -> None:
    """The user sees why nothing moves, brackets included."""
    _, printed = show(
        FakeClient([progress(JobState.RUNNING, 1, error="[Errno 111] Qdrant is away"), progress(JobState.FAILED)])
    )
    assert "[Errno 111] Qdrant is away" in printed


@pytest.mark.usefixtures("clock")
def test_a_restarted_service_is_watched_again() -> None:
    """The job goes on while the service restarts, and so does the display."""
    end = progress(JobState.SUCCEEDED, 10)
    client = FakeClient([progress(JobState.RUNNING, 3), UnavailableError("gone")], [UnavailableError("gone")], [end])
    assert show(client)[0] == end


def test_a_service_that_stays_away_ends_the_display(clock: Clock) -> None:
    """After a minute without an answer the user is told."""
    client = FakeClient([progress(JobState.RUNNING, 3), UnavailableError("gone")], *[[UnavailableError("gone")]] * 100)
    with pytest.raises(UnavailableError):
        show(client)
    assert 60 <= clock.now < 65


def test_rejections_are_listed_by_file_and_line() -> None:
    """A whole file has no line; markup in a text is shown as it is."""
    output = io.StringIO()
    listed = [
        Rejection("/a.jsonl", 3, "", "malformed_json", "not JSON: [red]x"),
        Rejection("/b.jsonl", 0, "", "empty_file", "holds no document"),
    ]
    show_rejections(iter(listed), 2, Console(file=output, width=200))
    assert output.getvalue().splitlines()[1:] == [
        "  /a.jsonl:3: malformed_json: not JSON: [red]x",
        "  /b.jsonl: empty_file: holds no document",
    ]


def test_a_rejection_tells_whom_it_stands_for() -> None:
    """The identifier where there is one, and the number of documents where there are many."""
    output = io.StringIO()
    listed = [
        Rejection("/a.jsonl", 3, "민법-1", "empty_text", "empty"),
        Rejection("/b.jsonl", 0, "", "changed_while_read", "changed", 500),
    ]
    show_rejections(iter(listed), 501, Console(file=output, width=200))
    assert output.getvalue().splitlines()[1:] == [
        "  /a.jsonl:3: empty_text [민법-1]: empty",
        "  /b.jsonl: changed_while_read: changed (500 documents)",
    ]


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_a_word(state: JobState) -> None:
    """In Korean and English."""
    assert " / " in STATE_WORDS[state]


def test_a_long_list_is_cut_with_its_count() -> None:
    """A million faults do not fill the screen."""
    output = io.StringIO()
    many = (Rejection("/a", n, "", "malformed_json", "x") for n in range(1, 1_001))
    show_rejections(many, 1000, Console(file=output, width=200))
    lines = output.getvalue().splitlines()
    assert len(lines) == 102
    assert lines[-1] == "  … 900 more"
