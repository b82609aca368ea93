"""Figures of a ranking: nDCG and recall through ir-measures, and how sure a mean over few queries is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import ir_measures
import numpy as np
from ir_measures import R, nDCG
from numpy.typing import NDArray
from scipy.stats import bootstrap

# query id -> ids of the documents found, best first
Ranking: TypeAlias = Mapping[str, Sequence[str]]

# name of a figure -> its measure; ir-measures computes them by trec_eval's own code
MEASURES = {"ndcg_at_10": nDCG @ 10, "recall_at_1": R @ 1, "recall_at_10": R @ 10, "recall_at_100": R @ 100}
_RESAMPLES = 10_000
_CONFIDENCE = 0.95


def figures_by_query(ranking: Ranking, relevant: Mapping[str, frozenset[str]]) -> dict[str, NDArray[np.float64]]:
    """Each of MEASURES for each query of `relevant`, shape (queries,), in [0, 1]. A query not ranked counts as 0."""
    judgements = [ir_measures.Qrel(query, document, 1) for query, found in relevant.items() for document in found]
    # Ranks stand for scores, so that equal scores keep the order they were given in.
    run = [
        ir_measures.ScoredDoc(query, document, -float(rank))
        for query, documents in ranking.items()
        for rank, document in enumerate(documents)
    ]
    names = {measure: name for name, measure in MEASURES.items()}
    rows = {query: row for row, query in enumerate(relevant)}
    figures = {name: np.zeros(len(rows)) for name in MEASURES}
    for figure in ir_measures.iter_calc(list(names), judgements, run):
        figures[names[figure.measure]][rows[figure.query_id]] = figure.value
    return figures


def confidence_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % interval of the mean of `values` (queries,) by 10,000 bootstrap resamples, percentiles, a fixed seed."""
    if len(values) < 2:
        return float(values.mean()), float(values.mean())
    result = bootstrap(
        (values,),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        batch=1_000,
        rng=np.random.default_rng(0),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)
