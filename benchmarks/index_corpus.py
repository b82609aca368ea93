"""How fast a corpus is indexed by a stack of its own, and whether the store holds exactly what it should.

    python benchmarks/index_corpus.py ../shared/data/corpora/law_articles.jsonl.zst [--kill worker --kill store]

Each `--kill` sends SIGKILL to that part once, at equal shares of the job. The expected number of chunks is counted
from the file by itself, without planner, ledger or store. Prints JSON.
"""

import argparse
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import orjson
from report import print_report

from indexer_worker.chunking import Chunker
from indexer_worker.readers.byte_streams import open_bytes
from kosearch.client import Client
from kosearch.documents import Document
from kosearch.jobs import JobProgress, SourceFields
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings, load_settings
from kosearch.stack import read_stack
from kosearch.text import clean
from kosearch.vector_store import VectorStore

_KOSEARCH = str(Path(sysconfig.get_path("scripts")) / "kosearch")
_COLLECTION = "benchmark"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--kill", action="append", default=[], choices=["worker", "store", "broker", "encoder"])
    parser.add_argument("--data-dir", type=Path, help="keep the stack's data here (default: a folder that is removed)")
    parser.add_argument(
        "--expected",
        type=int,
        nargs=2,
        metavar=("DOCUMENTS", "CHUNKS"),
        help="counted by an earlier run with the same tokenizer and max_tokens; spares counting again",
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data_dir = (arguments.data_dir or Path(folder)).resolve()
        ports = {"KOSEARCH_ENCODER__ADDRESS": "127.0.0.1:0", "KOSEARCH_STORE__PORT": "0"}
        up = [_KOSEARCH, "up", "--detach", "--data-dir", str(data_dir)]
        subprocess.run(up, check=True, env={**os.environ, **ports}, stdout=sys.stderr)
        try:
            figures = _index(arguments.source.resolve(), data_dir, arguments.kill, arguments.expected)
        finally:
            subprocess.run([_KOSEARCH, "down", "--data-dir", str(data_dir)], check=True, stdout=sys.stderr)
    print_report("index_corpus", figures)


def _index(source: Path, data_dir: Path, kills: list[str], expected: list[int] | None) -> dict[str, object]:
    settings = load_settings(data_dir)
    expected_documents, expected_chunks = expected or _expected(source, settings)
    with Client(settings.encoder) as client:
        job_id = client.submit_job(_COLLECTION, [source], SourceFields())
        progress = _watch(client, job_id, data_dir, list(kills))
        rejected = [rejection.reason for rejection in client.rejections(job_id)]
    store = VectorStore(settings.qdrant)
    stored = store.count(_COLLECTION)
    store.close()
    return {
        "source": source.name,
        "killed": kills,
        "state": progress.state,
        "documents": progress.documents_indexed,
        "documents_expected": expected_documents,
        "rejected": len(rejected),
        "chunks_stored": stored,
        "chunks_expected": expected_chunks,
        "is_exact": stored == expected_chunks and progress.documents_indexed == expected_documents,
        "seconds": round(progress.elapsed_s, 1),
        "documents_per_s": round(progress.documents_indexed / progress.elapsed_s, 1),
        "chunks_per_s": round(stored / progress.elapsed_s, 1),
    }


def _watch(client: Client, job_id: str, data_dir: Path, kills: list[str]) -> JobProgress:
    """Wait for the end of the job; kill each named part once, at equal shares of the documents."""
    shares = [(number + 1) / (len(kills) + 1) for number in range(len(kills))]
    while True:
        try:
            for progress in client.watch_job(job_id):
                share = progress.documents_indexed / max(progress.documents_total, 1)
                if kills and share >= shares[0]:
                    shares.pop(0)
                    _kill(data_dir, kills.pop(0))
            return progress
        except Exception as error:  # the service itself may be the one that was killed
            sys.stderr.write(f"{error}; asking again\n")
            time.sleep(1)


def _kill(data_dir: Path, name: str) -> None:
    stack = read_stack(data_dir)
    assert stack is not None
    pid = next(process.pid for process in stack.processes if process.name == name)
    os.kill(pid, signal.SIGKILL)
    sys.stderr.write(f"killed {name} ({pid})\n")


def _expected(source: Path, settings: Settings) -> tuple[int, int]:
    """Count documents and chunks of a JSONL file; of an identifier that stands twice, the first."""
    model = ModelDirectory.open(settings.encoder.model)
    chunker = Chunker(model.path, model.max_tokens)
    seen: set[str] = set()
    chunks = 0
    with open_bytes(source) as stream:
        for line in stream:
            value = orjson.loads(line)
            text = clean(value["text"])
            if text and value["id"] not in seen:
                seen.add(value["id"])
                chunks += sum(1 for _ in chunker.chunks(Document(value["id"], text, clean(value["title"] or ""))))
    return len(seen), chunks


if __name__ == "__main__":
    main()
