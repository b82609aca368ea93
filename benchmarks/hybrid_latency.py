"""How long a search takes in a large collection of the one-machine stack, through gRPC, query after query.

By meaning, by words and by both, with filters, alone and beside a job that indexes; what of it each part takes; and how
much of the exact search the vector index finds.

    python benchmarks/index_corpus.py ../shared/data/corpora/law_articles.jsonl.zst ... --data-dir D
    python benchmarks/hybrid_latency.py --data ../shared/data --data-dir D

Queries are real (see `real_queries`). They come in turn, and each mode gets the same. Filters are chosen among the
fields' values as those that keep nearest to 1/2, 1/10 and 1/100 of the chunks; a collection without such fields is
measured without.

The job indexes every 5th statute into another collection and is cancelled at the end.
Prints JSON. `others_cores` are the cores that programs other than this benchmark and its stack kept busy meanwhile:
where there are any, latencies are upper bounds; `cpu_ms` is the processor time that service and store take a query.
"""

import argparse
import asyncio
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from index_stack import copy_share, running_stack
from numpy.typing import NDArray
from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc
from real_queries import Query, real_queries
from recall import found_share
from report import print_report

from encoder_service.search.chunk_store import HNSW_EF, NEAR, ChunkStore
from kosearch.client import Client, SearchOptions
from kosearch.errors import KosearchError
from kosearch.jobs import SourceFields
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.korean.reading import QueryReader
from kosearch.logs import configure_logs
from kosearch.qdrant_connection import connect, connect_async
from kosearch.search_client import SearchMode
from kosearch.settings import QdrantSettings, Settings
from kosearch.stack import read_stack
from kosearch.vector_store import LEXICAL_VECTOR, VectorStore, field_path
from protos.kosearch.v1 import search_pb2

_TOP_K = 10
# Candidates that a hybrid search asks of each leg.
_CANDIDATES = 100
# Of the vector index, the service's among them.
_EFS = (256, HNSW_EF, 768, 1024)
_WARM_UP = 30
_SHARES = {"half": 1 / 2, "tenth": 1 / 10, "hundredth": 1 / 100}
_FILTERED_FIELDS = ("source", "kind", "court", "category")
_JOB_EVERY = 5
_JOB_STARTS_S = 60.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """A filter: what keeps about a share of the chunks."""

    field: str
    value: str
    share: float

    @property
    def condition(self) -> search_pb2.Condition:
        """Return it as a client sends it."""
        return search_pb2.Condition(field=self.field, keyword=self.value)

    @property
    def for_qdrant(self) -> models.Filter:
        """Return it as Qdrant gets it."""
        test = models.FieldCondition(key=field_path(self.field), match=models.MatchValue(value=self.value))
        return models.Filter(must=[test])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with corpora/ and retrieval/")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--collection", default="benchmark")
    parser.add_argument("--data-dir", type=Path, required=True, help="of the stack that has the collection")
    given = parser.parse_args()
    configure_logs("benchmark", "WARNING", "console")
    with ExitStack() as stack:
        data_dir = given.data_dir.resolve()
        settings = stack.enter_context(running_stack(data_dir))
        client = stack.enter_context(Client(settings.encoder))
        queries = real_queries(client, given.data, given.queries + _WARM_UP, given.seed)
        store = stack.enter_context(closing(VectorStore(settings.qdrant)))
        watch = _Watch(data_dir)
        chunks = store.count(given.collection)
        filters = _choose_filters(client, given.collection, chunks)
        figures: dict[str, Any] = {"chunks": chunks}
        figures |= _measure(settings, client, given.collection, queries, filters, watch)
        figures["beside_a_job"] = _measure_beside_job(client, given.collection, queries, filters, watch, given.data)
        figures["beside_a_job_p99_factors"] = {
            name: round(beside["p99_ms"] / figures["latency"][name]["p99_ms"], 2)
            for name, beside in figures["beside_a_job"]["latency"].items()
        }
        figures["most_mib"] = watch.most_mib
    shape = {name: getattr(given, name) for name in ("collection", "queries", "seed")}
    print_report("hybrid_latency", {**shape, "precision": settings.encoder.precision, **figures})


# Filters


def _choose_filters(client: Client, collection: str, chunks: int) -> dict[str, Chosen]:
    counts: Counter[tuple[str, str]] = Counter()
    for field in _FILTERED_FIELDS:
        with suppress(KosearchError):  # not every collection has every field
            counts |= Counter(
                {(field, str(each.value)): each.chunks for each in client.count_values(collection, field, limit=1000)}
            )
    if not counts:
        return {}
    shares = {key: count / chunks for key, count in counts.items()}
    chosen = {
        name: min(shares, key=lambda key: abs(math.log(shares[key] / wanted))) for name, wanted in _SHARES.items()
    }
    return {name: Chosen(*key, round(shares[key], 4)) for name, key in chosen.items()}


# Figures


def _measure(
    settings: Settings,
    client: Client,
    collection: str,
    queries: Sequence[Query],
    filters: dict[str, Chosen],
    watch: "_Watch",
) -> dict[str, Any]:
    raw = _RawQdrant(settings.qdrant, collection)
    recall = _recall(raw, queries, filters)  # which also brings the collection into memory
    return {
        "filters": {name: {"field": f.field, "value": f.value, "share": f.share} for name, f in filters.items()},
        "query_characters_mean": round(float(np.mean([len(query.text) for query in queries])), 1),
        "query_terms_mean": round(float(np.mean([len(query.words) for query in queries])), 1),
        "recall": recall,
        "latency": _latencies(client, collection, queries, filters, watch),
        "parts": _parts(settings, client, raw, queries, filters),
        "memory_mib": watch.memory_mib("store"),
        "disk_mib": _disk_mib(watch.data_dir / "store"),
    }


def _searches(filters: dict[str, Chosen]) -> dict[str, tuple[SearchMode, Chosen | None]]:
    """Return what is measured, by name: the mode and the filter."""
    modes: tuple[SearchMode, ...] = ("dense", "lexical", "hybrid")
    return {mode: (mode, None) for mode in modes} | {f"hybrid, {name}": ("hybrid", f) for name, f in filters.items()}


def _latencies(
    client: Client, collection: str, queries: Sequence[Query], filters: dict[str, Chosen], watch: "_Watch"
) -> dict[str, dict[str, float]]:
    searches = {name: _asker(client, collection, *search) for name, search in _searches(filters).items()}
    searches["hybrid, reranked"] = _asker(client, collection, "hybrid", None, reranks=True)
    figures = {}
    for name, search in searches.items():
        for query in queries[:_WARM_UP]:
            search(query)
        with watch:
            took_ms = [_timed_ms(search, query) for query in queries[_WARM_UP:]]
        figures[name] = {
            **_percentiles(took_ms),
            "cpu_ms": {part: round(1e3 * watch.cpu_s[part] / len(took_ms), 2) for part in ("encoder", "store")},
            "others_cores": watch.others_cores,
        }
        _tell(f"{name}: {figures[name]}")
    return figures


def _asker(
    client: Client, collection: str, mode: SearchMode, chosen: Chosen | None, *, reranks: bool = False
) -> Callable[[Query], Any]:
    conditions = [chosen.condition] if chosen else []
    options = SearchOptions(mode=mode, rerank=0 if reranks else None)
    return lambda query: client.search_page(query.text, collection, _TOP_K, conditions, options)


def _parts(
    settings: Settings, client: Client, raw: "_RawQdrant", queries: Sequence[Query], filters: dict[str, Chosen]
) -> dict[str, dict[str, float]]:
    """Time the pieces of a search by themselves, as the service does them, from this process."""
    kiwi = shared_kiwi()
    reader, analyser = QueryReader(kiwi), MorphemeAnalyser(kiwi)
    parts: dict[str, Callable[[Query], Any]] = {
        "read the query": lambda query: reader.read(query.text),
        "find its words": lambda query: analyser.query_vector(query.read.lexical_text, query.read.morphemes),
        "encode it, a call of the service": lambda query: client.encode([query.read.text], "query"),
    }
    figures = {name: _percentiles([_timed_ms(part, query) for query in queries]) for name, part in parts.items()}
    for name, (mode, chosen) in _searches(filters).items():
        ask = raw.asker(mode, chosen, _TOP_K if mode != "hybrid" else _CANDIDATES)
        took = [(*_timed(ask, query),) for query in queries]
        figures[f"Qdrant, {name}: round trip"] = _percentiles([ms for ms, _ in took])
        figures[f"Qdrant, {name}: inside the store"] = _percentiles([answer.time * 1e3 for _, answer in took])
    figures |= asyncio.run(_store_parts(settings.qdrant, raw.collection, queries))
    return figures


async def _store_parts(
    settings: QdrantSettings, collection: str, queries: Sequence[Query]
) -> dict[str, dict[str, float]]:
    """Time what the service does with Qdrant, its own conversions included."""
    qdrant = connect_async(settings)
    store = ChunkStore(qdrant, settings)
    finding, fetching = [], []
    for query in queries:
        began_s = time.perf_counter()
        legs = (
            store.find_near(collection, query.embedding, None, _CANDIDATES, with_documents=False),
            store.find_by_words(collection, query.words, None, _CANDIDATES, with_documents=False),
        )
        found, _ = await asyncio.gather(*legs)
        finding.append((time.perf_counter() - began_s) * 1e3)
        began_s = time.perf_counter()
        await store.fetch(collection, list(found.scores)[:_TOP_K])
        fetching.append((time.perf_counter() - began_s) * 1e3)
    await qdrant.close()
    return {"find both legs, as the service": _percentiles(finding), "fetch 10 chunks": _percentiles(fetching)}


def _recall(raw: "_RawQdrant", queries: Sequence[Query], filters: dict[str, Chosen]) -> dict[str, Any]:
    """Compare the index with the exact search: the first ten, and the candidates that a hybrid search asks for."""
    figures: dict[str, Any] = {}
    for name, chosen in {"no filter": None, **filters}.items():
        truth = [raw.scores(query, "dense", chosen, exact=True, limit=_CANDIDATES) for query in queries]
        first = [scores[:_TOP_K] for scores in truth]
        figures[name] = {}
        for ef in _EFS:
            tens = [raw.scores(query, "dense", chosen, ef=ef) for query in queries]
            hundreds = [raw.scores(query, "dense", chosen, ef=ef, limit=_CANDIDATES) for query in queries]
            figures[name][f"ef_{ef}"] = {
                "recall_at_10": found_share(tens, first),
                "recall_at_100": found_share(hundreds, truth),
            }
        _tell(f"recall, {name}: {figures[name]}")
    some = queries[:50]
    # By scores: equal ones may stand in any order.
    found, exact = ([raw.scores(query, "lexical", exact=each) for query in some] for each in (False, True))
    figures["lexical_is_exact"] = all(np.allclose(a, b) for a, b in zip(found, exact, strict=True))
    return figures


class _RawQdrant:
    """Asks the store by its own protocol, so that its own times can be read."""

    def __init__(self, settings: QdrantSettings, collection: str) -> None:
        self.collection = collection
        self._client = connect(settings)

    def asker(
        self, mode: SearchMode, chosen: Chosen | None, limit: int, *, exact: bool = False, ef: int = HNSW_EF
    ) -> Callable[[Query], pb.QueryBatchResponse]:
        """Return what asks for one or both legs of a query in one request; the service asks for each by itself."""
        shared: dict[str, Any] = {"collection_name": self.collection, "limit": limit}
        indexed = RestToGrpc.convert_search_params(NEAR.model_copy(update={"hnsw_ef": ef}))
        params = pb.SearchParams(exact=True) if exact else indexed
        lexical_params = pb.SearchParams(exact=True) if exact else None
        if chosen:
            shared["filter"] = RestToGrpc.convert_filter(chosen.for_qdrant)

        def ask(query: Query) -> pb.QueryBatchResponse:
            asked = []
            if mode != "lexical":
                dense = pb.VectorInput(dense=pb.DenseVector(data=query.embedding))
                asked.append(pb.QueryPoints(query=pb.Query(nearest=dense), params=params, **shared))
            if mode != "dense":
                words = pb.SparseVector(indices=query.words.indices, values=query.words.values)
                near = pb.Query(nearest=pb.VectorInput(sparse=words))
                asked.append(pb.QueryPoints(query=near, using=LEXICAL_VECTOR, params=lexical_params, **shared))
            request = pb.QueryBatchPoints(collection_name=self.collection, query_points=asked)
            answer: pb.QueryBatchResponse = self._client.grpc_points.QueryBatch(request, timeout=60)
            return answer

        return ask

    def scores(
        self,
        query: Query,
        mode: SearchMode,
        chosen: Chosen | None = None,
        *,
        exact: bool = False,
        ef: int = HNSW_EF,
        limit: int = _TOP_K,
    ) -> NDArray[np.float32]:
        """Return the scores of one leg, falling, shape (limit,)."""
        hits = self.asker(mode, chosen, limit, exact=exact, ef=ef)(query).result[0].result
        return np.array([hit.score for hit in hits], np.float32)


def _measure_beside_job(
    client: Client,
    collection: str,
    queries: Sequence[Query],
    filters: dict[str, Chosen],
    watch: "_Watch",
    data: Path,
) -> dict[str, Any]:
    source = watch.data_dir / "job.jsonl"
    documents = copy_share(data / "corpora" / "law_articles.jsonl.zst", source, _JOB_EVERY)
    job_id = client.submit_job(f"job-{int(time.time())}", [source], SourceFields())
    progress = _Progress(client, job_id)
    progress.wait_for_chunks(_JOB_STARTS_S)
    began_s, before = time.perf_counter(), progress.chunks
    latency = _latencies(client, collection, queries, filters, watch)
    took_s, written = time.perf_counter() - began_s, progress.chunks - before
    was_running = progress.is_running
    client.cancel_job(job_id)
    progress.join()
    return {
        "documents": documents,
        "was_running_at_the_end": was_running,
        "chunks_indexed_per_s": round(written / took_s, 1),
        "latency": latency,
    }


class _Progress:
    """Follows a job in a thread."""

    def __init__(self, client: Client, job_id: str) -> None:
        self.chunks = 0
        self.is_running = True
        self._thread = threading.Thread(target=self._run, args=(client, job_id), daemon=True)
        self._thread.start()

    def wait_for_chunks(self, limit_s: float) -> None:
        """Return when the first chunks are stored."""
        began_s = time.monotonic()
        while not self.chunks and self.is_running and time.monotonic() - began_s < limit_s:
            time.sleep(0.2)

    def join(self) -> None:
        """Wait for the job's end."""
        self._thread.join()

    def _run(self, client: Client, job_id: str) -> None:
        for progress in client.watch_job(job_id):
            self.chunks = progress.chunks_indexed
        self.is_running = False


class _Watch:
    """What the stack's processes take while a block runs: processor time by part, and what others take beside it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.cpu_s: dict[str, float] = {}
        self.others_cores = 0.0
        self.most_mib: dict[str, int] = {}

    def __enter__(self) -> "_Watch":
        self._before, self._busy_s, self._began_s = self._times(), _busy_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        took_s, after = time.perf_counter() - self._began_s, self._times()
        self.cpu_s = {name: seconds - self._before.get(name, 0.0) for name, seconds in after.items()}
        others_s = _busy_s() - self._busy_s - sum(self.cpu_s.values())
        self.others_cores = round(max(0.0, others_s / took_s), 2)

    def memory_mib(self, part: str) -> dict[str, int]:
        """Return MiB of a part: its own, and mapped files, which the system takes back when others need memory."""
        process = next(process for name, process in self._processes() if name == part)
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        told = dict(line.split(":", 1) for line in status.splitlines())
        names = {"own": "RssAnon", "mapped": "RssFile", "all": "VmRSS"}
        return {name: int(told[key].split()[0]) >> 10 for name, key in names.items()}

    def _times(self) -> dict[str, float]:
        times: dict[str, float] = {}
        for name, process in [*self._processes(), ("benchmark", psutil.Process())]:
            try:
                used, size = process.cpu_times(), process.memory_info().rss >> 20
            except psutil.Error:
                continue
            times[name] = times.get(name, 0.0) + used.user + used.system
            self.most_mib[name] = max(self.most_mib.get(name, 0), size)
        return times

    def _processes(self) -> Iterator[tuple[str, psutil.Process]]:
        stack = read_stack(self.data_dir)
        for state in stack.processes if stack else ():
            process = psutil.Process(state.pid)
            yield state.name, process
            yield from ((f"{state.name}, children", child) for child in process.children(recursive=True))


def _busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


def _disk_mib(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) >> 20


def _timed(call: Callable[[Query], Any], query: Query) -> tuple[float, Any]:
    began_s = time.perf_counter()
    answer = call(query)
    return (time.perf_counter() - began_s) * 1e3, answer


def _timed_ms(call: Callable[[Query], Any], query: Query) -> float:
    return _timed(call, query)[0]


def _percentiles(took_ms: Sequence[float]) -> dict[str, Any]:
    return {
        **{f"p{percent}_ms": round(float(np.percentile(took_ms, percent)), 2) for percent in (50, 90, 99)},
        "max_ms": round(max(took_ms), 2),
    }


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
