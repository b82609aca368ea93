"""Kills parts of a stack at random while it indexes; compares what is stored with an undisturbed run, point by point.

    python benchmarks/chaos.py ../shared/data/corpora/movie_reviews.jsonl.zst [--documents N] [--kills 20] [--seed 1]

SIGKILL goes to the worker, the store, the broker, the encoder service and the supervisor, whose stack is then started
again as a person would. Prints JSON.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import orjson
import psutil
from index_stack import KOSEARCH, up
from qdrant_client import QdrantClient
from report import print_report

from indexer_worker.readers.byte_streams import open_bytes
from kosearch.client import Client
from kosearch.errors import KosearchError
from kosearch.jobs import JobProgress, SourceFields
from kosearch.settings import load_settings
from kosearch.stack import read_stack
from kosearch.vector_store import LEXICAL_VECTOR

_COLLECTION = "chaos"
_PARTS = ("worker", "store", "broker", "encoder", "supervisor")
# Rows of length 1: what float32 loses in batches of another shape.
_TOLERANCE = 1e-4
_WAIT_S = 3600.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--text-field", default="text")
    given = parser.parse_args()
    dice = random.Random(given.seed)
    fields = SourceFields(text=given.text_field)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "documents.jsonl"
        _copy(given.source, source, given.documents)
        calm, calm_points = _run(source, Path(folder) / "calm", fields, [], dice)
        victims = [dice.choice(_PARTS) for _ in range(given.kills)]
        stormy, stormy_points = _run(source, Path(folder) / "stormy", fields, victims, dice)
    same = sum(_is_same(calm_points[name], stormy_points[name]) for name in calm_points.keys() & stormy_points.keys())
    print_report(
        "chaos",
        {
            "source": given.source.name,
            "seed": given.seed,
            "killed": {part: victims.count(part) for part in _PARTS},
            "documents": given.documents,
            "points": len(calm_points),
            "points_after_kills": len(stormy_points),
            "points_equal": same,
            "is_equal": same == len(calm_points) == len(stormy_points),
            "rejected": [calm.documents_rejected, stormy.documents_rejected],
            "seconds": round(calm.elapsed_s, 1),
            "seconds_with_kills": round(stormy.elapsed_s, 1),
        },
    )


def _copy(source: Path, target: Path, documents: int) -> None:
    with open_bytes(source) as stream, target.open("wb") as copy:
        for _, line in zip(range(documents), stream, strict=False):
            copy.write(line)


def _run(
    source: Path, data_dir: Path, fields: SourceFields, victims: list[str], dice: random.Random
) -> tuple[JobProgress, dict[str, tuple[bytes, "np.typing.NDArray[np.float32]"]]]:
    up(data_dir)
    try:
        with Client(load_settings(data_dir).encoder) as client:
            job_id = client.submit_job(_COLLECTION, [source], fields)
        progress = _watch(data_dir, job_id, list(victims), dice)
        return progress, _points(data_dir)
    finally:
        subprocess.run([KOSEARCH, "down", "--data-dir", str(data_dir)], check=True, stdout=sys.stderr)


def _watch(data_dir: Path, job_id: str, victims: list[str], dice: random.Random) -> JobProgress:
    """Wait for the end of the job, killing at random shares of its documents."""
    shares = sorted(dice.uniform(0.01, 0.97) for _ in victims)
    began = time.monotonic()
    while time.monotonic() - began < _WAIT_S:
        try:
            with Client(load_settings(data_dir).encoder) as client:
                for progress in client.watch_job(job_id):
                    share = progress.documents_indexed / max(progress.documents_total, 1)
                    if shares and share >= shares[0]:
                        shares.pop(0)
                        _kill(data_dir, victims.pop(0))
                        break
                    if progress.state.is_ended:
                        return progress
        except KosearchError as error:  # the service itself may be the one that was killed
            sys.stderr.write(f"{error}; asking again\n")
            time.sleep(1)
    raise TimeoutError(f"the job did not end within {_WAIT_S} s")


def _kill(data_dir: Path, part: str) -> None:
    stack = read_stack(data_dir)
    assert stack is not None
    sys.stderr.write(f"killing {part}\n")
    if part != "supervisor":
        pid = next(process.pid for process in stack.processes if process.name == part)
        os.kill(pid, signal.SIGKILL)
        return
    processes = [psutil.Process(state.pid) for state in stack.processes if psutil.pid_exists(state.pid)]
    os.kill(stack.pid, signal.SIGKILL)
    psutil.wait_procs(processes, timeout=60)
    up(data_dir)


def _points(data_dir: Path) -> dict[str, tuple[bytes, "np.typing.NDArray[np.float32]"]]:
    """Return (digest of payload and words, embedding) of every point."""
    settings = load_settings(data_dir).qdrant
    client = QdrantClient(
        url=settings.host_url,
        grpc_port=settings.grpc_port,
        api_key=settings.api_key,
        prefer_grpc=True,
        check_compatibility=False,
        timeout=60,
    )
    points = {}
    offset = None
    while True:
        page, offset = client.scroll(_COLLECTION, limit=1000, offset=offset, with_payload=True, with_vectors=True)
        for point in page:
            words = point.vector[LEXICAL_VECTOR]
            content = [point.payload, sorted(zip(words.indices, words.values, strict=True))]
            digest = hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
            points[str(point.id)] = (digest, np.array(point.vector[""], dtype=np.float32))
        if offset is None:
            client.close()
            return points


def _is_same(
    one: tuple[bytes, "np.typing.NDArray[np.float32]"], other: tuple[bytes, "np.typing.NDArray[np.float32]"]
) -> bool:
    return one[0] == other[0] and bool(np.abs(one[1] - other[1]).max() <= _TOLERANCE)


if __name__ == "__main__":
    main()
