"""Figures of a ranking, by hand and by trec_eval's own code."""

import math

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, R, nDCG

from kosearch.evaluation.metrics import METRICS, average_precision, figures_by_query, ndcg, query_figures, recall


def figures(ranking: list[str], relevance: dict[str, int]) -> dict[str, float]:
    return dict(zip(METRICS, query_figures(ranking, relevance), strict=True))


def test_the_example_of_the_inventors_of_discounted_gain() -> None:
    """Järvelin & Kekäläinen's ranking <3, 2, 3, 0, 1, 2>, whose nDCG with log2(rank + 1) is 0.961."""
    assert ndcg([3, 2, 3, 0, 1, 2], [3, 2, 3, 0, 1, 2], 10) == pytest.approx(0.9608, abs=1e-4)


def test_average_precision_is_the_mean_over_all_relevant_documents() -> None:
    """Relevant at ranks 1 and 3, a third one missing: (1/1 + 2/3 + 0) / 3."""
    assert average_precision([1, 0, 1], 3) == pytest.approx((1 + 2 / 3) / 3)


def test_a_perfect_ranking_has_ones() -> None:
    assert query_figures(["a", "b"], {"a": 2, "b": 1, "c": 0}) == [1.0] * len(METRICS)


def test_the_figures_of_a_ranking_by_hand() -> None:
    """One relevant document at rank 2, one at rank 11, of four."""
    ranking = ["x", "a", *(f"x{place}" for place in range(8)), "b"]
    found = figures(ranking, {"a": 1, "b": 1, "c": 1, "d": 1, "x": 0})
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, 5))
    assert found["ndcg_at_10"] == pytest.approx(1 / math.log2(3) / ideal)
    assert found["recall_at_10"] == 0.25
    assert found["recall_at_100"] == 0.5
    assert found["mrr_at_10"] == 0.5
    assert found["map"] == pytest.approx((1 / 2 + 2 / 11) / 4)


def test_a_document_behind_the_tenth_counts_for_recall_at_100_only() -> None:
    found = figures([f"x{place}" for place in range(10)] + ["a"], {"a": 1})
    assert (found["ndcg_at_10"], found["mrr_at_10"], found["recall_at_10"]) == (0, 0, 0)
    assert (found["recall_at_100"], found["map"]) == (1, pytest.approx(1 / 11))


def test_a_query_that_found_nothing_counts_as_nothing() -> None:
    assert query_figures([], {"a": 1}) == [0.0] * len(METRICS)


def test_a_negative_relevance_is_none() -> None:
    """TREC's web tracks mark junk with -2."""
    assert figures(["junk", "a"], {"junk": -2, "a": 1}) == figures(["unjudged", "a"], {"a": 1})


def test_recall_without_relevant_documents_is_zero_and_no_error() -> None:
    assert recall([0, 0], 0, 10) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_the_figures_are_those_of_trec_eval(seed: int) -> None:
    """Graded relevance, missing queries and long rankings; ties are for the ranking to break, not for the figures."""
    generator = np.random.default_rng(seed)
    documents = [f"d{place}" for place in range(150)]
    judged = [
        {str(name): int(generator.integers(-1, 4)) for name in generator.choice(documents, 30, replace=False)}
        for _ in range(12)
    ]
    rankings = [[str(name) for name in generator.permutation(documents)[: generator.integers(0, 130)]] for _ in judged]
    ours = figures_by_query(rankings, judged)

    qrels = [ir_measures.Qrel(str(q), name, gain) for q, of in enumerate(judged) for name, gain in of.items()]
    run = [ir_measures.ScoredDoc(str(q), name, -rank) for q, of in enumerate(rankings) for rank, name in enumerate(of)]
    measures = [nDCG @ 10, R @ 10, R @ 100, RR @ 10, AP]
    theirs = np.zeros_like(ours)
    for figure in ir_measures.iter_calc(measures, qrels, run):
        theirs[int(figure.query_id), measures.index(figure.measure)] = figure.value
    assert ours == pytest.approx(theirs, abs=1e-9)
