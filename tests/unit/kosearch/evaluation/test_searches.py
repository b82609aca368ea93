"""Measures over a search that answers as told."""

from dataclasses import replace
from typing import Any

import pytest
import stamina

from kosearch.errors import OverloadedError
from kosearch.evaluation.damage import DAMAGES
from kosearch.evaluation.retrieval import evaluate_retrieval
from kosearch.evaluation.robustness import damage_all, evaluate_robustness
from kosearch.evaluation.searching import ClientSearch, EvaluatedMode, FoundDocument, search_all
from kosearch.evaluation.trec_files import JudgedQuery
from kosearch.korean.reading import ReadingOptions
from kosearch.search_client import AS_TYPED, Hit, SearchOptions

QUERIES = [
    JudgedQuery("1", "환불 규정은 어디에서 보나요?", {"환불": 1}),
    JudgedQuery("2", "2023년 세금 신고 기간", {"세금": 1, "신고": 1}),
    JudgedQuery("3", "은행 이자율", {"은행": 1}),
]


def first_word(query: str, mode: EvaluatedMode, top_k: int) -> list[FoundDocument]:
    """Find the documents that are words of the query; by `dense` behind another one."""
    names = (["x"] if mode == "dense" else []) + query.split()
    return [FoundDocument(name, "", "") for name in names][:top_k]


class AskedClient:
    """A client that has two hits, and remembers what it was asked; busy for the first `refusals` calls."""

    def __init__(self, refusals: int = 0) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusals = refusals

    def search(self, *asked: Any) -> list[Hit]:
        self.asked.append(asked)
        if len(self.asked) <= self.refusals:
            raise OverloadedError("busy", retry_after_s=0)
        return [Hit("a", 0.9, "제목", "글 3", 3, {}), Hit("b", 0.8, "", "글 0", 0, {})]


def client_search(client: Any, reading: ReadingOptions | None = None) -> ClientSearch:
    return ClientSearch(client, "laws", reading)


@pytest.mark.parametrize(
    ("way", "options"),
    [
        ("dense", SearchOptions(mode="dense")),
        ("lexical", SearchOptions(mode="lexical")),
        ("hybrid", SearchOptions(mode="hybrid")),
        ("reranked", SearchOptions(mode="hybrid", rerank=20)),
    ],
)
def test_documents_are_searched_for_in_that_way(way: EvaluatedMode, options: SearchOptions) -> None:
    """One chunk of each, so that as many documents come as are wanted."""
    client = AskedClient()
    found = client_search(client, AS_TYPED)("질의", way, 100)
    assert found == [FoundDocument("a", "제목", "글 3"), FoundDocument("b", "", "글 0")]
    options = replace(options, chunks_per_document=1, reading=AS_TYPED)
    assert client.asked == [("질의", "laws", 100, (), options)]


def test_a_busy_service_is_asked_again() -> None:
    with stamina.set_testing(True, attempts=3):
        client = AskedClient(refusals=2)
        assert len(client_search(client)("질의", "dense", 10)) == 2
        with pytest.raises(OverloadedError):
            client_search(AskedClient(refusals=3))("질의", "dense", 10)


def test_answers_come_in_the_order_of_the_queries() -> None:
    seen = []
    found = search_all(first_word, [str(n) for n in range(50)], "hybrid", 1, lambda: seen.append(1))
    assert [documents[0].id for documents in found] == [str(n) for n in range(50)]
    assert len(seen) == 50


def test_modes_are_compared_over_the_same_queries() -> None:
    report = evaluate_retrieval(first_word, "c", QUERIES, ["dense", "hybrid"], 100)
    dense, hybrid = report.modes
    assert dense.figures["mrr_at_10"].mean == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)
    assert hybrid.figures["mrr_at_10"].mean == pytest.approx((1 + 1 / 2 + 1) / 3)
    (comparison,) = report.comparisons
    assert comparison.differences["mrr_at_10"].mean == pytest.approx(
        hybrid.figures["mrr_at_10"].mean - dense.figures["mrr_at_10"].mean
    )


def test_classes_divide_the_queries() -> None:
    """Every division holds each query once."""
    (mode,) = evaluate_retrieval(first_word, "c", QUERIES, ["dense"], 100).modes
    sizes: dict[str, int] = {}
    for each in mode.classes:
        sizes[each.division] = sizes.get(each.division, 0) + each.n
    assert sizes == dict.fromkeys(["length", "digits", "latin", "form", "relevant"], 3)
    with_digits = next(each for each in mode.classes if each.name == "with digits")
    assert (with_digits.n, with_digits.figures["mrr_at_10"].mean) == (1, pytest.approx(1 / 3))


def test_damage_is_measured_on_the_queries_that_it_changed() -> None:
    """Without spaces no word of the query is a document any more; the particle of 규정은 is none of one."""
    damaged = damage_all(QUERIES, 0)
    report = evaluate_robustness(first_word, "c", QUERIES, damaged, ["lexical"], 0)
    (mode,) = report.modes
    figures = {each.kind: each for each in mode.damages}
    assert figures.keys() == DAMAGES.keys()
    assert (figures["no_spaces"].n, figures["no_spaces"].kept.mean) == (3, 0)
    assert (figures["particles_removed"].n, figures["particles_removed"].kept.mean) == (1, 1)
    assert figures["particles_removed"].clean.mean == pytest.approx(1)


def test_a_damage_that_no_query_can_have_is_left_out() -> None:
    kinds = {each.kind for each in damage_all([JudgedQuery("1", "refund", {"a": 1})], 0)}
    assert kinds == set()
