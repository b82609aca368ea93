"""Where a text may be cut. The best place is the last of the best kind found in the second half of what fits.

Korean statutes have joints of their own: 편 장 절 관 (parts), 제1조(목적) (article), ① (항, paragraph), 1. (호, item)
and 가. (목). They stand at the beginning of a line, or behind the end of a sentence where lines were joined.
References (`제3조제2항에 따라`) and dates (`2023. 1. 5.`) look alike and are none.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple

from indexer_worker.chunking import table_rows
from indexer_worker.chunking.outline import ARTICLE
from indexer_worker.chunking.sentences import FIRST_ITEM, LIKELY_ENDS, last_end_by_kiwi, last_sure_end


class Joint(StrEnum):
    """Kinds of places where a text is cut, best first."""

    SECTION = "section"
    PARAGRAPH = "paragraph"
    ITEM = "item"
    SUBITEM = "subitem"
    LINE = "line"
    CELL = "cell"
    SENTENCE = "sentence"
    SENTENCE_BY_KIWI = "sentence_by_kiwi"
    LIKELY_SENTENCE = "likely_sentence"
    CLAUSE = "clause"
    SPACE = "space"
    ANYWHERE = "anywhere"
    END_OF_TEXT = "end_of_text"


class Cut(NamedTuple):
    """place: where the next chunk begins; the white space before it belongs to no chunk."""

    place: int
    joint: Joint


# Takes a text, the begin of the chunk, and the two places between which the gap has to begin.
_Find = Callable[[str, int, int, int], int | None]

# Every pattern matches white space only, from its first character on: long runs of it cost one look.
_NEW_LINE = r"(?<=\S)[^\S\n]*+\n\s*+"
_BLANK_LINE = r"(?<=\S)[^\S\n]*+\n[^\S\n]*+\n\s*+"
_BEHIND_SENTENCE = r"(?<=[.>])[^\S\n]++"
_BEHIND_LEAD_IN = r"(?<=[.>:])(?<!\d\.)[^\S\n]++"

_CIRCLED = "[①-⑳㉑-㉟㊱-㊿]"
_PART = r"제\s?\d+\s?(?:편|장|절|관)(?:의\d+)?(?=\s)|부\s?칙\s*(?:[<(\[]|$)"
# A backslash is how Markdown writes a number that begins no list.
_NUMBER = r"\d{1,3}(?:의\d+)?\\?\.\s(?!\d{1,2}\.)"
_LETTER = r"[가나다라마바사아자차카타파하거너더러머버서어저처커터퍼허]\\?\.\s"
_BULLET = r"[-*•·○◦●▪■□▶※]\s|\[\d{1,3}\]"
_SMALL_NUMBER = r"(?:\d{1,3}|[가-하])\)|\((?:\d{1,3}|[가-하])\)"
_END_OF_SENTENCE = r"(?:(?<=[.!?。…:;>])|(?<=[.!?。…:;][\"'”’」』)\]]))"

_PATTERNS = {
    joint: re.compile(pattern, re.MULTILINE)
    for joint, pattern in (
        (Joint.SECTION, rf"{_NEW_LINE}(?=#{{1,6}}[ \t]|{_PART}|{ARTICLE})|{_BEHIND_SENTENCE}(?={ARTICLE})"),
        (
            Joint.PARAGRAPH,
            rf"{_BLANK_LINE}|(?:{_NEW_LINE}|{_BEHIND_SENTENCE})(?={_CIRCLED}|제\d{{1,2}}항\s(?!및|또는))",
        ),
        (
            Joint.ITEM,
            rf"(?:{_NEW_LINE}|{_BEHIND_LEAD_IN})(?!{FIRST_ITEM})(?={_NUMBER})|{_NEW_LINE}(?={_BULLET})"
            rf"|{_END_OF_SENTENCE}{_NEW_LINE}(?!{FIRST_ITEM})",
        ),
        (
            Joint.SUBITEM,
            rf"(?:{_NEW_LINE}|{_BEHIND_LEAD_IN})(?!{FIRST_ITEM})(?={_LETTER})"
            rf"|{_NEW_LINE}(?!{FIRST_ITEM})(?={_SMALL_NUMBER})",
        ),
        (Joint.LINE, rf"{_NEW_LINE}(?!{FIRST_ITEM})"),
    )
}
# Sentences of courts run over a page: 할 것이고, 따라서. In 여부(적극) / 그 효력 the stroke parts questions.
_CLAUSE = re.compile(r"(?:(?<=[고며나면서데만니여바][,;])|(?<=\s/))\s++")
_COMMA = re.compile(r"(?<=[,;])\s++")
# Not behind the mark of a heading, which it would be parted from.
_SPACE = re.compile(r"(?<=[^\s#])\s++")
# How far the patterns look beyond the limit: as far as the title of an article goes.
_LOOKAHEAD = 80
_BEGIN_OF_LINE_OR_SENTENCE = re.compile(rf"{_NEW_LINE}|{LIKELY_ENDS.pattern}")


def best_cut(text: str, begin: int, limit: int) -> Cut:
    """Return where to cut `text[begin:limit]`, behind `begin`; white space right behind the limit may be cut away."""
    low = begin + max(1, (limit - begin) // 2)
    for joint, find in _FINDERS:
        if (place := find(text, begin, low, limit)) is not None:
            return Cut(place, joint)
    return Cut(max(limit, begin + 1), Joint.ANYWHERE)


def first_begin(text: str, low: int, high: int) -> int:
    """Return where the first sentence or line begins between low and high, else the first word, else high."""
    for pattern in (_BEGIN_OF_LINE_OR_SENTENCE, _SPACE):
        for match in pattern.finditer(text, max(0, low - 1), high):
            if low <= match.end() < high:
                return match.end()
    return high


def _last(pattern: re.Pattern[str], text: str, low: int, limit: int) -> int | None:
    """Return where the last gap of this pattern ends that begins between low and limit."""
    place = None
    for match in pattern.finditer(text, low, min(len(text), limit + _LOOKAHEAD)):
        if match.start() > limit:
            break
        place = match.end()
    return place


def _finder(pattern: re.Pattern[str]) -> _Find:
    return lambda text, _begin, low, limit: _last(pattern, text, low, limit)


_FINDERS: tuple[tuple[Joint, _Find], ...] = (
    *((joint, _finder(pattern)) for joint, pattern in _PATTERNS.items()),
    (Joint.CELL, lambda text, _begin, low, limit: table_rows.last_cell(text, low, limit)),
    (Joint.SENTENCE, last_sure_end),
    (Joint.LINE, _finder(re.compile(_NEW_LINE))),  # rather part a list from what announces it than a sentence
    (Joint.SENTENCE_BY_KIWI, lambda text, _begin, low, limit: last_end_by_kiwi(text, low, limit)),
    (Joint.LIKELY_SENTENCE, _finder(LIKELY_ENDS)),
    (Joint.CLAUSE, _finder(_CLAUSE)),
    (Joint.CLAUSE, _finder(_COMMA)),
    (Joint.SPACE, _finder(_SPACE)),
)
