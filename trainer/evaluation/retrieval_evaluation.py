"""Measure dense retrieval: KorQuAD paragraphs in memory, and all pages of Wikipedia in one pass over the corpus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sentence_transformers import SentenceTransformer

from trainer.data.corpora import Document
from trainer.data.query_sets import QuerySet, read_korquad
from trainer.encoders.encoder import encoder_of
from trainer.evaluation.encoding import encode, truncated
from trainer.evaluation.figures import PageRetrieval, RetrievalMetrics
from trainer.evaluation.page_search import BestHits, blocks_of, encode_by_length, page_text
from trainer.evaluation.retrieval_metrics import MEASURES, Ranking, confidence_interval, figures_by_query

_TOP_K = 100


def evaluate_korquad(
    model: SentenceTransformer, path: Path, dimensions: Sequence[int] = ()
) -> dict[int, RetrievalMetrics]:
    """KorQuAD v1 as retrieval: each question must find its own paragraph among all paragraphs of the file.

    Returns the figures by embedding size: the model's own first, then each of `dimensions`.
    """
    questions, paragraphs = read_korquad(path)
    queries, documents = encode(model, list(questions.queries.values())), encode(model, paragraphs)
    return {
        dim: korquad_metrics(questions, truncated(queries, dim), truncated(documents, dim))
        for dim in dict.fromkeys([queries.shape[1], *dimensions])
    }


def korquad_metrics(
    questions: QuerySet, queries: NDArray[np.float32], documents: NDArray[np.float32]
) -> RetrievalMetrics:
    """Figures of unit rows `queries` (queries, dim) against `documents` (documents, dim) in the order of the file."""
    figures = figures_by_query(dense_ranking(questions, queries, documents), questions.relevant)
    means = {name: float(figures[name].mean()) for name in MEASURES}
    return RetrievalMetrics(**means, query_count=len(queries), document_count=len(documents))


def dense_ranking(
    questions: QuerySet, queries: NDArray[np.float32], documents: NDArray[np.float32]
) -> dict[str, list[str]]:
    """The 100 best of `documents` (documents, dim), named by their places, for each of `queries` (queries, dim)."""
    hits = BestHits(queries, _TOP_K)
    hits.add([str(place) for place in range(len(documents))], documents)
    return _ranking(questions, hits)


def evaluate_pages(
    model: SentenceTransformer, query_sets: Sequence[QuerySet], pages: Iterable[Document], max_tokens: int | None = None
) -> list[PageRetrieval]:
    """Search all `pages` for the queries of every set in one pass that keeps one block of pages in memory.

    A page is its title and text, of which the first `max_tokens` tokens are read (default: what the model reads).
    """
    limit = int(model.max_seq_length or _fallback_tokens(model))
    limit = min(limit, max_tokens or limit)
    searches = [BestHits(encode(model, list(queries.queries.values())), _TOP_K) for queries in query_sets]
    unseen = [set().union(*queries.relevant.values()) for queries in query_sets]
    token_count = page_count = 0
    with _progress() as progress:
        task = progress.add_task("Encoding pages", total=None)
        for block in blocks_of(pages):
            encoded = encode_by_length(model, [page_text(page, limit) for page in block], limit)
            ids = [page.document_id for page in block]
            for search, missing in zip(searches, unseen, strict=True):
                search.add(ids, encoded.embeddings)
                missing.difference_update(ids)
            token_count += encoded.token_count
            page_count += len(block)
            progress.update(task, completed=page_count)
    return [
        _page_retrieval(queries, _ranking(queries, search), page_count, len(missing), limit, token_count)
        for queries, search, missing in zip(query_sets, searches, unseen, strict=True)
    ]


def _page_retrieval(
    queries: QuerySet, ranking: Ranking, page_count: int, missing_page_count: int, max_tokens: int, token_count: int
) -> PageRetrieval:
    figures = figures_by_query(ranking, queries.relevant)
    return PageRetrieval(
        name=queries.name,
        ndcg_at_10=float(figures["ndcg_at_10"].mean()),
        ndcg_at_10_interval=confidence_interval(figures["ndcg_at_10"]),
        recall_at_100=float(figures["recall_at_100"].mean()),
        recall_at_100_interval=confidence_interval(figures["recall_at_100"]),
        query_count=len(queries.queries),
        page_count=page_count,
        missing_page_count=missing_page_count,
        max_tokens=max_tokens,
        token_count=token_count,
    )


def _ranking(queries: QuerySet, hits: BestHits) -> dict[str, list[str]]:
    return dict(zip(queries.queries, hits.ranking(), strict=True))


def _fallback_tokens(model: SentenceTransformer) -> int:
    return int(encoder_of(model).config.max_position_embeddings)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True))  # standard output may be JSON
