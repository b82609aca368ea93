"""Words of Korean text: what a text is found by. The real Kiwi."""

import time
import unicodedata

import numpy as np
import pytest

from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.korean.reading import QueryReader
from kosearch.sparse_vectors import SparseVector


@pytest.fixture(scope="module")
def analyser() -> MorphemeAnalyser:
    return MorphemeAnalyser(shared_kiwi())


def words(analyser: MorphemeAnalyser, text: str) -> list[str]:
    return [term.text for term in analyser.terms(text)]


def score(query: SparseVector, document: SparseVector) -> float:
    """Return what Qdrant makes of them when every word is as rare as the others."""
    _, ours, theirs = np.intersect1d(query.indices, document.indices, return_indices=True)
    return float(query.values[ours] @ document.values[theirs])


@pytest.mark.parametrize(
    "form", ["시스템은", "시스템을", "시스템에서는", "시스템이었다", "시스템입니다", "시스템만으로도"]
)
def test_a_noun_is_found_with_any_particle(analyser: MorphemeAnalyser, form: str) -> None:
    assert words(analyser, form) == ["시스템"]


@pytest.mark.parametrize("form", ["판결하였고", "판결되었다", "판결했습니다", "판결한", "판결이"])
def test_a_root_is_found_with_and_without_its_verb(analyser: MorphemeAnalyser, form: str) -> None:
    assert words(analyser, form) == ["판결"]


def test_verbs_and_adjectives_are_as_the_dictionary_has_them(analyser: MorphemeAnalyser) -> None:
    assert words(analyser, "날이 더웠다. 문을 열었습니다") == ["날", "덥다", "문", "열다"]


def test_compounds_are_found_by_their_parts(analyser: MorphemeAnalyser) -> None:
    assert words(analyser, "정보통신망법") == ["정보", "통신망", "법"]


def test_numbers_are_found_however_they_are_grouped(analyser: MorphemeAnalyser) -> None:
    assert "1234" in words(analyser, "1,234원")
    assert "1234" in words(analyser, "1234원")


def test_latin_is_found_in_either_case_and_width(analyser: MorphemeAnalyser) -> None:
    assert words(analyser, "GPU") == words(analyser, "gpu") == words(analyser, "ＧＰＵ") == ["gpu"]


def test_what_the_dictionary_does_not_have_is_kept(analyser: MorphemeAnalyser) -> None:
    assert words(analyser, "뷁쉙은 漢字와 😀") == ["뷁쉙", "漢字", "😀"]


def test_particles_endings_and_marks_are_left_out(analyser: MorphemeAnalyser) -> None:
    assert words(analyser, "그는 그리고... ㅋㅋㅋ ?!") == []


def test_places_are_those_of_the_text(analyser: MorphemeAnalyser) -> None:
    text = "😀 헌법재판소는 漢字를 더웠다고 GPU 판결하였다"
    found = {text[term.start : term.end]: term.text for term in analyser.terms(text)}
    assert found == {
        "😀": "😀",
        "헌법": "헌법",
        "재판소": "재판소",
        "漢字": "漢字",
        "더웠": "덥다",
        "GPU": "gpu",
        "판결": "판결",
    }


def test_places_are_right_behind_where_a_long_text_is_cut(analyser: MorphemeAnalyser) -> None:
    text = "가나다 " * 1500 + "헌법재판소"
    last = analyser.terms(text)[-1]
    assert text[last.start : last.end] == last.text == "재판소"


def test_a_word_counts_for_less_each_time_it_comes_again(analyser: MorphemeAnalyser) -> None:
    query = analyser.query_vector("민법")
    once, twice, often = (score(query, analyser.document_vector("", " ".join(["민법"] * n))) for n in (1, 2, 30))
    assert once < twice < often < 2.2 * 1.5 * once


def test_a_word_counts_for_less_in_a_long_text(analyser: MorphemeAnalyser) -> None:
    query = analyser.query_vector("민법")
    short = analyser.document_vector("", "민법의 원칙")
    long = analyser.document_vector("", "민법의 원칙" + " 상법과 형법의 규정을 적용한다" * 20)
    assert score(query, short) > score(query, long)


def test_the_title_counts_as_part_of_each_chunk(analyser: MorphemeAnalyser) -> None:
    query = analyser.query_vector("민법")
    assert score(query, analyser.document_vector("민법", "신의성실")) > 0
    assert score(query, analyser.document_vector("", "신의성실")) == 0


def test_a_slip_within_a_name_leaves_some_of_it(analyser: MorphemeAnalyser) -> None:
    document = analyser.document_vector("", "국립중앙박물관에서 열렸다")
    assert (
        0
        < score(analyser.query_vector("국립중앙박물간"), document)
        < score(analyser.query_vector("국립중앙박물관"), document)
    )


def test_pairs_do_not_reach_over_a_gap_and_are_no_words(analyser: MorphemeAnalyser) -> None:
    apart = analyser.query_vector("민법의 상법")
    assert len(apart) == 4  # two words and the pair within each
    assert score(apart, analyser.document_vector("", "법상")) == 0


@pytest.mark.parametrize(
    ("typed", "are_found"),
    [
        ("국립중앙박물관에서 열린 전시", True),
        ("아버지가방에들어가신다", True),
        ("ＫＢ국민은행의 금리가 1,234원", False),  # looked for in full width as well
        ("dkssudgktpdy", False),
        ("ab", False),
        ("은 는", True),
    ],
)
def test_words_that_reading_the_query_has_found_make_the_same_vector(
    analyser: MorphemeAnalyser, typed: str, are_found: bool
) -> None:
    """Whatever reading has made of the query, its morphemes are those of the text that is looked for by word."""
    read = QueryReader(shared_kiwi()).read(typed)
    assert (read.morphemes is not None) == are_found
    anew = analyser.query_vector(read.lexical_text)
    found = analyser.query_vector(read.lexical_text, read.morphemes)
    assert (found.indices.tolist(), found.values.tolist()) == (anew.indices.tolist(), anew.values.tolist())


def test_the_same_text_has_the_same_vector(analyser: MorphemeAnalyser) -> None:
    text = "헌법재판소는 낙태죄를 위헌으로 판결하였다"
    first, second = (analyser.document_vector("제목", text) for _ in range(2))
    assert first.indices.tolist() == second.indices.tolist()
    assert first.values.tolist() == second.values.tolist()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "가" * 40_000,
        "ㅋ" * 40_000,
        "😀" * 5_000,
        "\ud800",
        "́" * 1000,
        "\x00",
        unicodedata.normalize("NFD", "한글"),
    ],
    ids=["empty", "space", "one syllable", "jamo", "emoji", "surrogate", "marks", "null", "NFD"],
)
def test_no_text_is_too_much_for_it(analyser: MorphemeAnalyser, text: str) -> None:
    began = time.process_time()
    vector = analyser.document_vector("", text)
    assert np.isfinite(vector.values).all()
    assert all(0 <= term.start < term.end <= len(text) for term in analyser.terms(text))
    assert time.process_time() - began < 30
