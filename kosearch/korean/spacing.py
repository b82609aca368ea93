"""Spaces that are missing between Korean words, or stand within them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from kosearch.korean.plausibility import Morpheme, log_likelihood, morphemes

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

_RUN = re.compile("[가-힣A-Za-z0-9]+")
_SYLLABLE = re.compile("[가-힣]")
_SCATTERED = re.compile(r"(?<!\S)[가-힣](?: [가-힣0-9]){2,} [가-힣](?: [.,?!])?(?!\S)")

# A run with so many syllables and so many sure joints is several words. With one joint it may be a long word, unless it
# is all there is, where people write none.
_MIN_SYLLABLES = 6
_MIN_SYLLABLES_OF_ONE_JOINT = 9
# Sejong tags by their beginnings. Behind a particle, an ending or an adverb a word begins: in questions it does in 97
# to 100 % of the cases, but for auxiliary verbs and bound nouns, which people write as they like.
_ENDS_WORD = ("J", "E", "MA")
_BEGINS_WORD = ("NNG", "NNP", "NP", "NR", "MM", "MA", "VV", "VA", "VCN", "XR", "XPN", "SL", "SN")
_NOUN_LIKE = ("NNG", "NNP", "NNB", "NP", "XSN", "XR", "SL", "SH")
_BEGINS_WORD_BEHIND_NOUN = ("NNG", "NNP", "NP", "MM", "MA", "VV", "VA", "XR", "XPN", "SL", "SN")


def respace(text: str, found: Sequence[Morpheme], kiwi: "Kiwi") -> str:
    """Return the text with spaces put into runs of several words, and taken out of words written syllable by syllable.

    `found` are the morphemes of the text. Runs that may be one word stay as they are.
    """
    if _SCATTERED.search(text):
        return _SCATTERED.sub(lambda row: _gathered(row[0], kiwi), text)
    sure = [after.start for before, after in _neighbours(found) if _is_sure_joint(before, after)]
    runs = [run.span() for run in _RUN.finditer(text) if _is_several_words(run, sure)]
    if not runs:
        return text
    return _cut(text, [place for place in _joints(found) if any(start < place < end for start, end in runs)])


def _gathered(row: str, kiwi: "Kiwi") -> str:
    joined = row.replace(" ", "")
    if log_likelihood(joined, kiwi) < log_likelihood(row, kiwi):
        return row
    return _cut(joined, _joints(morphemes(joined, kiwi)))


def _is_several_words(run: re.Match[str], sure: Sequence[int]) -> bool:
    joints = sum(run.start() < place < run.end() for place in sure)
    if joints == 0:
        return False
    is_short = joints > 1 or " " not in run.string
    return len(_SYLLABLE.findall(run[0])) >= (_MIN_SYLLABLES if is_short else _MIN_SYLLABLES_OF_ONE_JOINT)


def _joints(found: Sequence[Morpheme]) -> list[int]:
    return [
        after.start
        for before, after in _neighbours(found)
        if _is_sure_joint(before, after) or _is_likely_joint(before, after)
    ]


def _neighbours(found: Sequence[Morpheme]) -> list[tuple[Morpheme, Morpheme]]:
    return [(before, after) for before, after in pairwise(found) if before.end == after.start]


def _is_sure_joint(before: Morpheme, after: Morpheme) -> bool:
    return before.tag.startswith(_ENDS_WORD) and after.tag.startswith(_BEGINS_WORD)


def _is_likely_joint(before: Morpheme, after: Morpheme) -> bool:
    if before.tag == "ETM":
        return after.tag == "NNB"
    if before.tag in ("EC", "EF"):
        return after.tag == "VX" and after.form not in ("하", "지")
    if before.tag == "MM":
        return after.tag.startswith("N") and after.tag != "NNB"
    return before.tag.startswith(_NOUN_LIKE) and after.tag.startswith(_BEGINS_WORD_BEHIND_NOUN)


def _cut(text: str, places: Sequence[int]) -> str:
    return " ".join(text[start:end] for start, end in pairwise([0, *sorted(set(places)), len(text)]))
