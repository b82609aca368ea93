"""Queries as people write them, for benchmarks: of statutes, rulings and Wikipedia."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from indexer_worker.readers.byte_streams import open_bytes
from kosearch.client import Client
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.korean.reading import QueryReader, ReadQuery
from kosearch.sparse_vectors import SparseVector
from kosearch.text import clean, normalise

_TOPICS = ("topics.miracl-v1.0-ko-train.tsv", "topics.mrtydi-v1.1-ko.train.txt.gz")
_LONGEST_SENTENCE = 150


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was asked, as it was read, and what is looked for."""

    text: str
    read: ReadQuery
    embedding: NDArray[np.float32]
    words: SparseVector


def real_queries(client: Client, data: Path, count: int, seed: int) -> list[Query]:
    """Return queries that are no chunk of the corpora, drawn by the seed, a third of each kind in turn.

    Titles of articles with the law's name, sentences of rulings, questions of MIRACL and Mr.TyDi (training split).
    `data`: folder with corpora/ and retrieval/.
    """
    dice = np.random.default_rng(seed)
    each = -(-count // 3)
    laws, rulings = (_lines(data / "corpora" / f"{name}.jsonl.zst") for name in ("law_articles", "precedents"))
    titles = [_title(orjson.loads(line)) for line in _some(laws, each, dice)]
    sentences = [_sentence(orjson.loads(line), dice) for line in _some(rulings, each, dice)]
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


def _lines(path: Path) -> list[bytes]:
    with open_bytes(path) as stream:
        return list(stream)


def _some(items: Sequence[Any], count: int, dice: np.random.Generator) -> list[Any]:
    return [items[place] for place in dice.permutation(len(items))[:count]]


def _title(article: dict[str, Any]) -> str:
    return f"{article['law']} {article['title']}"


def _sentence(ruling: dict[str, Any], dice: np.random.Generator) -> str:
    """Return a sentence of the holding, or the beginning of a long one."""
    text = clean(ruling["holding"] or ruling["issue"] or ruling["title"])
    sentences = [each for each in text.replace("다. ", "다.\n").splitlines() if len(each) >= 15] or [text]
    return str(dice.choice(sentences))[:_LONGEST_SENTENCE]


def _topics(path: Path) -> list[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return list(dict.fromkeys(line.split("\t", 1)[1] for line in content.decode().splitlines()))
