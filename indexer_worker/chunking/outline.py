"""The headings of a text: which of them stand above a place. Markdown's `#`, and 편 장 절 관 조 of Korean statutes."""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

# Not a reference such as `제57조(재판의 공개) 제2항` that happens to begin a line.
ARTICLE = (
    r"제\d+조(?:의\d+)?\s?\([^()\n]{1,60}\)"
    r"(?=\s*(?:$|[①-⑳])|\s(?!\s*(?:제\d|각\s?[항호]|및|또는|내지|등[\s의]|ㆍ)))"
)
_HEADING = re.compile(
    rf"""^[^\S\n]*+(?:
        (?P<marks>\#{{1,6}})[ \t]++(?P<title>[^\n]+)
      | (?P<part>제\s?\d+\s?(?P<unit>편|장|절|관)(?:의\d+)?[^\S\n]++[^\n]{{1,60}})$
      | (?P<article>{ARTICLE})
    )""",
    re.MULTILINE | re.VERBOSE,
)
_LEVELS_OF_UNITS = {"편": 7, "장": 8, "절": 9, "관": 10}
_LEVEL_OF_ARTICLES = 11


@dataclass(frozen=True, slots=True)
class Heading:
    """start: where its line begins; level: 1 is the highest."""

    start: int
    level: int
    title: str


class Outline:
    """The headings above a place that moves forward through a text."""

    def __init__(self, text: str) -> None:
        headings = list(headings_of(text))
        self._starts = [heading.start for heading in headings]
        self._coming = headings[::-1]
        self._above: list[Heading] = []

    def section_start(self, place: int) -> int:
        """Return where the section begins that `place` is in: at its heading, or at 0."""
        passed = bisect_right(self._starts, place)
        return self._starts[passed - 1] if passed else 0

    def move_to(self, place: int) -> tuple[Heading, ...]:
        """Return the headings above a chunk that begins at `place`, outermost first; places must not decrease."""
        while self._coming and self._coming[-1].start < place:
            heading = self._coming.pop()
            self._close(heading.level)
            self._above.append(heading)
        # A chunk that begins with a heading has it in its text; those beside it have ended.
        if self._coming and self._coming[-1].start == place:
            self._close(self._coming[-1].level)
        return tuple(self._above)

    def _close(self, level: int) -> None:
        while self._above and self._above[-1].level >= level:
            self._above.pop()


def headings_of(text: str) -> Iterator[Heading]:
    """Yield the headings of a text in order."""
    for match in _HEADING.finditer(text):
        marks, title, part, unit, article = match.group("marks", "title", "part", "unit", "article")
        start = match.start() + len(match[0]) - len(match[0].lstrip())
        if marks:
            yield Heading(start, len(marks), title.rstrip("# \t"))
        elif part:
            yield Heading(start, _LEVELS_OF_UNITS[unit], part.strip())
        else:
            yield Heading(start, _LEVEL_OF_ARTICLES, article)
