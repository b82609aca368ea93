"""A collection that is kept like its sources."""

from pathlib import Path

import pytest

from kosearch.errors import ConflictError, NotFoundError, UnavailableError
from kosearch.jobs import JobProgress, JobState
from kosearch.watching import concerns, keep_indexed


def progress(state: JobState = JobState.SUCCEEDED, rejected: int = 0) -> JobProgress:
    return JobProgress(state, 3, 2, rejected, 4, 0, 1.5, "the file has changed" * (state is JobState.FAILED))


class FakeJobs:
    """Does as told at each call; afterwards all jobs succeed."""

    def __init__(self, *ends: JobProgress | Exception, refusals: tuple[Exception, ...] = ()) -> None:
        self.calls: list[str] = []
        self._ends, self._refusals = list(ends), list(refusals)

    def submit(self) -> str:
        self.calls.append("submit")
        if self._refusals:
            raise self._refusals.pop(0)
        return "job"

    def wait(self, _: str) -> JobProgress:
        self.calls.append("wait")
        end = self._ends.pop(0) if self._ends else progress()
        if isinstance(end, Exception):
            raise end
        return end

    def reconnect(self) -> None:
        self.calls.append("reconnect")


def run(jobs: FakeJobs, *changes: bool) -> list[str]:
    said: list[str] = []
    keep_indexed(changes, jobs, said.append)
    return said


def test_a_job_runs_at_first_and_after_each_change() -> None:
    """And says in a line what became of it."""
    jobs = FakeJobs()
    said = run(jobs, False, False, True, False)
    assert jobs.calls == ["submit", "wait"] * 2
    assert len(said) == 2
    assert "indexed 2" in said[0]


def test_a_failed_job_is_said_and_watching_goes_on() -> None:
    """The next change may be what it needs."""
    said = run(FakeJobs(progress(JobState.FAILED)), False, True)
    assert "failed: the file has changed" in said[0]
    assert len(said) == 2


def test_what_was_left_out_is_said_with_the_command_that_lists_it() -> None:
    """A line is enough for the count."""
    (said,) = run(FakeJobs(progress(rejected=1)), False)
    assert said.endswith("kosearch watch job")


def test_a_service_that_is_away_is_waited_for() -> None:
    """It is said once, and the job is submitted when the service is back."""
    away = UnavailableError("away")
    jobs = FakeJobs(refusals=(away, away))
    said = run(jobs, False, False, True, False)
    assert jobs.calls == ["submit", "reconnect"] * 2 + ["submit", "wait"]
    assert [("waiting" in line) for line in said] == [True, False]


def test_a_job_outlives_a_service_that_is_away() -> None:
    """It is watched again and not submitted again; what changed meanwhile is for the next one."""
    jobs = FakeJobs(UnavailableError("away"))
    run(jobs, False, True, False)
    assert jobs.calls == ["submit", "wait", "reconnect", "wait", "submit", "wait"]


def test_a_job_that_the_service_forgot_is_submitted_again() -> None:
    """Its ledger was replaced."""
    jobs = FakeJobs(NotFoundError("no such job"))
    run(jobs, False, False)
    assert jobs.calls == ["submit", "wait"] * 2


def test_a_job_that_cannot_be_submitted_ends_it() -> None:
    """Another model's collection does not become right by waiting."""
    with pytest.raises(ConflictError):
        run(FakeJobs(refusals=(ConflictError("another model"),)), False)


@pytest.mark.parametrize(
    ("path", "is_concerned"),
    [
        ("/d/a.hwp", True),
        ("/d/x/y/a.hwp", True),
        ("/d/x", True),
        ("/d", True),
        ("/d/b.txt", False),
        ("/d/~$a.hwp", False),
        ("/d/.git/a.hwp", False),
        ("/d/x/a.hwp.part", False),
        ("/e/a.hwp", False),
        ("/f.csv", True),
    ],
)
def test_only_what_belongs_to_the_sources_counts(path: str, is_concerned: bool) -> None:
    """A file beside them, or a temporary one, is no reason for a job; a folder may hold something."""
    assert concerns(Path(path), [Path("/d/[ax]*/**/*.hwp"), Path("/d/*.hwp"), Path("/f.csv")]) == is_concerned
