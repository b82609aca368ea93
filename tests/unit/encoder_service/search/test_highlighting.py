"""Where the words of a query stand."""

import unicodedata
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_service.search.highlighting import count_matches, find_highlights
from encoder_service.search.requests import Highlight
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser, Term
from kosearch.text import clean, normalise

PIECES = [
    "판결",
    "을 ",
    "선고하였다",
    " ",
    "損害賠償",
    "손해",
    "배상",
    "🍰",
    "👩‍👩‍👧",
    "대법원",
    "은",
    "먹었다",
    "\n",
    "ABC",
    "12조",
    "을",
]


@cache
def analyser() -> MorphemeAnalyser:
    return MorphemeAnalyser(shared_kiwi())


def highlights(wanted: str, *terms: Term) -> list[tuple[int, int, str]]:
    found = find_highlights(frozenset(wanted.split()), [], terms)
    return [(each.start, each.end, each.term) for each in found]


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        ([], []),
        ([Term("다", 0, 2)], []),
        ([Term("가", 0, 2), Term("다", 3, 4), Term("나", 5, 6)], [(0, 2, "가"), (5, 6, "나")]),
        ([Term("나", 5, 6), Term("가", 0, 2)], [(0, 2, "가"), (5, 6, "나")]),
        ([Term("가", 0, 2), Term("나", 2, 4)], [(0, 4, "가 나")]),
        ([Term("가", 0, 2), Term("가", 2, 4)], [(0, 4, "가")]),
        ([Term("가", 0, 4), Term("나", 1, 2), Term("나", 3, 6)], [(0, 6, "가 나")]),
        ([Term("가", 1, 1)], []),
    ],
)
def test_stretches_that_touch_or_overlap_are_one(terms: list[Term], expected: list[tuple[int, int, str]]) -> None:
    """Its term names all words of it."""
    assert highlights("가 나", *terms) == expected


def test_the_title_comes_first() -> None:
    """Places in title and text are told apart."""
    found = find_highlights(frozenset({"가"}), [Term("가", 3, 4)], [Term("가", 0, 1)])
    assert found == [Highlight(3, 4, is_in_title=True, term="가"), Highlight(0, 1, is_in_title=False, term="가")]


def test_words_are_counted_in_title_and_text() -> None:
    """In the order of the query; those that are not there are left out."""
    counts = count_matches(["나", "가", "다", "나"], [Term("가", 0, 1)], [Term("가", 0, 1), Term("나", 2, 3)])
    assert counts == [("나", 1), ("가", 2)]


@given(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=4).map("".join),
    st.sampled_from(["NFC", "NFD"]),
)
@settings(max_examples=60)
def test_every_stretch_is_the_words_it_names(text: str, query: str, form: Any) -> None:
    """Beside emoji and Hanja, and whatever the form of the query's syllables; none overlap, all are in bounds."""
    stored = clean(text)
    asked = analyser().terms(normalise(unicodedata.normalize(form, query)))
    terms = analyser().terms(stored)
    found = find_highlights(frozenset(term.text for term in asked), [], terms)
    before = -1
    for each in found:
        assert before < each.start < each.end <= len(stored)
        before = each.end
        words = set(each.term.split(" "))
        inside = [term for term in terms if each.start <= term.start and term.end <= each.end]
        assert words <= {term.text for term in inside}
        assert each.start == min(term.start for term in inside if term.text in words)
        assert each.end == max(term.end for term in inside if term.text in words)
