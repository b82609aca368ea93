"""What Kiwi, a morphological analyser with a language model, thinks of Korean text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

# The numbers that Kiwi gives to common and proper nouns which it does not know; others have one each.
_UNKNOWN_NOUNS = frozenset((2, 3))


class Morpheme(Protocol):
    """What is used of Kiwi's token: form, tag of the Sejong set, place in the text in code points, number."""

    form: str
    tag: str
    start: int
    end: int
    id: int


def log_likelihood(text: str, kiwi: "Kiwi") -> float:
    """Return the log likelihood of the text, in nats, below 0. About -16 for any frequent word, -25 for babble."""
    return float(kiwi.analyze(text)[0][1])


def morphemes(text: str, kiwi: "Kiwi") -> Sequence[Morpheme]:
    """Return the morphemes of the text, in the order of their places."""
    found: Sequence[Morpheme] = kiwi.analyze(text)[0][0]
    return found


def is_unknown(morpheme: Morpheme) -> bool:
    """Say whether Kiwi made the morpheme up, for want of a known one."""
    return morpheme.id in _UNKNOWN_NOUNS
