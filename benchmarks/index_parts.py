"""Where the time of an indexing job goes: the job against each of its parts alone, on the same machine in one run.

    python benchmarks/index_parts.py SOURCE... [--text-field text,issue,holding] [--every 10] [--rounds 2]

plan: reading, checking, digests, the plan in a ledger; chunk: reading again and cutting, Kiwi included; words: the
morphemes of all chunks, on one core as in a worker; encode: all chunks through the encoder service, as the worker sends
them; upsert: all chunks with their words and rows of the right shape into the store, durable. `ratio` is the job's wall
time by the sum of its parts, rounds in turn. Prints JSON.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import stamina
from index_stack import StackWatch, copy_share, index, running_stack
from report import print_report

from indexer_worker.chunking import Chunker
from indexer_worker.planner import plan_job
from indexer_worker.readers.byte_streams import open_bytes
from indexer_worker.readers.documents import record_format
from indexer_worker.readers.records import iterate_records
from kosearch.client import Client
from kosearch.documents import Chunk
from kosearch.errors import OverloadedError
from kosearch.jobs import SourceFields
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from kosearch.settings import Settings
from kosearch.sparse_vectors import SparseVector
from kosearch.vector_store import VectorStore

_BATCH = 256
_CALLS_AT_ONCE = 2
# As the worker: a service that was just started does not know yet how fast it is, and may refuse.
_patiently = stamina.RetryingCaller(timeout=60.0, attempts=None, wait_initial=0.2, wait_max=2.0).on(OverloadedError)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path, nargs="+")
    parser.add_argument("--text-field", default="text")
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    fields = SourceFields(text=given.text_field)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{source.name.partition('.')[0]}.jsonl" for source in given.sources]
        documents = sum(copy_share(*pair, given.every) for pair in zip(given.sources, paths, strict=True))
        data_dir = Path(folder) / "data"
        with running_stack(data_dir) as settings, StackWatch(data_dir) as watch:
            for number in range(given.rounds):
                parts = _parts(settings, paths, fields, number, Path(folder))
                before = dict(watch.cpu_s)
                job = index(settings, f"job-{number}", paths, fields)
                cpu_s = {name: round(spent - before.get(name, 0.0), 1) for name, spent in watch.cpu_s.items()}
                whole = job.elapsed_s
                seconds = {name: round(value, 1) for name, value in parts.items()}
                total = sum(parts.values())
                rounds.append(
                    {
                        "parts_s": seconds,
                        "sum_s": round(total, 1),
                        "job_s": round(whole, 1),
                        "ratio": whole / total,
                        "job_cpu_s": cpu_s,
                    }
                )
    print_report(
        "index_parts",
        {
            "sources": [source.name for source in given.sources],
            "every": given.every,
            "documents": documents,
            "chunks": job.chunks_indexed,
            "tokens": job.tokens,
            "rounds": rounds,
            "ratio": round(statistics.median(float(each["ratio"]) for each in rounds), 3),
            "most_memory_mib": watch.most_mib,
            "precision": settings.encoder.precision,
            "worker_concurrency": settings.worker.concurrency,
        },
    )


def _parts(
    settings: Settings, paths: Sequence[Path], fields: SourceFields, number: int, folder: Path
) -> dict[str, float]:
    seconds = {"plan": _timed(lambda: _plan(settings, paths, fields, folder / f"plan-{number}.db"))}
    chunks: list[Chunk] = []
    seconds["chunk"] = _timed(lambda: chunks.extend(_chunks(settings, paths, fields)))
    batches = [chunks[begin : begin + _BATCH] for begin in range(0, len(chunks), _BATCH)]
    words: list[SparseVector] = []
    analyser = MorphemeAnalyser(shared_kiwi())
    analyser.terms("한국어")  # loaded once in a worker's life
    seconds["words"] = _timed(lambda: words.extend(_words(analyser, chunks)))
    seconds["encode"] = _timed(lambda: _encode(settings, batches))
    seconds["upsert"] = _timed(lambda: _upsert(settings, batches, words, f"parts-{number}"))
    return seconds


def _timed(work: object) -> float:
    assert callable(work)
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _plan(settings: Settings, paths: Sequence[Path], fields: SourceFields, database: Path) -> None:
    ledger = Ledger(f"sqlite:///{database}")
    job_id = ledger.create_job("parts", paths, fields)
    job = ledger.claim_job(job_id, "benchmark", 3600, 1)
    assert job is not None
    writer = ledger.plan_writer(job, "benchmark")
    writer.begin()
    plan_job(job, settings.worker, writer, "signature", None, lambda: None)
    ledger.close()


def _chunks(settings: Settings, paths: Sequence[Path], fields: SourceFields) -> Iterator[Chunk]:
    model = ModelDirectory.open(settings.encoder.model)
    chunker = Chunker(model.path, model.max_tokens, settings.worker.chunk_overlap_tokens)
    for path in paths:
        reader = record_format(path, fields)
        with open_bytes(path) as stream:
            for record in iterate_records(stream, is_quoted=False, max_bytes=settings.worker.max_line_bytes):
                document = reader.document(record)
                if document is not None:
                    yield from chunker.chunks(document)


def _words(analyser: MorphemeAnalyser, chunks: Sequence[Chunk]) -> Iterator[SparseVector]:
    for chunk in chunks:
        yield analyser.document_vector(chunk.document.title, chunk.text)


def _encode(settings: Settings, batches: Sequence[Sequence[Chunk]]) -> None:
    with Client(settings.encoder) as client, ThreadPoolExecutor(_CALLS_AT_ONCE) as callers:

        def encode(batch: Sequence[Chunk]) -> None:
            texts = [chunk.encoded_text for chunk in batch]
            _patiently(client.encode, texts, "document", is_bulk=True)

        for _ in callers.map(encode, batches):
            pass


def _upsert(
    settings: Settings, batches: Sequence[Sequence[Chunk]], words: Sequence[SparseVector], collection: str
) -> None:
    model = ModelDirectory.open(settings.encoder.model)
    rows = np.random.default_rng(1).standard_normal((_BATCH, model.dim)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    store = VectorStore(settings.qdrant)
    store.ensure_collection(collection, model.dim, model.name, model.fingerprint, {})
    for number, batch in enumerate(batches):
        of_batch = words[number * _BATCH : number * _BATCH + len(batch)]
        store.upsert_chunks(collection, batch, rows[: len(batch)], of_batch, wait=True)
    store.close()


if __name__ == "__main__":
    main()
