"""A stack of its own for a benchmark of indexing, watched while it works."""

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from indexer_worker.readers.byte_streams import open_bytes
from kosearch.client import Client
from kosearch.jobs import JobOptions, JobProgress, SourceFields
from kosearch.settings import Settings, load_settings
from kosearch.stack import read_stack

KOSEARCH = str(Path(sysconfig.get_path("scripts")) / "kosearch")
_SAMPLE_S = 1.0


@contextmanager
def running_stack(data_dir: Path) -> Iterator[Settings]:
    """Run a stack on the directory during the block, on free ports; yield the settings that lead to it."""
    up(data_dir)
    try:
        yield load_settings(data_dir)
    finally:
        subprocess.run([KOSEARCH, "down", "--data-dir", str(data_dir)], check=True, stdout=sys.stderr)


def up(data_dir: Path) -> None:
    """Start the stack."""
    ports = {"KOSEARCH_ENCODER__ADDRESS": "127.0.0.1:0", "KOSEARCH_STORE__PORT": "0"}
    command = [KOSEARCH, "up", "--detach", "--data-dir", str(data_dir)]
    subprocess.run(command, check=True, env={**os.environ, **ports}, stdout=sys.stderr)


def copy_share(source: Path, target: Path, every: int) -> int:
    """Copy every n-th line of a JSONL file of any packing. Returns the number of lines."""
    count = 0
    with open_bytes(source) as stream, target.open("wb") as copy:
        for place, line in enumerate(stream):
            if place % every == 0:
                copy.write(line)
                count += 1
    return count


def index(
    settings: Settings, collection: str, paths: Sequence[Path], fields: SourceFields, options: JobOptions | None = None
) -> JobProgress:
    """Index and wait for the end."""
    with Client(settings.encoder) as client:
        job_id = client.submit_job(collection, paths, fields, options)
        next_share = 0.0
        for progress in client.watch_job(job_id):
            done = progress.documents_indexed + progress.documents_unchanged + progress.documents_rejected
            share = done / max(progress.documents_total, 1)
            if share >= next_share:
                next_share += 0.05
                sys.stderr.write(f"{progress.state} {done:,}/{progress.documents_total:,} {progress.elapsed_s:.0f} s\n")
        return progress


class StackWatch:
    """What each part of a stack takes, with its children: the most memory in MiB, processor time in seconds so far."""

    def __init__(self, data_dir: Path) -> None:
        self.most_mib: dict[str, int] = {}
        self.cpu_s: dict[str, float] = {}
        self._data_dir = data_dir
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "StackWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(_SAMPLE_S):
            stack = read_stack(self._data_dir)
            for state in stack.processes if stack else ():
                try:
                    process = psutil.Process(state.pid)
                    family = (process, *process.children(recursive=True))
                    size = sum(each.memory_info().rss for each in family) >> 20
                    times = [each.cpu_times() for each in family]
                except psutil.Error:
                    continue
                self.most_mib[state.name] = max(size, self.most_mib.get(state.name, 0))
                self.cpu_s[state.name] = round(sum(each.user + each.system for each in times), 1)
