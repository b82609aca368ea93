"""Figures of a ranking of documents against judged relevance, as trec_eval computes them.

Our own few lines: ir-measures, which the trainer uses, brings scipy (140 MB) along, and has no wheel for Linux on ARM;
a test compares the two.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

# document id -> how relevant it is to the query; 0 and less: not at all
Relevance = Mapping[str, int]

METRICS = ("ndcg_at_10", "recall_at_10", "recall_at_100", "mrr_at_10", "map")
_CUT, _DEEP_CUT = 10, 100


def figures_by_query(rankings: Iterable[Sequence[str]], judged: Iterable[Relevance]) -> NDArray[np.float64]:
    """Figures in the order of METRICS, each in [0, 1], of rankings without repeated documents, best first.

    Returns shape (queries, len(METRICS)). A query without a relevant document counts as 0.
    """
    rows = [query_figures(ranking, relevance) for ranking, relevance in zip(rankings, judged, strict=True)]
    return np.array(rows, dtype=np.float64).reshape(-1, len(METRICS))


def query_figures(ranking: Sequence[str], relevance: Relevance) -> list[float]:
    """Figures of one query in the order of METRICS."""
    gains = [max(relevance.get(document, 0), 0) for document in ranking]
    all_gains = [gain for gain in relevance.values() if gain > 0]
    return [
        ndcg(gains, all_gains, _CUT),
        recall(gains, len(all_gains), _CUT),
        recall(gains, len(all_gains), _DEEP_CUT),
        reciprocal_rank(gains, _CUT),
        average_precision(gains, len(all_gains)),
    ]


def ndcg(gains: Sequence[int], all_gains: Sequence[int], cut: int) -> float:
    """Normalised discounted cumulative gain of the first `cut`: gains as they are, discount log2(rank + 1).

    gains: of the documents in the order of the ranking; all_gains: of all relevant documents.
    Source: Järvelin & Kekäläinen, TOIS 2002, in the form of trec_eval's ndcg_cut.
    """
    ideal = _discounted(sorted(all_gains, reverse=True)[:cut])
    return _discounted(gains[:cut]) / ideal if ideal else 0.0


def recall(gains: Sequence[int], relevant_count: int, cut: int) -> float:
    """Share of the relevant documents that are among the first `cut`."""
    return sum(gain > 0 for gain in gains[:cut]) / relevant_count if relevant_count else 0.0


def reciprocal_rank(gains: Sequence[int], cut: int) -> float:
    """1 / rank of the first relevant document, 0 when it is none of the first `cut`."""
    return next((1 / rank for rank, gain in enumerate(gains[:cut], start=1) if gain > 0), 0.0)


def average_precision(gains: Sequence[int], relevant_count: int) -> float:
    """Mean over all relevant documents of the precision at their ranks; 0 for one that the ranking lacks.

    Source: Buckley & Voorhees, in TREC: Experiment and Evaluation in Information Retrieval, 2005, chapter 3.
    """
    found, precisions = 0, 0.0
    for rank, gain in enumerate(gains, start=1):
        if gain > 0:
            found += 1
            precisions += found / rank
    return precisions / relevant_count if relevant_count else 0.0


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))
