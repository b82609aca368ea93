"""Kinds of queries."""

import pytest

from kosearch.evaluation.query_classes import CLASSES, classes_of, is_question


@pytest.mark.parametrize(
    "text",
    [
        "대한민국의 수도는?",
        "대한민국의 수도는 어디인가",
        "환불은 언제까지 되나요",
        "이것이 가능한가요",
        "같이 갈까",
        "얼마나 걸립니까.",
        "왜 하늘은 파란지",
        "몇 명이 사는가",
        "무엇이 문제",
    ],
)
def test_a_question_is_known_by_mark_word_or_ending(text: str) -> None:
    assert is_question(text)


@pytest.mark.parametrize(
    "text", ["환불 규정", "아파트 분양 단가", "임진왜란", "왜구 침략", "몇몇 나라", "전문가", "1990년대 가요"]
)
def test_nouns_that_look_like_endings_are_no_questions(text: str) -> None:
    assert not is_question(text)


def test_a_query_has_one_class_of_each_kind() -> None:
    assert classes_of("2019년 KBO 우승팀은?", 3) == {
        "length": "3-5 words",
        "digits": "with digits",
        "latin": "with Latin letters",
        "form": "question",
        "relevant": "2-4 relevant documents",
    }


@pytest.mark.parametrize(("words", "expected"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (9, 2), (10, 3), (40, 3)])
def test_lengths_are_divided_where_their_names_say(words: int, expected: int) -> None:
    assert classes_of(" ".join(["말"] * words))["length"] == CLASSES["length"][expected]


@pytest.mark.parametrize(("count", "expected"), [(1, 0), (2, 1), (4, 1), (5, 2), (90, 2)])
def test_numbers_of_relevant_documents_are_divided_where_their_names_say(count: int, expected: int) -> None:
    assert classes_of("말", count)["relevant"] == CLASSES["relevant"][expected]
