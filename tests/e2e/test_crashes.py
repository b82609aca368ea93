"""Parts of the stack die in the middle of a job; the job ends with exactly the documents of its source."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kosearch.jobs import JobState, SourceFields
from tests.e2e.conftest import KOSEARCH, RunningStack, running_stack, write_documents

# Two cores without bf16 encode 140 a second: enough to kill a part in the middle, and no more.
DOCUMENTS = 1500
# What a dead worker had begun goes to another one after so long.
LEASE_S = "6"


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack that is whole again after each of its parts was killed."""
    with running_stack(tmp_path_factory.mktemp("killed"), KOSEARCH_WORKER__LEASE_S=LEASE_S) as stack:
        yield stack


def _index_and_kill(stack: RunningStack, source: Path, victim: str) -> subprocess.CompletedProcess[str]:
    """Index the source into a collection of the victim's name, and kill it once a share is stored."""
    job = subprocess.Popen(
        [KOSEARCH, "index", str(source), "--collection", victim, "--wait"],
        env=stack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while _stored(stack, victim) < DOCUMENTS // 10:
        assert job.poll() is None, "the job ended before anything was killed; give it more documents"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(stack.pid(victim), signal.SIGKILL)
    out, error = job.communicate(timeout=240)
    return subprocess.CompletedProcess(job.args, job.returncode, out, error)


def _stored(stack: RunningStack, collection: str) -> int:
    try:
        return stack.count(collection)
    except Exception:
        return 0


@pytest.mark.parametrize("victim", ["worker", "store", "broker", "encoder"])
def test_job_survives_the_death_of(killed: RunningStack, tmp_path: Path, victim: str) -> None:
    """After kill -9 of one part, without a hand being moved, the store holds every document once."""
    source = write_documents(tmp_path / "laws.jsonl", DOCUMENTS)
    done = _index_and_kill(killed, source, victim)
    assert done.returncode == 0, done.stderr
    assert killed.count(victim) == DOCUMENTS


def test_job_goes_on_after_the_whole_stack_was_killed(tmp_path: Path) -> None:
    """A stack whose supervisor was killed takes all its processes along, and the next `up` finishes the job."""
    source = write_documents(tmp_path / "laws.jsonl", DOCUMENTS)
    with running_stack(tmp_path / "data", KOSEARCH_WORKER__LEASE_S=LEASE_S) as stack:
        with stack.client() as client:
            job_id = client.submit_job("laws", [source], SourceFields())
        while _stored(stack, "laws") == 0:
            time.sleep(0.05)
        processes = stack.processes()
        processes[0].kill()
        for process in processes:
            process.wait(timeout=60)
        stack.up()
        with stack.client() as client:
            *_, last = client.watch_job(job_id)
        assert last.state is JobState.SUCCEEDED
        assert stack.count("laws") == DOCUMENTS


def test_job_submitted_while_the_broker_is_down_is_not_lost(killed: RunningStack, tmp_path: Path) -> None:
    """A job is accepted without a broker and done when it is back."""
    source = write_documents(tmp_path / "laws.jsonl", 50)
    os.kill(killed.pid("broker"), signal.SIGSTOP)
    try:
        accepted = killed.run("index", str(source), "--collection", "laws")
    finally:
        os.kill(killed.pid("broker"), signal.SIGCONT)
    assert accepted.returncode == 0, accepted.stderr
    job_id = accepted.stdout.split()[3]
    done = killed.run("watch", job_id)
    assert done.returncode == 0, done.stderr
    assert killed.count("laws") == 50
