"""Slips of a finger within Korean words: one key too many, too few, beside the right one, or before its neighbour."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kosearch.korean.keyboard import from_keys, to_keys
from kosearch.korean.layouts import has_stray_jamo
from kosearch.korean.plausibility import Morpheme, is_unknown, log_likelihood, morphemes

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

_WORD = re.compile("(?<![가-힣ㄱ-ㅣ])[가-힣ㄱ-ㅣ]{2,15}(?![가-힣ㄱ-ㅣ])")
_SYLLABLES = re.compile("[가-힣]+")
_JAMO = re.compile("[ㄱ-ㅣ]")

# Never right, whatever stands round them. Source: 표준국어대사전, the standard Korean dictionary.
_MISSPELT = {
    "됬": "됐", "됌": "됨", "쫒": "쫓", "않되요": "안돼요", "않돼": "안돼", "안되요": "안돼요", "어떻해": "어떡해",
    "왠만": "웬만", "왠일": "웬일", "오랫만": "오랜만", "역활": "역할",
}  # fmt: skip
_ANY_MISSPELT = re.compile("|".join(_MISSPELT))

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_KEYS = "qwertasdfgzxcvyuiophjklbnmQWERTOP"
# What mending a word must gain, in nats: for a word that Kiwi does not know (there are many names among them), and for
# one with jamo in it, which is none. Less than the first, but enough to look for the mended word as well.
_GAIN_OF_UNKNOWN = 14.0
_POSSIBLE_GAIN_OF_UNKNOWN = 10.0
_GAIN_OF_JAMO = 5.0
# One key too many or too few is believed less than a swap, a doubled key or one beside the right one.
_COST_OF_UNLIKELY_SLIP = 3.0
# A second mending about as likely as the first leaves open which was meant.
_LEAD = 1.5
# Hardly a word is likelier, so that a likely unknown word need not be looked into.
_HIGHEST = -14.0
_MAX_WORDS = 2
_MAX_CANDIDATES = 200


class Mending(NamedTuple):
    """A text with its typos mended.

    alternatives: what the doubtful words would be, and how those were typed that are mended
    """

    text: str
    alternatives: tuple[str, ...]


def mend_spelling(text: str) -> str:
    """Return the text with misspellings mended that are never right: 됬다 -> 됐다."""
    return _ANY_MISSPELT.sub(lambda match: _MISSPELT[match[0]], text)


def mend_typos(text: str, found: Sequence[Morpheme], kiwi: "Kiwi") -> Mending:
    """Return the text with words mended that are one key away from a far likelier one.

    `found` are the morphemes of the text. Words that Kiwi knows are left alone, whatever they do in their place.
    """
    alternatives: list[str] = []
    for word, suspect in list(_suspects(text, found))[:_MAX_WORDS][::-1]:
        mended, is_sure = _mended(word[0], suspect, kiwi)
        if is_sure:
            text = text[: word.start()] + mended + text[word.end() :]
        if mended != word[0]:
            alternatives.append(word[0] if is_sure else mended)
    return Mending(text, tuple(alternatives))


def _suspects(text: str, found: Sequence[Morpheme]) -> Iterator[tuple[re.Match[str], tuple[int, int]]]:
    """Return words and where in them the slip is to be looked for."""
    unknown = [morpheme for morpheme in found if is_unknown(morpheme)]
    for word in _WORD.finditer(text):
        if has_stray_jamo(word[0]):
            places = [match.start() for match in _JAMO.finditer(word[0])]
            yield word, (max(0, places[0] - 1), min(len(word[0]), places[-1] + 2))
            continue
        part = next((part for part in unknown if word.start() <= part.start < word.end()), None)
        if part is not None and _SYLLABLES.fullmatch(word[0]):
            yield word, (part.start - word.start(), min(part.end, word.end()) - word.start())


def _mended(word: str, suspect: tuple[int, int], kiwi: "Kiwi") -> tuple[str, bool]:
    """Return the likeliest mending, or the word where none is likely, and whether it is sure."""
    has_jamo = _SYLLABLES.fullmatch(word) is None
    before = log_likelihood(word, kiwi)
    least = before + (_GAIN_OF_JAMO if has_jamo else _POSSIBLE_GAIN_OF_UNKNOWN)
    if not has_jamo and least > _HIGHEST:
        return word, False
    ranked = sorted(
        ((log_likelihood(text, kiwi) - cost, text) for text, cost in _candidates(word, suspect).items()), reverse=True
    )
    if not ranked or ranked[0][0] < least or any(map(is_unknown, morphemes(ranked[0][1], kiwi))):
        return word, False
    gained = ranked[0][0] - before >= (_GAIN_OF_JAMO if has_jamo else _GAIN_OF_UNKNOWN)
    leads = len(ranked) == 1 or ranked[0][0] - ranked[1][0] >= _LEAD
    return ranked[0][1], gained and leads


def _candidates(word: str, suspect: tuple[int, int]) -> dict[str, float]:
    """Return texts that are one key away, and what the slip costs."""
    keys = to_keys(word)
    first = max(0, len(to_keys(word[: suspect[0]])) - 1)
    last = min(len(keys), len(to_keys(word[: suspect[1]])) + 1)
    costs: dict[str, float] = {}
    edits = _edited(keys, first, last)
    if _SYLLABLES.fullmatch(word) is None:
        # A missing key mostly leaves jamo; to look for the others takes twice the time and finds few.
        edits = itertools.chain(edits, _one_added(keys, first, last))
    for edited, cost in edits:
        text = from_keys(edited)
        if text != word and _is_common(text):
            costs.setdefault(text, cost)
    return dict(itertools.islice(costs.items(), _MAX_CANDIDATES))


def _edited(keys: str, first: int, last: int) -> Iterator[tuple[str, float]]:
    for place in range(first, last):
        before, key, behind = keys[:place], keys[place], keys[place + 1 :]
        is_doubled = key in (before[-1:], behind[:1])
        yield before + behind, 0.0 if is_doubled else _COST_OF_UNLIKELY_SLIP
        if behind:
            yield before + behind[0] + key + behind[1:], 0.0
        for other in _BESIDE[key]:
            yield before + other + behind, 0.0


def _one_added(keys: str, first: int, last: int) -> Iterator[tuple[str, float]]:
    for place in range(first, last + 1):
        for key in _KEYS:
            yield keys[:place] + key + keys[place:], _COST_OF_UNLIKELY_SLIP


def _is_common(text: str) -> bool:
    """Say whether the text is made of syllables alone, of those of KS X 1001: 2,350 of 11,172."""
    try:
        return _SYLLABLES.fullmatch(text) is not None and bool(text.encode("euc_kr"))
    except UnicodeEncodeError:
        return False


def _keys_beside() -> dict[str, str]:
    places = {key: (row, column + row / 4) for row, keys in enumerate(_ROWS) for column, key in enumerate(keys)}
    beside = {
        key: "".join(
            other
            for other, (other_row, other_column) in places.items()
            if other != key and abs(row - other_row) <= 1 and abs(column - other_column) <= 1
        )
        for key, (row, column) in places.items()
    }
    shifted = {key.upper(): key + others for key, others in beside.items()}
    return {key: others + key.upper() for key, others in beside.items()} | shifted


_BESIDE = _keys_beside()
