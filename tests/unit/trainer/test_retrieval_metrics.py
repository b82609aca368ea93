"""Figures of rankings, their intervals, and the tables that show them."""

import math

import numpy as np
import pytest

pytest.importorskip("ir_measures")

from trainer.evaluation.retrieval_metrics import confidence_interval, figures_by_query


def test_with_one_relevant_document_ndcg_is_one_over_the_log_of_its_rank() -> None:
    ranking = {"1": ["a", "b", "c"], "2": ["b", "a", "c"], "3": [f"x{i}" for i in range(10)] + ["a"]}
    figures = figures_by_query(ranking, dict.fromkeys(ranking, frozenset(["a"])))
    assert figures["ndcg_at_10"].tolist() == pytest.approx([1.0, 1 / math.log2(3), 0.0])
    assert figures["recall_at_1"].tolist() == [1.0, 0.0, 0.0]
    assert figures["recall_at_10"].tolist() == [1.0, 1.0, 0.0]
    assert figures["recall_at_100"].tolist() == [1.0, 1.0, 1.0]


def test_recall_is_the_share_of_all_relevant_documents() -> None:
    figures = figures_by_query({"1": ["a", "x"]}, {"1": frozenset(["a", "b", "c", "d"])})
    assert figures["recall_at_100"].tolist() == [0.25]


def test_a_query_without_hits_counts_as_zero() -> None:
    figures = figures_by_query({"1": ["a"]}, {"1": frozenset("a"), "2": frozenset("a")})
    assert figures["recall_at_1"].tolist() == [1.0, 0.0]


def test_the_interval_of_a_share_agrees_with_the_normal_approximation() -> None:
    values = np.array([1.0] * 60 + [0.0] * 40)
    low, high = confidence_interval(values)
    half = 1.96 * math.sqrt(0.6 * 0.4 / 100)
    assert (low, high) == pytest.approx((0.6 - half, 0.6 + half), abs=0.01)


def test_the_interval_is_the_same_every_time() -> None:
    values = np.linspace(0.0, 1.0, 30)
    assert confidence_interval(values) == confidence_interval(values)


def test_a_single_query_has_no_spread() -> None:
    assert confidence_interval(np.array([0.5])) == (0.5, 0.5)
