"""Where the words of a query stand in a hit."""

from collections import Counter
from collections.abc import Iterable, Sequence

from encoder_service.search.requests import Highlight
from kosearch.korean.morphemes import Term


def find_highlights(wanted: frozenset[str], title: Sequence[Term], text: Sequence[Term]) -> list[Highlight]:
    """Return the stretches of title, then text, that answer the wanted words, in the order of their places.

    Stretches that touch or overlap are one; its `term` then names all words of it, in their order, by spaces.
    """
    return [*_stretches(wanted, title, is_in_title=True), *_stretches(wanted, text, is_in_title=False)]


def count_matches(wanted: Iterable[str], title: Sequence[Term], text: Sequence[Term]) -> list[tuple[str, int]]:
    """Return each wanted word that title or text have, with how often, in the order of the query."""
    counts = Counter(term.text for term in (*title, *text))
    return [(word, counts[word]) for word in dict.fromkeys(wanted) if counts[word]]


def _stretches(wanted: frozenset[str], terms: Sequence[Term], *, is_in_title: bool) -> Iterable[Highlight]:
    found = sorted((term.start, term.end, term.text) for term in terms if term.text in wanted and term.start < term.end)
    words: list[str] = []
    start = end = -1
    for next_start, next_end, word in found:
        if words and next_start > end:
            yield Highlight(start, end, is_in_title, _joined(words))
            words = []
        if not words:
            start, end = next_start, next_end
        words.append(word)
        end = max(end, next_end)
    if words:
        yield Highlight(start, end, is_in_title, _joined(words))


def _joined(words: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(words))
