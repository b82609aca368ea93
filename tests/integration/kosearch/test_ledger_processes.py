"""One ledger file, several processes."""

import multiprocessing
from pathlib import Path

from kosearch.jobs import JobState, Source, SourceFields, Span
from kosearch.ledger import Ledger

WORKERS = 3
PARTITIONS = 40


def claim_all(url: str, owner: str, partitions: list[int]) -> list[int]:
    """Claim and finish all that can be had. Returns what was claimed."""
    ledger = Ledger(url)
    taken = []
    for partition_id in partitions:
        if ledger.claim_partition(partition_id, owner, 60, 3):
            ledger.finish_partition(partition_id, owner, chunks=2, truncated=0)
            taken.append(partition_id)
    ledger.close()
    return taken


def open_and_submit(url: str) -> str:
    """Open a ledger that may not exist yet, and submit a job."""
    ledger = Ledger(url)
    job_id = ledger.create_job("laws", [Path("/a.jsonl")], SourceFields())
    ledger.close()
    return job_id


def test_workers_share_the_partitions_of_a_job(tmp_path: Path) -> None:
    """Each partition is claimed by exactly one process, and the job ends with the last one."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger = Ledger(url)
    job_id = ledger.create_job("laws", [Path("/a.jsonl")], SourceFields())
    ledger.claim_job(job_id, "planner", 60, 3)
    source = Source(Path("/a.jsonl"), 1, 1)
    spans = [Span(source, n, n + 1, n + 1, n + 1, 1) for n in range(PARTITIONS)]
    partitions = ledger.save_plan(job_id, "planner", spans, [], replaces=False)
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        taken = pool.starmap(claim_all, [(url, f"worker {n}", partitions) for n in range(WORKERS)])
    assert sorted(each for worker in taken for each in worker) == partitions
    progress = ledger.progress(job_id)
    assert (progress.state, progress.chunks_indexed) == (JobState.SUCCEEDED, 2 * PARTITIONS)
    ledger.close()


def test_processes_may_make_the_ledger_at_the_same_moment(tmp_path: Path) -> None:
    """Service and workers start together on a fresh machine."""
    url = f"sqlite:///{tmp_path / 'fresh' / 'ledger.db'}"
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        jobs = pool.map(open_and_submit, [url] * (WORKERS * 3), chunksize=1)
    ledger = Ledger(url)
    assert {ledger.progress(job_id).state for job_id in jobs} == {JobState.PENDING}
    ledger.close()
