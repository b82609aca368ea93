"""Queries made of documents, and how they are scored."""

import numpy as np
import pytest

from kosearch.evaluation.known_item_search import evaluate_known_items
from kosearch.evaluation.known_items import (
    KnownItem,
    SampledDocument,
    is_ambiguous,
    known_items,
    middle_sentence,
    telling_words,
)
from kosearch.evaluation.searching import FoundDocument

TEXT = (
    "환불은 상품을 받은 날부터 칠일 안에 신청합니다. 고객센터는 신청을 받은 날에 상품을 확인하고 결제를 취소합니다. "
    "배송비는 고객이 냅니다."
)
REFUND = SampledDocument("refund", "반품과 환불", TEXT)
BANK = SampledDocument("bank", "", "은행은 예금자에게 이자를 달마다 지급합니다. 예금자는 이자율을 창구에서 확인합니다.")


def found(*ids: str, title: str = "", text: str = "다른 글") -> list[FoundDocument]:
    return [FoundDocument(name, title, text) for name in ids]


def test_a_document_makes_a_query_by_each_recipe() -> None:
    queries = {item.recipe: item.query for item in known_items([REFUND, BANK]) if item.document is REFUND}
    assert queries.keys() == {"title", "telling_words", "sentence", "sentence_without_particles"}
    assert queries["title"] == "반품과 환불"
    assert queries["sentence"] == "고객센터는 신청을 받은 날에 상품을 확인하고 결제를 취소합니다"
    assert queries["sentence_without_particles"] == "고객센터 신청 받은 날 상품 확인하고 결제 취소합니다"


def test_a_document_without_title_makes_no_query_of_it() -> None:
    assert "title" not in {item.recipe for item in known_items([BANK])}


def test_a_document_that_says_nothing_makes_no_query() -> None:
    assert known_items([SampledDocument("x", "", "...")]) == []


def test_words_that_every_document_has_tell_least() -> None:
    """`법` is in all 100 documents; the six others in this one only."""
    words = ["법", "법", "법", "사과", "배", "감", "귤", "포도"]
    holders = dict.fromkeys(words, 1) | {"법": 100}
    assert telling_words(words, holders, 100) == ["사과", "배", "감", "귤", "포도"]


def test_of_words_equally_rare_those_said_more_often_are_taken() -> None:
    words = ["가지", "나무", "나무", "다리", "다리", "라면", "라면", "마늘", "마늘", "바다", "바다"]
    assert telling_words(words, dict.fromkeys(words, 1), 10) == ["나무", "다리", "라면", "마늘", "바다"]


def test_fewer_than_three_words_make_no_query() -> None:
    assert telling_words(["사과", "배"], {"사과": 1, "배": 1}, 5) == []


def test_a_long_sentence_is_cut_to_eight_words() -> None:
    long = " ".join(f"낱말{number}" for number in range(20)) + "."
    assert middle_sentence(long) == " ".join(f"낱말{number}" for number in range(8))


def test_a_short_sentence_in_the_middle_gives_way_to_its_neighbour() -> None:
    text = "나는 어제 학교에서 친구를 만났다. 좋았다. 우리는 저녁에 함께 영화를 보았다."
    assert len(middle_sentence(text).split()) >= 4


def test_the_same_title_elsewhere_makes_an_item_ambiguous() -> None:
    item = KnownItem("title", "목적", SampledDocument("a", "목적", TEXT))
    assert is_ambiguous(item, found("b", title="목적"), {"목적": 1})
    assert is_ambiguous(item, found("b"), {"목적": 2})
    assert not is_ambiguous(item, found("a", title="목적"), {"목적": 1})
    assert not is_ambiguous(KnownItem("sentence", "말", item.document), found("b", title="목적"), {"목적": 2})


def test_the_same_text_elsewhere_makes_an_item_ambiguous() -> None:
    """By whatever recipe; white space aside."""
    item = KnownItem("sentence", "말", REFUND)
    assert is_ambiguous(item, found("copy", text=TEXT.replace(" ", "\n")), {})
    assert not is_ambiguous(item, found("refund", text=TEXT), {})
    assert not is_ambiguous(item, found("other", text="환불은"), {})


def test_ranks_make_the_figures_of_a_recipe() -> None:
    """Found first, at the fourth place, and not at all."""
    items = [
        KnownItem("sentence", name, SampledDocument(name, "", f"{name}라고 하는 문서")) for name in ("하나", "둘", "셋")
    ]
    answers = {"하나": found("하나", "x"), "둘": found("x", "y", "z", "둘"), "셋": found("x")}
    report = evaluate_known_items(lambda query, mode, top_k: answers[query], "c", items, ["dense"], 0)
    (figures,) = report.modes[0].recipes
    assert figures.mrr_at_10.mean == pytest.approx((1 + 1 / 4) / 3)
    assert figures.success_at_1.mean == pytest.approx(1 / 3)
    assert figures.success_at_10.mean == pytest.approx(2 / 3)
    assert figures.ambiguous == 0
    assert report.documents == 3
    assert report.examples == {"sentence": "하나"}


def test_ambiguous_items_are_counted_and_the_others_scored_apart() -> None:
    """The copy stands before the document itself, which costs half of its score."""
    items = [KnownItem("sentence", "반품", REFUND), KnownItem("sentence", "은행", BANK)]
    answers = {"반품": [*found("copy", text=TEXT), *found("refund")], "은행": found("bank")}
    report = evaluate_known_items(lambda query, mode, top_k: answers[query], "c", items, ["dense"], 0)
    (figures,) = report.modes[0].recipes
    assert (figures.ambiguous, figures.mrr_at_10.mean, figures.unique_mrr_at_10.mean) == (1, 0.75, 1.0)


def test_two_modes_are_compared_on_the_same_items() -> None:
    items = [KnownItem("sentence", str(n), SampledDocument(str(n), "", f"문서 {n}")) for n in range(20)]

    def search(query: str, mode: str, top_k: int) -> list[FoundDocument]:
        return found(query) if mode == "hybrid" else found("x", query)

    report = evaluate_known_items(search, "c", items, ["dense", "hybrid"], 0)
    (comparison,) = report.comparisons
    assert (comparison.first, comparison.second) == ("dense", "hybrid")
    assert comparison.mrr_at_10.mean == pytest.approx(0.5)
    assert comparison.mrr_at_10.p_value < 0.01
    assert np.isnan(evaluate_known_items(search, "c", items[:1], ["dense"], 0).modes[0].recipes[0].mrr_at_10.low)
