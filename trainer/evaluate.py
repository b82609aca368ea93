"""Measure a model: the eight STS metrics, and dense retrieval on KorQuAD dev."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from kosearch.errors import ModelError
from kosearch.sts_metrics import StsMetrics, StsPair, read_sts_pairs, sts_metrics
from kosearch.text import normalise
from trainer.errors import TrainingDataError


def encode(model: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
    """Encode normalised texts in float32. Returns shape (len(texts), dim), in the order given."""
    embeddings = model.encode([normalise(text) for text in texts], batch_size=128, show_progress_bar=False)
    return np.asarray(embeddings, dtype=np.float32)


def evaluate_sts(model: SentenceTransformer, pairs: list[StsPair]) -> StsMetrics:
    """The eight metrics of a model on STS pairs."""
    gold = np.array([pair.score for pair in pairs])
    return sts_metrics(encode(model, [p.first for p in pairs]), encode(model, [p.second for p in pairs]), gold)


class DevEvaluator(SentenceEvaluator):
    """Cosine Spearman on KorSTS dev, for the trainer's evaluations and its choice of the best checkpoint."""

    def __init__(self, pairs: list[StsPair]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._pairs = pairs
        self.primary_metric = "cosine_spearman"

    @classmethod
    def from_folder(cls, folder: Path) -> DevEvaluator:
        """Read KorSTS dev from a data folder."""
        return cls(read_sts_pairs(folder / "kornlu" / "sts-dev.tsv"))

    def __call__(  # type: ignore[override]  # the trainer calls it with the SentenceTransformer that it trains
        self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, Any]:
        """Returns {"cosine_spearman": in [-1, 1]}."""
        return {"cosine_spearman": evaluate_sts(model, self._pairs).cosine_spearman}


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """Dense retrieval with one relevant document a query, each figure a mean over queries in [0, 1]."""

    ndcg_at_10: float
    recall_at_1: float
    recall_at_10: float
    query_count: int
    document_count: int


def evaluate_korquad(model: SentenceTransformer, path: Path) -> RetrievalMetrics:
    """KorQuAD v1 as retrieval: each question must find its own paragraph among all paragraphs of the file."""
    paragraphs, questions, relevant = read_korquad(path)
    return rank_metrics(encode(model, questions), encode(model, paragraphs), np.array(relevant))


def read_korquad(path: Path) -> tuple[list[str], list[str], list[int]]:
    """Paragraphs, questions, and for each question the index of its paragraph."""
    try:
        articles = orjson.loads(path.read_bytes())["data"]
        entries = [paragraph for article in articles for paragraph in article["paragraphs"]]
        paragraphs = [entry["context"] for entry in entries]
        asked = [(question["question"], index) for index, entry in enumerate(entries) for question in entry["qas"]]
    except FileNotFoundError as error:
        raise TrainingDataError(path, "file is missing") from error
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise TrainingDataError(path, f"not a KorQuAD v1 file, or truncated: {error}") from error
    return paragraphs, [question for question, _ in asked], [index for _, index in asked]


def rank_metrics(
    queries: NDArray[np.float32], documents: NDArray[np.float32], relevant: NDArray[np.integer]
) -> RetrievalMetrics:
    """Metrics of unit rows `queries` (queries, dim) against `documents` (documents, dim).

    `relevant` (queries,) holds the index of each query's document.

    nDCG@10 with a single relevant document is 1 / log2(rank + 1) within the first ten, else 0.
    """
    scores = queries @ documents.T  # (queries, documents)
    own = scores[np.arange(len(queries)), relevant][:, None]  # (queries, 1)
    ranks = (scores > own).sum(axis=1) + 1  # (queries,)
    gains = np.where(ranks <= 10, 1.0 / np.log2(ranks + 1.0), 0.0)
    return RetrievalMetrics(
        ndcg_at_10=float(gains.mean()),
        recall_at_1=float((ranks <= 1).mean()),
        recall_at_10=float((ranks <= 10).mean()),
        query_count=len(queries),
        document_count=len(documents),
    )


def load_model(name: str) -> SentenceTransformer:
    """Load a model directory or hub id for float32 evaluation. Raises ModelError when there is none."""
    try:
        model = SentenceTransformer(name, device="cpu", model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} is no sentence-transformers model: {error}") from error
    return model
