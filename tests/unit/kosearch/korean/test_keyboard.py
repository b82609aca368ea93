"""Keys and syllables of the two-set keyboard."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosearch.korean.keyboard import compose, from_keys, jamo, to_keys

_SYLLABLES = [chr(code) for code in range(ord("가"), ord("힣") + 1)]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("안녕", "dkssud"),
        ("까따빠싸짜얘예", "RkEkQkTkWkdOdP"),  # shifted keys
        ("화왜외워웨위의", "ghkdhodhldnjdnpdnldml"),  # vowels of two keys
        ("넋앉않닭삶넓곬핥읊잃값", "sjrtdkswdksgekfrtkfasjfqrhftgkfxdmfvdlfgrkqt"),  # finals of two keys
        ("밖있", "qkRdlT"),  # finals of one shifted key
        ("값이 3만 원?", "rkqtdl 3aks dnjs?"),
    ],
)
def test_syllables_and_keys_are_two_ways_to_write_a_text(text: str, keys: str) -> None:
    """Each example holds in both directions."""
    assert to_keys(text) == keys
    assert from_keys(keys) == text


def test_every_syllable_is_typed_by_its_keys() -> None:
    """All 11,172, each by itself, where nothing can move to a neighbour."""
    assert [syllable for syllable in _SYLLABLES if from_keys(to_keys(syllable)) != syllable] == []


@given(st.text(st.sampled_from(_SYLLABLES)) | st.text(st.sampled_from([*_SYLLABLES, " ", "7", "é", "漢", "?"])))
def test_any_row_of_syllables_survives_the_keys(text: str) -> None:
    """No row of syllables is ambiguous: a vowel never begins one, so a consonant before a vowel is its initial."""
    assert from_keys(to_keys(text)) == text


@given(st.text(st.sampled_from([*_SYLLABLES, "ㅋ", "ㅠ", "ㄳ", "ㅘ", "a", "Z", " ", "-"])))
def test_keys_of_keys_are_the_same_keys(text: str) -> None:
    """Even where syllables and stray jamo would merge, the keys struck stay the same."""
    keys = to_keys(text)
    assert to_keys(from_keys(keys)).lower() == keys.lower()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("rkrk", "가가"),  # the final goes over to the vowel
        ("rkrtk", "각사"),  # of a compound final only its second half
        ("rkrtr", "갃ㄱ"),
        ("dhkfksk", "와라나"),
        ("rkEk", "가따"),  # a consonant that closes no syllable begins the next one
        ("rR", "ㄱㄲ"),
        ("ghh", "호ㅗ"),  # ㅗㅗ is no vowel
        ("xml", "틔"),
        ("so", "내"),
        ("http", "ㅗㅅ세"),
        ("DKSSUD", "안녕"),  # shift counts only where a key has two jamo
        ("RK", "까"),
    ],
)
def test_keys_are_read_as_an_input_method_reads_them(keys: str, text: str) -> None:
    """Finals move, what makes no syllable is left as jamo."""
    assert from_keys(keys) == text


def test_what_is_no_key_stays_as_it_is() -> None:
    """Digits, marks, other scripts, Hangul and lone surrogates pass through both functions."""
    text = "12·é漢ひㅋ가\ud800😀\u1100\uffa1"
    assert from_keys(text) == text
    assert to_keys(text) == text.replace("ㅋ", "z").replace("가", "rk")


@pytest.mark.parametrize(
    ("text", "composed"),
    [
        ("ㅇㅏㄴㄴㅕㅇ", "안녕"),
        ("ㄱㅏㅄㅇㅣ", "값이"),
        ("ㄱㅏㅂㅅㅇㅣ", "값이"),
        ("ㅇㅗㅏㄹㅏ", "와라"),
        ("안ㄴㅕㅇ 하ㅅㅔ요", "안녕 하세요"),
        ("ㄱㄱㅏ", "ㄱ가"),
    ],
)
def test_jamo_in_a_row_become_syllables(text: str, composed: str) -> None:
    """Compound jamo may be written as one or as two."""
    assert compose(text) == composed


@pytest.mark.parametrize("text", ["ㅋㅋㅋ", "ㅠㅠ", "ㅇㅋ", "ㄳ", "하하ㅋㅋ", "가ㅏ", "abc", "", "ㄱ ㅏ", "\u3164"])
def test_jamo_that_make_no_syllable_are_left_alone(text: str) -> None:
    """They are a way of writing: laughter, tears, abbreviations; no jamo joins a whole syllable."""
    assert compose(text) == text


@given(st.text(st.sampled_from("ㄱㄲㄳㅇㅏㅘㅗㅣ가각 a")))
def test_composing_changes_no_key(text: str) -> None:
    """It writes the same keys otherwise, and leaves nothing to compose."""
    composed = compose(text)
    assert to_keys(composed) == to_keys(text)
    assert compose(composed) == composed


def test_jamo_of_a_syllable() -> None:
    """Initial, vowel, final."""
    assert [jamo(syllable) for syllable in "가값힣"] == [("ㄱ", "ㅏ", ""), ("ㄱ", "ㅏ", "ㅄ"), ("ㅎ", "ㅣ", "ㅎ")]


def test_a_hundred_thousand_keys_are_read_in_one_pass() -> None:
    """No input makes the automaton go back further than a syllable."""
    assert from_keys("rkrt" * 25_000) == "갃" * 25_000
    assert re.fullmatch("ㄱ+", from_keys("r" * 100_000))
