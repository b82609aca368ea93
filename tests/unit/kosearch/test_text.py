"""The one normalisation of text."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosearch.text import clean, normalise

# Jamo that compose, what hides between them, control characters and every kind of white space.
AWKWARD = "한한글aÀ̧́\u200b\u00ad\u2060\ufeff\u200d\x00\x1f\x7f\x85 \t\r\n\v\f\u3000\u00a0\u2028ﷺ㎢"
texts = st.text() | st.text(alphabet=AWKWARD, max_size=20)


def test_decomposed_korean_is_composed() -> None:
    """What macOS writes as single jamo becomes the syllables that people type."""
    assert clean(unicodedata.normalize("NFD", "한국어 검색")) == "한국어 검색"


@pytest.mark.parametrize("invisible", ["\u00ad", "\u200b", "\u2060", "\ufeff"])
def test_invisible_characters_vanish(invisible: str) -> None:
    """A word with an invisible character in it equals the word without."""
    assert clean(f"검{invisible}색") == "검색"


def test_jamo_around_an_invisible_character_compose() -> None:
    """Jamo that only an invisible character kept apart become one syllable."""
    assert clean("ᄒ\u200bᅡᆫ") == "한"


@pytest.mark.parametrize("control", ["\x00", "\x08", "\x0b", "\x1f", "\x7f", "\x85"])
def test_control_characters_become_spaces(control: str) -> None:
    """A control character separates words as a space does."""
    assert clean(f"가{control}나") == "가 나"


def test_clean_keeps_line_breaks_and_trims_the_ends() -> None:
    """The shown text keeps its lines."""
    assert clean("  첫 줄\n둘째\t줄\n ") == "첫 줄\n둘째\t줄"


def test_normalise_makes_each_run_of_white_space_one_space() -> None:
    """The model reads one space wherever there was white space."""
    assert normalise("\n가\u3000 나\r\n\t다\u00a0라 ") == "가 나 다 라"


def test_compatibility_characters_stay() -> None:
    """NFC, not NFKC: ① and ㎢ are shown as they were written."""
    assert clean("① 100㎢ Ａ") == "① 100㎢ Ａ"


@given(texts)
def test_clean_is_idempotent(text: str) -> None:
    """Cleaning a cleaned text changes nothing."""
    assert clean(clean(text)) == clean(text)


@given(texts)
def test_normalise_is_idempotent(text: str) -> None:
    """Normalising a normalised text changes nothing."""
    assert normalise(normalise(text)) == normalise(text)


@given(texts)
def test_normalise_takes_cleaned_text_as_well(text: str) -> None:
    """A stored (cleaned) text and the original are the same to the model."""
    assert normalise(clean(text)) == normalise(text)


@given(texts)
def test_equivalent_spellings_become_equal(text: str) -> None:
    """The composed and the decomposed form of a text are cleaned to the same."""
    assert clean(unicodedata.normalize("NFD", text)) == clean(text)
