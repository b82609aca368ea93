"""Words that were typed in the other keyboard layout, found by what the letters and the syllables each look like."""

import re
from typing import TYPE_CHECKING, NamedTuple

from kosearch.korean.keyboard import from_keys, to_keys
from kosearch.korean.latin import letter_cost
from kosearch.korean.plausibility import log_likelihood

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

# Longer ones are no words.
_MAX_LETTERS = 40
_LATIN = re.compile(rf"(?<![A-Za-z])[A-Za-z]{{2,{_MAX_LETTERS}}}(?![A-Za-z])")
_HANGUL = re.compile(rf"(?<![가-힣ㄱ-ㅣ])[가-힣ㄱ-ㅣ]{{1,{_MAX_LETTERS}}}(?![가-힣ㄱ-ㅣ])")
_SYLLABLES = re.compile("[가-힣]+")
_JAMO = re.compile("[ㄱ-ㅣ]")
_JAMO_VOWEL = re.compile("[ㅏ-ㅣ]")
# Addresses, paths, names in programs, 5g and utf8: written so on purpose.
_CODE = re.compile(r"[_@/\\#$<>{}=~^|&*+`]|[A-Za-z][.:'’-][A-Za-z]|[A-Za-z][0-9]|[0-9](?=[A-Za-z])")
_NUMBER_AND_LETTERS = re.compile("[0-9]+[A-Za-z]+")
# Keys where shift makes no other jamo: who types Korean does not hold it.
_SENSELESS_SHIFT = re.compile("[ASDFGHJKLZXCVBNMYUI]")
# Laughter, tears and the like round a word: 굿ㅋㅋ, ㅠㅠ그냥, 대박ㅡㅡ.
_FEELINGS = re.compile(r"\A[ㅋㅎㅠㅜㅡㅉㄷㅇㅅㄴㅊㄱ]+|[ㅋㅎㅠㅜㅡㅉㄷㅇㅅㄴㅊㄱ]+\Z|(.)\1+\Z|\A(.)\2+")

# Log likelihoods, in nats, by which Korean must be ahead of Latin. The figures of `benchmarks/query_reading.py`: at 0
# nine of ten Korean words of two syllables are found, and of the 20,000 most frequent Latin words two are mistaken.
_SURE_KOREAN = 0.0
_POSSIBLE_KOREAN = -6.0
_POSSIBLE_SYLLABLE = -10.0
# The other way round; and what jamo within a word, which no Korean word has, count each.
_SURE_LATIN = 8.0
_POSSIBLE_SYLLABLES_AS_LATIN = 12.0
_STRAY_JAMO = 6.0
# Cost of a Latin word, in nats a letter.
_SURE_LETTERS, _POSSIBLE_LETTERS, _NEIGHBOURING_LETTERS = 3.6, 3.4, 4.2


class LayoutReading(NamedTuple):
    """A text with its slips of the layout undone.

    text: with the sure ones undone
    alternatives: words as they were typed, of the sure ones, and as they would be undone, of the doubtful ones
    """

    text: str
    alternatives: tuple[str, ...]


class _Guess(NamedTuple):
    start: int
    end: int
    typed: str
    meant: str
    is_sure: bool


def read_layouts(text: str, kiwi: "Kiwi") -> LayoutReading:
    """Return the text with words undone that were surely typed in the other layout, in both directions.

    Next to a sure one, in a text of nothing else that is a word, doubtful ones are taken for slips, too: who forgets
    to switch the layout forgets it for a whole query.
    """
    guesses = [*_of_korean_meant(text, kiwi), *_of_latin_meant(text, kiwi)]
    return LayoutReading(
        _undone(text, [guess for guess in guesses if guess.is_sure]),
        tuple(dict.fromkeys(guess.typed if guess.is_sure else guess.meant for guess in guesses)),
    )


def has_stray_jamo(word: str) -> bool:
    """Say whether a word holds jamo, apart from laughter and tears round it."""
    return _JAMO.search(_FEELINGS.sub("", word)) is not None


def _undone(text: str, guesses: list[_Guess]) -> str:
    for guess in sorted(guesses, reverse=True):
        text = text[: guess.start] + guess.meant + text[guess.end :]
    return text


def _of_korean_meant(text: str, kiwi: "Kiwi") -> list[_Guess]:
    words = [match for token in re.finditer(r"\S+", text) for match in _latin_words(token)]
    guesses = [guess for match in words if (guess := _korean_guess(match, kiwi))]
    is_one_slip = len(guesses) == len(words) and _SYLLABLES.search(text) is None
    return (
        _with_neighbours(guesses)
        if is_one_slip
        else [guess for guess in guesses if not _is_behind_digit(text, guess.start)]
    )


def _latin_words(token: re.Match[str]) -> list[re.Match[str]]:
    if _CODE.search(token[0]) and not _NUMBER_AND_LETTERS.fullmatch(token[0]):
        return []
    return list(_LATIN.finditer(token.string, token.start(), token.end()))


def _is_behind_digit(text: str, place: int) -> bool:
    return text[max(0, place - 1) : place].isdigit()


def _korean_guess(match: re.Match[str], kiwi: "Kiwi") -> _Guess | None:
    typed = match[0]
    meant = from_keys(typed)
    if _SENSELESS_SHIFT.search(typed) or not _SYLLABLES.fullmatch(meant):
        return None
    evidence = log_likelihood(meant, kiwi) + letter_cost(typed)
    if evidence < (_POSSIBLE_SYLLABLE if len(meant) == 1 else _POSSIBLE_KOREAN):
        return None
    is_sure = len(meant) > 1 and evidence >= _SURE_KOREAN and not _is_behind_digit(match.string, match.start())
    return _guess(match, meant, is_sure)


def _of_latin_meant(text: str, kiwi: "Kiwi") -> list[_Guess]:
    words = list(_HANGUL.finditer(text))
    if not any(_JAMO.search(match[0]) for match in words) and len(words) > 2:
        return []  # a Korean sentence: saves asking for each word
    guesses = [guess for match in words if (guess := _latin_guess(match, kiwi))]
    if not any(guess.is_sure for guess in guesses):
        return guesses
    lenient = [_guess(match, to_keys(match[0]), is_sure=False) for match in words]
    sure = {guess.start for guess in guesses if guess.is_sure}
    is_one_slip = all(
        guess.start in sure or letter_cost(guess.meant) <= _NEIGHBOURING_LETTERS * len(guess.meant) for guess in lenient
    )
    return [guess._replace(is_sure=True) for guess in lenient] if is_one_slip else guesses


def _latin_guess(match: re.Match[str], kiwi: "Kiwi") -> _Guess | None:
    typed = match[0]
    meant = to_keys(typed)
    inner = _FEELINGS.sub("", typed)
    stray_jamo = len(_JAMO.findall(inner))
    letters_cost = letter_cost(meant)
    evidence = _STRAY_JAMO * stray_jamo - log_likelihood(typed, kiwi) - letters_cost
    may_be_sure = len(meant) >= 4 and _JAMO_VOWEL.search(inner) is not None
    if may_be_sure and letters_cost <= _SURE_LETTERS * len(meant) and evidence > _SURE_LATIN:
        return _guess(match, meant, is_sure=True)
    if letters_cost > _POSSIBLE_LETTERS * len(meant) or len(meant) < 3:
        return None
    is_possible = stray_jamo > 0 or (len(typed) > 1 and evidence > _POSSIBLE_SYLLABLES_AS_LATIN)
    return _guess(match, meant, is_sure=False) if is_possible else None


def _guess(match: re.Match[str], meant: str, is_sure: bool) -> _Guess:
    return _Guess(match.start(), match.end(), match[0], meant, is_sure)


def _with_neighbours(guesses: list[_Guess]) -> list[_Guess]:
    is_any_sure = any(guess.is_sure for guess in guesses)
    return [guess._replace(is_sure=True) for guess in guesses] if is_any_sure else guesses
