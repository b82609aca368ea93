"""How long a search takes in a large collection of the one-machine stack, through gRPC, query after query.

By meaning, by words and by both, with filters, alone and beside a job that indexes; what of it each part takes; and how
much of the exact search the vector index finds.

    python benchmarks/hybrid_latency.py --data ../shared/data [--chunks 500000] [--base 20000] [--data-dir D]
    python benchmarks/hybrid_latency.py --data ../shared/data --collection benchmark --data-dir D

The second one measures a collection that is there, of whatever `index_corpus.py` has indexed into D, and makes none up.

To encode and analyse 500,000 chunks takes two cores hours, so that the collection is made of fewer. This is the limit
of what is measured here:

- `--base` chunks are real: statutes (half of them), precedents and Wikipedia (a quarter each), drawn over the whole
  corpora, cut by the worker's chunker, encoded by the stack's encoder, analysed by the worker's analyser. They are the
  first points of the collection; all others are made of them, so many times over as it takes.
- The embedding of a made chunk is that of a real one and Gaussian noise with the covariance of its 16 nearest real
  neighbours about it, `noise` times as large, of length 1 again: it leaves the row along the directions in which real
  ones lie about it. (Noise in all directions is wrong: of 4,000 points made so, an index finds 53 to 79 % where it
  finds 89 % of 4,000 real ones, both with 10 candidates; with this noise 87 to 91 %.) `noise` is chosen so that making
  up is like sampling: of the base one in `chunks / base` is kept and multiplied to the size of the base, and that noise
  is taken with which two things differ least from the base itself: the cosines between the queries and their 10th,
  100th and 1000th neighbours, and those between points and their 1st, 10th and 100th, of which the first would be 1
  with copies. The report has both, and the cosines in the collection.
- The words of a made chunk are about half of those of one real chunk and half of those of another one of the same
  corpus, with their weights, so that a word is in the same share of the chunks as in the base. What a real corpus has
  and this one lacks are words that are in one or two chunks of the 500,000: none is in fewer than about
  `chunks / base` of them. Lists of rare words are longer here than in a real collection.
- Text, title and fields of a made chunk are those of the real one that its embedding comes from; its document is
  another one. Filters therefore go with the meaning, as they do in practice: a question about an emperor finds little
  among court rules.

Queries are real and not from the base: a third titles with the law's name, a third sentences of precedents, a third
questions of MIRACL and Mr.TyDi (training split). They come in turn, and each mode gets the same. Filters are chosen
among the fields' values as those that keep nearest to 1/2, 1/10 and 1/100 of the chunks.

The job indexes every 5th statute into another collection and is cancelled at the end. `--data-dir` keeps everything,
so that a run that was stopped goes on: at the point where filling stopped, or at once with a built index.
Prints JSON. `others_cores` are the cores that programs other than this benchmark and its stack kept busy meanwhile:
where there are any, latencies are upper bounds; `cpu_ms` is the processor time that service and store take a query.
"""

import argparse
import asyncio
import gzip
import io
import itertools
import math
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import zstandard
from index_stack import copy_share, running_stack
from numpy.typing import NDArray
from qdrant_client import grpc as pb
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc
from report import print_report

from encoder_service.search.chunk_store import HNSW_EF, ChunkStore
from indexer_worker.chunking import Chunker
from kosearch.client import Client, SearchOptions
from kosearch.documents import Chunk, Document
from kosearch.errors import KosearchError
from kosearch.field_kinds import FieldKinds
from kosearch.jobs import SourceFields
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.korean.reading import QueryReader, ReadQuery
from kosearch.logs import configure_logs
from kosearch.model_directory import ModelDirectory
from kosearch.qdrant_connection import connect, connect_async
from kosearch.search_client import SearchMode
from kosearch.settings import QdrantSettings, Settings
from kosearch.sparse_vectors import SparseVector
from kosearch.stack import read_stack
from kosearch.text import clean, normalise
from kosearch.vector_store import LEXICAL_VECTOR, VectorStore, field_path
from protos.kosearch.v1 import search_pb2

_COLLECTION = "hybrid"
_TOP_K = 10
# Candidates that a hybrid search asks of each leg.
_CANDIDATES = 100
# Of the vector index, the service's among them.
_EFS = (128, 256, HNSW_EF, 768)
_CALL_CHUNKS = 256
_MADE_AT_ONCE = 2048
_WARM_UP = 30
_SHARES = {"half": 1 / 2, "tenth": 1 / 10, "hundredth": 1 / 100}
_FILTERED_FIELDS = ("source", "kind", "court", "category")
_RANKS = (10, 100, 1000)
_POINT_RANKS = (1, 10, 100)
_NOISES = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_NEIGHBOURS = 16
# Cosines of one text differ by less from way to way.
_EQUAL = 1e-6
_JOB_EVERY = 5
_JOB_STARTS_S = 60.0
# Which documents of a corpus the base is made of; queries come from others.
_CORPORA = {
    "law": (("law_articles.jsonl.zst",), ("text",), 0.5),
    "precedent": (("precedents.jsonl.zst",), ("issue", "holding"), 0.25),
    "wiki": (("kowiki.jsonl.zst.part-00", "kowiki.jsonl.zst.part-01"), ("text",), 0.25),
}
_TOPICS = ("topics.miracl-v1.0-ko-train.tsv", "topics.mrtydi-v1.1-ko.train.txt.gz")


@dataclass(frozen=True, slots=True)
class Base:
    """The real chunks. rows: shape (len(chunks), dim), of length 1; corpora: for each chunk its place in _CORPORA."""

    chunks: list[Chunk]
    rows: NDArray[np.float32]
    words: list[SparseVector]
    corpora: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was asked, as it was read, and what is looked for."""

    text: str
    read: ReadQuery
    embedding: NDArray[np.float32]
    words: SparseVector


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
    parser.add_argument("--chunks", type=int, default=500_000)
    parser.add_argument("--base", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--collection", help="one that is there (default: make one of --chunks)")
    parser.add_argument("--data-dir", type=Path, help="keep everything here (default: a folder that is removed)")
    given = parser.parse_args()
    configure_logs("benchmark", "WARNING", "console")
    with ExitStack() as stack:
        data_dir = (given.data_dir or Path(stack.enter_context(tempfile.TemporaryDirectory()))).resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        settings = stack.enter_context(running_stack(data_dir))
        client = stack.enter_context(Client(settings.encoder))
        queries = _queries(client, given.data, given.queries + _WARM_UP, given.seed)
        store = stack.enter_context(closing(VectorStore(settings.qdrant)))
        watch = _Watch(data_dir)
        figures: dict[str, Any] = {}
        if given.collection:
            filters = _choose_filters_of(client, given.collection, store.count(given.collection))
        else:
            base = _base(client, settings, given.data, given.base, data_dir)
            noise, figures["calibration"] = _choose_noise(
                base.rows, queries, max(2, given.chunks // given.base), given.seed
            )
            figures["fill"] = _fill(store, base, noise, given.chunks, given.seed, client, watch)
            filters = _choose_filters(base)
        collection = given.collection or _COLLECTION
        figures["chunks_there"] = store.count(collection)
        figures |= _measure(settings, client, collection, queries, filters, watch)
        figures["beside_a_job"] = _measure_beside_job(client, collection, queries, filters, watch, given.data)
        figures["beside_a_job_p99_factors"] = {
            name: round(beside["p99_ms"] / figures["latency"][name]["p99_ms"], 2)
            for name, beside in figures["beside_a_job"]["latency"].items()
        }
        figures["most_mib"] = watch.most_mib
    shape = {name: getattr(given, name) for name in ("collection", "chunks", "base", "seed")}
    print_report(
        "hybrid_latency", {**shape, "queries": given.queries, "precision": settings.encoder.precision, **figures}
    )


# The collection


def _base(client: Client, settings: Settings, data: Path, wanted: int, data_dir: Path) -> Base:
    """Return the real chunks; encoded and analysed once for a data directory."""
    drawn = list(_drawn_chunks(data / "corpora", settings, wanted))
    chunks = [chunk for chunk, _ in drawn]
    kept = data_dir / f"base-{wanted}.npz"
    if not kept.exists():
        rows, words = _encoded(client, chunks)
        # The words one behind the other, with where each chunk's end.
        np.savez(
            kept,
            rows=rows,
            ends=np.cumsum([len(each) for each in words]),
            indices=np.concatenate([each.indices for each in words]),
            values=np.concatenate([each.values for each in words]),
        )
    with np.load(kept) as content:
        ends = content["ends"][:-1]
        pairs = zip(np.split(content["indices"], ends), np.split(content["values"], ends), strict=True)
        words = [SparseVector(indices, values) for indices, values in pairs]
        return Base(chunks, content["rows"], words, np.array([corpus for _, corpus in drawn]))


def _encoded(client: Client, chunks: Sequence[Chunk]) -> tuple[NDArray[np.float32], list[SparseVector]]:
    rows: list[NDArray[np.float32]] = []
    words: list[SparseVector] = []
    analyser = MorphemeAnalyser(shared_kiwi())
    for start in range(0, len(chunks), _CALL_CHUNKS):
        some = chunks[start : start + _CALL_CHUNKS]
        rows.append(client.encode([chunk.encoded_text for chunk in some], "document", is_bulk=True).embeddings)
        words += [analyser.document_vector(chunk.document.title, chunk.text) for chunk in some]
        if start // _CALL_CHUNKS % 10 == 0:
            _tell(f"encoded and analysed {start + len(some):,} of {len(chunks):,}")
    return np.concatenate(rows), words


def _drawn_chunks(corpora: Path, settings: Settings, wanted: int) -> Iterator[tuple[Chunk, int]]:
    """Yield chunks of documents that lie over the whole of each corpus, and which corpus they are of."""
    model = ModelDirectory.open(settings.encoder.model)
    chunker = Chunker(model.path, model.max_tokens, settings.worker.chunk_overlap_tokens)
    for place, (name, (_, _, share)) in enumerate(_CORPORA.items()):
        count = round(wanted * share)
        lines = _lines(corpora, name)
        # Half as many documents as chunks are enough, and a little more.
        step = max(1, len(lines) // count)
        documents = (_document(name, line) for line in lines[::step])
        chunks = (chunk for document in documents if document.text for chunk in chunker.chunks(document))
        yield from ((chunk, place) for chunk in itertools.islice(chunks, count))


def _lines(corpora: Path, name: str) -> list[bytes]:
    content = io.BytesIO(b"".join((corpora / part).read_bytes() for part in _CORPORA[name][0]))
    with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(content) as stream:
        return stream.read().splitlines()


def _document(corpus: str, line: bytes) -> Document:
    value = orjson.loads(line)
    texts = _CORPORA[corpus][1]
    fields = {name: each for name, each in value.items() if name not in ("id", "title", *texts) and each}
    text = "\n\n".join(filter(None, (clean(value.get(name) or "") for name in texts)))
    return Document(f"{corpus}:{value['id']}", text, clean(value.get("title") or ""), {"source": corpus, **fields})


def _choose_noise(
    rows: NDArray[np.float32], queries: Sequence[Query], times: int, seed: int
) -> tuple[float, dict[str, Any]]:
    """Return the share of noise with which a sample of the base, multiplied, is most like the base."""
    dice = np.random.default_rng(seed)
    embeddings = np.stack([query.embedding for query in queries])
    wanted = _neighbourhood(embeddings, rows, dice)
    sample = rows[dice.permutation(len(rows))[: max(_NEIGHBOURS + 1, len(rows) // times)]]
    mixer, places = _Mixer(sample), np.arange(len(sample))
    found: dict[float, list[float]] = {}
    for noise in _NOISES:
        made = np.concatenate([sample, *(mixer.mixed(places, noise, dice) for _ in range(times - 1))])
        found[noise] = _neighbourhood(embeddings, made[: len(rows)], dice)
    best = min(found, key=lambda noise: sum((a - b) ** 2 for a, b in zip(found[noise], wanted, strict=True)))
    return best, {
        "noise": best,
        "query_ranks": _RANKS,
        "point_ranks": _POINT_RANKS,
        "cosines_in_base": _rounded(wanted),
        "cosines_in_multiplied_sample": {str(noise): _rounded(each) for noise, each in found.items()},
        "cosine_of_a_made_row_to_its_real_one": round(
            float(np.mean(np.sum(mixer.mixed(places, best, dice) * sample, axis=1))), 3
        ),
    }


def _neighbourhood(
    embeddings: NDArray[np.float32], rows: NDArray[np.float32], dice: np.random.Generator
) -> list[float]:
    """Return the cosines of queries and their neighbours at _RANKS, then of points and theirs at _POINT_RANKS."""
    points = rows[dice.permutation(len(rows))[: len(embeddings)]]
    # The first neighbour of a point is itself.
    theirs = _cosines_at(points @ rows.T, [rank + 1 for rank in _POINT_RANKS])
    return _cosines_at(embeddings @ rows.T, _RANKS) + theirs


def _cosines_at(cosines: NDArray[np.float32], ranks: Sequence[int]) -> list[float]:
    """Return the mean over queries, shape (queries, points), of the cosines at these ranks."""
    falling = -np.sort(-cosines, axis=1)
    return [float(falling[:, rank - 1].mean()) for rank in ranks]


class _Mixer:
    """Makes rows like real ones, shape (rows, dim)."""

    def __init__(self, rows: NDArray[np.float32]) -> None:
        self._rows = rows
        # A row's first neighbour is itself.
        self._near = np.concatenate(
            [np.argsort(-(some @ rows.T), axis=1)[:, 1 : _NEIGHBOURS + 1] for some in np.array_split(rows, 64)]
        )

    def mixed(self, places: NDArray[np.int64], noise: float, dice: np.random.Generator) -> NDArray[np.float32]:
        """Return the rows of these places with noise, shape (len(places), dim), of length 1."""
        rows, near = self._rows[places], self._rows[self._near[places]]
        weights = dice.standard_normal(near.shape[:2], np.float32) * np.float32(noise / math.sqrt(near.shape[1]))
        # The sum over the neighbours of weight times (neighbour - row), shape (len(places), dim).
        made = rows + np.einsum("pn,pnd->pd", weights, near) - weights.sum(axis=1, keepdims=True) * rows
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return np.asarray(made, np.float32)


def _fill(
    store: VectorStore, base: Base, noise: float, wanted: int, seed: int, client: Client, watch: "_Watch"
) -> dict[str, Any]:
    """Write what is missing of the collection and build its index."""
    info = client.info()
    kinds = FieldKinds()
    for corpus in range(len(_CORPORA)):
        first = int(np.argmax(base.corpora == corpus))
        for chunk in base.chunks[first : first + 200]:
            kinds.add(chunk.document)
    store.ensure_collection(_COLLECTION, info.dim, info.name, info.fingerprint, kinds.types())
    there = store.count(_COLLECTION)
    figures: dict[str, Any] = {}
    if there < wanted:
        store.defer_index_building(_COLLECTION)
        began_s = time.perf_counter()
        mixer = _Mixer(base.rows)
        # What was written before a stop were the first ones, in whole batches or not.
        for start in range(there // _MADE_AT_ONCE * _MADE_AT_ONCE, wanted, _MADE_AT_ONCE):
            made = _made(base, mixer, noise, range(start, min(wanted, start + _MADE_AT_ONCE)), seed)
            store.upsert_chunks(_COLLECTION, *made, wait=True)
            if start // _MADE_AT_ONCE % 20 == 0:
                _tell(f"written {start:,} of {wanted:,}")
        figures["points_per_s"] = round((wanted - there) / (time.perf_counter() - began_s))
    began_s = time.perf_counter()
    with watch:
        store.build_index(_COLLECTION, lambda: None)
    figures["index_built_s"] = round(time.perf_counter() - began_s, 1)
    figures["field_types"] = kinds.types()
    return figures


def _made(
    base: Base, mixer: _Mixer, noise: float, places: range, seed: int
) -> tuple[list[Chunk], NDArray[np.float32], list[SparseVector]]:
    """Return the chunks of these places of the collection, which depend on nothing else."""
    dice = np.random.default_rng((seed, places.start))
    size = len(base.chunks)
    real = np.array([place % size for place in places])
    is_made = np.array([place >= size for place in places])
    rows = np.where(is_made[:, None], mixer.mixed(real, noise, dice), base.rows[real])
    chunks, words = [], []
    documents: dict[str, Document] = {}
    of_corpus = [np.flatnonzero(base.corpora == corpus) for corpus in range(len(_CORPORA))]
    for place, origin in zip(places, real, strict=True):
        chunk, copy = base.chunks[origin], place // size
        name = f"{chunk.document.id}~{copy}"
        if name not in documents:
            documents[name] = Document(name, "", chunk.document.title, chunk.document.fields)
        chunks.append(Chunk(documents[name], chunk.index, chunk.text, ""))
        other = dice.choice(of_corpus[base.corpora[origin]])
        words.append(_half_each(base.words[origin], base.words[other], dice) if copy else base.words[origin])
    return chunks, rows, words


def _half_each(one: SparseVector, other: SparseVector, dice: np.random.Generator) -> SparseVector:
    mine, theirs = dice.random(len(one)) < 0.5, dice.random(len(other)) < 0.5
    indices = np.concatenate([one.indices[mine], other.indices[theirs]])
    indices, first = np.unique(indices, return_index=True)
    return SparseVector(indices, np.concatenate([one.values[mine], other.values[theirs]])[first])


def _choose_filters(base: Base) -> dict[str, Chosen]:
    return _nearest_to_shares(
        Counter(
            (field, value)
            for chunk in base.chunks
            for field in _FILTERED_FIELDS
            if isinstance(value := chunk.document.fields.get(field), str)
        ),
        len(base.chunks),
    )


def _choose_filters_of(client: Client, collection: str, chunks: int) -> dict[str, Chosen]:
    counts: Counter[tuple[str, str]] = Counter()
    for field in _FILTERED_FIELDS:
        with suppress(KosearchError):  # not every collection has every field
            counts |= Counter(
                {(field, str(each.value)): each.chunks for each in client.count_values(collection, field, limit=1000)}
            )
    return _nearest_to_shares(counts, chunks)


def _nearest_to_shares(counts: Counter[tuple[str, str]], chunks: int) -> dict[str, Chosen]:
    shares = {key: count / chunks for key, count in counts.items()}
    chosen = {
        name: min(shares, key=lambda key: abs(math.log(shares[key] / wanted))) for name, wanted in _SHARES.items()
    }
    return {name: Chosen(*key, round(shares[key], 4)) for name, key in chosen.items()}


# Queries


def _queries(client: Client, data: Path, count: int, seed: int) -> list[Query]:
    dice = np.random.default_rng(seed)
    each = -(-count // 3)
    laws, precedents = (_lines(data / "corpora", name) for name in ("law", "precedent"))
    titles = [_title(orjson.loads(line)) for line in _some(laws, each, dice)]
    sentences = [_sentence(orjson.loads(line), dice) for line in _some(precedents, each, dice)]
    questions = _some([topic for name in _TOPICS for topic in _topics(data / "retrieval" / name)], each, dice)
    in_turn = [text for three in zip(titles, sentences, questions, strict=True) for text in three][:count]
    kiwi = shared_kiwi()
    reader, analyser = QueryReader(kiwi), MorphemeAnalyser(kiwi)
    queries = []
    for text in map(normalise, in_turn):
        read = reader.read(text)
        embedding = client.encode([read.text], "query").embeddings[0]
        queries.append(Query(text, read, embedding, analyser.query_vector(read.lexical_text)))
    return queries


def _some(items: Sequence[Any], count: int, dice: np.random.Generator) -> list[Any]:
    return [items[place] for place in dice.permutation(len(items))[:count]]


def _title(article: dict[str, Any]) -> str:
    return f"{article['law']} {article['title']}"


def _sentence(precedent: dict[str, Any], dice: np.random.Generator) -> str:
    """Return a sentence of the holding, at most 150 characters of it."""
    text = clean(precedent["holding"] or precedent["issue"] or precedent["title"])
    sentences = [each for each in text.replace("다. ", "다.\n").splitlines() if len(each) >= 15] or [text]
    return str(dice.choice(sentences))[:150]


def _topics(path: Path) -> list[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(dict.fromkeys(line.split("\t", 1)[1] for line in content.decode().splitlines()))


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
        "find its words": lambda query: analyser.query_vector(query.read.lexical_text),
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
                "recall_at_10": _found_share(tens, first),
                "recall_at_100": _found_share(hundreds, truth),
            }
        _tell(f"recall, {name}: {figures[name]}")
    some = queries[:50]
    # By scores: equal ones may stand in any order.
    found, exact = ([raw.scores(query, "lexical", exact=each) for query in some] for each in (False, True))
    figures["lexical_is_exact"] = all(np.allclose(a, b) for a, b in zip(found, exact, strict=True))
    cosines = np.stack([raw.scores(query, "dense", exact=True, limit=_RANKS[-1]) for query in some])
    figures["cosines_at"] = dict(zip(map(str, _RANKS), _rounded(_cosines_at(cosines, _RANKS)), strict=True))
    return figures


def _found_share(found: Sequence[NDArray[np.float32]], truth: Sequence[NDArray[np.float32]]) -> float:
    """Return the share of hits that are as near as the last one should be: of equal texts any may be found."""
    shares = [
        np.sum(ours >= theirs[-1] - _EQUAL) / len(theirs)
        for ours, theirs in zip(found, truth, strict=True)
        if len(theirs)
    ]
    return round(float(np.mean(shares)), 4)


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
        params = pb.SearchParams(exact=True) if exact else pb.SearchParams(hnsw_ef=ef)
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
