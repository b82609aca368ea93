"""What a vector index costs and brings in the one-machine store: a bulk load, the build beside searches and writes.

    python benchmarks/index_building.py --points 100000

Starts a store of its own in a temporary directory. The vectors are drawn from clusters, normalised, with a fixed seed;
queries are stored vectors with noise, recall@10 is measured against the exact scan. Prints JSON.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models
from report import print_report

from kosearch.documents import Chunk, Document
from kosearch.logs import configure_logs
from kosearch.settings import QdrantSettings
from kosearch.sparse_vectors import sparse_vector
from kosearch.vector_store import VectorStore

_COLLECTION = "bench"
_CHUNKS_A_DOCUMENT = 3
_DOCUMENTS_A_CALL = 256
_TOP_K = 10
_EFS = (64, 128, 256)
# What is measured is the index of embeddings.
_NO_WORDS = sparse_vector({})


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    configure_logs("benchmark", "WARNING", "console")
    vectors, queries = _draw(arguments.points, arguments.dim, arguments.queries, arguments.seed)
    shape = {name: getattr(arguments, name) for name in ("points", "dim", "queries", "seed")}
    with tempfile.TemporaryDirectory() as folder, _store(Path(folder)) as (settings, process):
        figures = _measure(VectorStore(settings), settings, process, vectors, queries)
    print_report("index_building", {**shape, **figures})


def _measure(
    store: VectorStore,
    settings: QdrantSettings,
    process: psutil.Process,
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
) -> dict[str, Any]:
    client = QdrantClient(
        host="127.0.0.1", grpc_port=settings.grpc_port, prefer_grpc=True, check_compatibility=False, timeout=60
    )
    store.ensure_collection(_COLLECTION, vectors.shape[1], "bench", "0" * 64, {"year": "integer", "law": "keyword"})
    store.defer_index_building(_COLLECTION)
    figures: dict[str, Any] = {"load": _load(store, process, vectors), "memory_before": _memory(process)}

    def search(query: NDArray[np.float32], *, ef: int | None = None, exact: bool = False) -> list[Any]:
        params = models.SearchParams(exact=exact, hnsw_ef=ef)
        found = client.query_points(_COLLECTION, query=query.tolist(), limit=_TOP_K, search_params=params)
        return [hit.id for hit in found.points]

    truth, figures["search_before"] = _searched(search, queries, exact=True)
    beside = _Beside(search, VectorStore(settings), queries, vectors)
    began_s, cpu_s = time.perf_counter(), _cpu_s(process)
    with beside:
        store.build_index(_COLLECTION, lambda: None, poll_s=0.1)
    figures["build"] = {
        "wall_s": round(time.perf_counter() - began_s, 1),
        "store_cpu_s": round(_cpu_s(process) - cpu_s, 1),
        "points_written_beside": beside.written,
        "searches_beside": _percentiles(beside.searches_ms),
        "upserts_of_64_beside": _percentiles(beside.upserts_ms),
    }
    info = client.get_collection(_COLLECTION)
    figures["built"] = {"points": info.points_count, "indexed": info.indexed_vectors_count}
    # What was written beside, into other points of the same vectors, would hide in the recall.
    truth, _ = _searched(search, queries, exact=True)
    for ef in (None, *_EFS):
        found, took = _searched(search, queries, ef=ef)
        figures[f"search_ef_{ef or 'default'}"] = {"recall_at_10": _recall(found, truth), **took}
    figures["memory_after"] = _memory(process)
    return figures


def _load(store: VectorStore, process: psutil.Process, vectors: NDArray[np.float32]) -> dict[str, Any]:
    began_s, client_s, store_s = time.perf_counter(), time.process_time(), _cpu_s(process)
    a_call = _DOCUMENTS_A_CALL * _CHUNKS_A_DOCUMENT
    for start in range(0, len(vectors), a_call):
        rows = vectors[start : start + a_call]
        store.upsert_chunks(_COLLECTION, _chunks(start, len(rows)), rows, [_NO_WORDS] * len(rows), wait=True)
    return {
        "points_per_s": round(len(vectors) / (time.perf_counter() - began_s)),
        "client_cpu_us_a_point": round((time.process_time() - client_s) / len(vectors) * 1e6, 1),
        "store_cpu_us_a_point": round((_cpu_s(process) - store_s) / len(vectors) * 1e6, 1),
    }


class _Beside:
    """Searches and writes, one after the other in a thread, while a block runs."""

    def __init__(
        self,
        search: Callable[..., list[Any]],
        store: VectorStore,
        queries: NDArray[np.float32],
        vectors: NDArray[np.float32],
    ) -> None:
        self._search, self._store, self._queries, self._vectors = search, store, queries, vectors
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.searches_ms: list[float] = []
        self.upserts_ms: list[float] = []
        self.written = 0

    def __enter__(self) -> "_Beside":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._store.close()

    def _run(self) -> None:
        while not self._stopping.wait(0.02):
            query = self._queries[len(self.searches_ms) % len(self._queries)]
            self.searches_ms.append(_timed_ms(lambda query=query: self._search(query)))
            if len(self.searches_ms) % 50 == 0:
                rows = np.roll(self._vectors[:64], self.written, axis=1)
                chunks = _chunks(len(self._vectors) + self.written, len(rows))
                words = [_NO_WORDS] * len(rows)
                began = time.perf_counter()
                self._store.upsert_chunks(_COLLECTION, chunks, rows, words, wait=True)
                self.upserts_ms.append((time.perf_counter() - began) * 1e3)
                self.written += len(rows)


def _draw(
    points: int, dim: int, queries: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:  # (points, dim), (queries, dim)
    """Draw clusters of about 200 points, as far from their centre as centres are from each other, nearly."""
    drawn = np.random.default_rng(seed)
    centres = drawn.standard_normal((max(1, points // 200), dim)).astype(np.float32)
    vectors = centres[drawn.integers(0, len(centres), points)]
    vectors += 0.9 * drawn.standard_normal((points, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    noise = drawn.standard_normal((queries, dim)).astype(np.float32) / np.float32(np.sqrt(dim))
    return vectors, vectors[drawn.integers(0, points, queries)] + 0.7 * noise


def _chunks(first: int, count: int) -> list[Chunk]:
    chunks = []
    for number in range(first, first + count):
        name, index = f"d{number // _CHUNKS_A_DOCUMENT}", number % _CHUNKS_A_DOCUMENT
        if index == 0 or not chunks:
            document = Document(name, "글", "민법 제1조", {"year": 1958 + number % 60, "law": "민법", "path": name})
        chunks.append(Chunk(document, index, "시행 전에 생긴 사항에도 적용한다. " * 20, ""))
    return chunks


def _searched(
    search: Callable[..., list[Any]], queries: NDArray[np.float32], **options: Any
) -> tuple[list[list[Any]], dict[str, float]]:
    found: list[list[Any]] = []
    took_ms = [_timed_ms(lambda query=query: found.append(search(query, **options))) for query in queries]
    return found, _percentiles(took_ms)


def _recall(found: list[list[Any]], truth: list[list[Any]]) -> float:
    return round(
        float(np.mean([len({*ours} & {*theirs}) / _TOP_K for ours, theirs in zip(found, truth, strict=True)])), 4
    )


def _percentiles(took_ms: list[float]) -> dict[str, float]:
    return {
        "count": len(took_ms),
        **{f"p{percent}_ms": round(float(np.percentile(took_ms, percent)), 2) for percent in (50, 99)},
        "max_ms": round(max(took_ms), 1),
    }


def _timed_ms(call: Callable[[], Any]) -> float:
    began_s = time.perf_counter()
    call()
    return (time.perf_counter() - began_s) * 1e3


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _memory(process: psutil.Process) -> dict[str, int]:
    """Return MiB of the process: its own, and mapped files, which the system takes back when others need memory."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    told = dict(line.split(":", 1) for line in status.splitlines())
    return {name: int(told[key].split()[0]) >> 10 for name, key in (("own_mib", "RssAnon"), ("mapped_mib", "RssFile"))}


@contextmanager
def _store(folder: Path) -> Iterator[tuple[QdrantSettings, psutil.Process]]:
    port_file = folder / "port"
    command = [sys.executable, "-m", "standalone.store", "--data-dir", str(folder / "data"), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--port-file", str(port_file)],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "KOSEARCH_QDRANT__API_KEY": ""},
    )
    try:
        while not port_file.exists():
            if process.poll() is not None:
                sys.exit("the store did not start")
            time.sleep(0.05)
        port = int(port_file.read_text(encoding="utf-8"))
        yield QdrantSettings(url=f"http://127.0.0.1:{port}", grpc_port=port), psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
