"""Queries with their relevant documents: KorQuAD v1, and the TREC topics and judgements of MIRACL-ko and Mr.TyDi-ko."""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson

from trainer.errors import TrainingDataError

# name -> (topics, judgements) inside the folder `retrieval/` of the data folder
_DEV_SETS = {
    "MIRACL-ko dev": ("topics.miracl-v1.0-ko-dev.tsv", "qrels.miracl-v1.0-ko-dev.tsv"),
    "Mr.TyDi-ko dev": ("topics.mrtydi-v1.1-ko.dev.txt.gz", "qrels.mrtydi-v1.1-ko.dev.txt"),
}


@dataclass(frozen=True, slots=True)
class QuerySet:
    """Queries that have at least one relevant document each.

    queries: query id -> text
    relevant: query id -> ids of its relevant documents
    """

    name: str
    queries: Mapping[str, str]
    relevant: Mapping[str, frozenset[str]]


def open_domain_dev_sets(folder: Path) -> list[QuerySet]:
    """MIRACL-ko dev and, when it is there, Mr.TyDi-ko dev, both with whole Wikipedia pages as documents.

    Raises TrainingDataError when `folder` is no data folder that has MIRACL-ko dev.
    """
    miracl, *others = _DEV_SETS
    retrieval = folder / "retrieval"
    names = [miracl, *(name for name in others if (retrieval / _DEV_SETS[name][0]).is_file())]
    return [page_query_set(name, *(retrieval / file for file in _DEV_SETS[name])) for name in names]


def page_query_set(name: str, topics: Path, judgements: Path) -> QuerySet:
    """Queries with relevant *pages*: what stands before `#` in a passage's id. Queries without one are left out."""
    relevant: defaultdict[str, set[str]] = defaultdict(set)
    for query_id, passage_id in read_judgements(judgements):
        relevant[query_id].add(passage_id.partition("#")[0])
    queries = {query_id: text for query_id, text in read_topics(topics) if query_id in relevant}
    if not queries:
        raise TrainingDataError(topics, f"no query has a relevant passage in {judgements}")
    return QuerySet(name, queries, {query_id: frozenset(relevant[query_id]) for query_id in queries})


def read_topics(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (query id, query) of a TSV file without header, gzipped when its name ends in `.gz`."""
    for line_number, line in _lines(path):
        query_id, separator, query = line.partition("\t")
        if not separator:
            raise TrainingDataError(path, "expected 2 tab-separated columns, found 1", line_number)
        yield query_id, query


def read_judgements(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (query id, document id) for each positive line of a TREC file: query, iteration, document, relevance."""
    for line_number, line in _lines(path):
        columns = line.split()
        if len(columns) != 4:
            raise TrainingDataError(path, f"expected 4 columns, found {len(columns)}", line_number)
        query_id, _, document_id, relevance = columns
        if relevance != "0":
            yield query_id, document_id


def read_korquad(path: Path) -> tuple[QuerySet, list[str]]:
    """Questions, and the distinct paragraphs of the file: a paragraph's id is its place in the list.

    Three of the 964 paragraphs of KorQuAD dev are copies of others, and no encoder can tell copies apart.
    """
    try:
        articles = orjson.loads(path.read_bytes())["data"]
        entries = [paragraph for article in articles for paragraph in article["paragraphs"]]
        places = {context: str(place) for place, context in enumerate(dict.fromkeys(e["context"] for e in entries))}
        asked = [(question["question"], places[entry["context"]]) for entry in entries for question in entry["qas"]]
    except FileNotFoundError as error:
        raise TrainingDataError(path, "file is missing") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise TrainingDataError(path, f"not a KorQuAD v1 file, or truncated: {error}") from error
    queries = {str(number): question for number, (question, _) in enumerate(asked)}
    relevant = {str(number): frozenset([paragraph]) for number, (_, paragraph) in enumerate(asked)}
    return QuerySet("KorQuAD dev", queries, relevant), list(places)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise TrainingDataError(path, "file is missing")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for line_number, line in enumerate(lines, start=1):
                if line.strip():
                    yield line_number, line.rstrip("\n")
    except (UnicodeDecodeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TrainingDataError(path, f"truncated or damaged: {error}") from error
