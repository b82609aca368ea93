"""One ledger, several processes."""

import multiprocessing
from pathlib import Path

from kosearch.jobs import JobState, Source, SourceFields, Span
from kosearch.ledger import DocumentVersion, Ledger, PartitionResult, PlannedSpan

WORKERS = 3
PARTITIONS = 40


def index_all(url: str, owner: str, partitions: list[int]) -> list[int]:
    """Claim and finish all that can be had. Returns what was claimed."""
    ledger = Ledger(url)
    taken = []
    for partition_id in partitions:
        partition = ledger.claim_partition(partition_id, owner, 60, 3)
        if partition is not None:
            name = f"글{partition_id}"
            ledger.begin_documents(partition, [name])
            result = PartitionResult(1, [DocumentVersion(name, b"digest", 2)])
            ledger.finish_partition(partition_id, owner, result)
            taken.append(partition_id)
    ledger.close()
    return taken


def open_and_submit(url: str) -> str:
    """Open a ledger that may not exist yet, and submit a job."""
    ledger = Ledger(url)
    job_id = ledger.create_job("laws", [Path("/a.jsonl")], SourceFields())
    ledger.close()
    return job_id


def test_workers_share_the_partitions_of_a_job(ledger_url: str) -> None:
    """Each partition is claimed by exactly one process, and the job ends with the last one."""
    ledger = Ledger(ledger_url)
    job_id = ledger.create_job("laws", [Path("/a.jsonl")], SourceFields())
    job = ledger.claim_job(job_id, "planner", 60, 3)
    assert job is not None
    writer = ledger.plan_writer(job, "planner")
    source = Source(Path("/a.jsonl"), 1, 1)
    file_id = writer.open_file(source, "")
    spans = [Span(source, n, n + 1, n + 1, n + 1, 1) for n in range(PARTITIONS)]
    writer.add([PlannedSpan(span, file_id) for span in spans], [], 0)
    partitions = writer.finish(replaces=False, builds_index=False)
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        taken = pool.starmap(index_all, [(ledger_url, f"worker {n}", partitions) for n in range(WORKERS)])
    assert sorted(each for worker in taken for each in worker) == partitions
    progress = ledger.progress(job_id)
    assert (progress.state, progress.documents_indexed) == (JobState.SUCCEEDED, PARTITIONS)
    assert progress.chunks_indexed == 2 * PARTITIONS == writer.stored_chunks()
    ledger.close()


def test_processes_may_make_the_ledger_at_the_same_moment(ledger_url: str) -> None:
    """Service and workers start together on a fresh machine; one of them migrates, and the others wait for it."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        jobs = pool.map(open_and_submit, [ledger_url] * (WORKERS * 3), chunksize=1)
    ledger = Ledger(ledger_url)
    assert {ledger.progress(job_id).state for job_id in jobs} == {JobState.PENDING}
    assert len({job.id for job in ledger.jobs(100)}) == WORKERS * 3
    ledger.close()
