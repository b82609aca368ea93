"""How a query is read: as its writer meant it, as far as that is sure."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kosearch.korean.keyboard import compose
from kosearch.korean.layouts import read_layouts
from kosearch.korean.plausibility import Morpheme, morphemes
from kosearch.korean.spacing import respace
from kosearch.korean.typos import mend_spelling, mend_typos
from kosearch.text import normalise

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

# A longer text was pasted, not typed; and what Kiwi takes of a hostile one stays within milliseconds.
MAX_READ_CHARACTERS = 200
_HALF_SURROGATE = re.compile("[\ud800-\udfff]")
_OTHER_WIDTH = re.compile("[\uff01-\uffdc]")
_COMPATIBLE = re.compile("[^\x00-\x7f가-힣ㄱ-ㆎ]")
_CONJOINING_JAMO = re.compile("[\u1100-\u11ff]")
_HANGUL = re.compile("[가-힣ㄱ-ㅣ]")
# Alternatives of a query; none of a typed one has more.
_MAX_ALTERNATIVES = 16


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """What is left as it was typed: the keyboard layout and jamo, spaces, slips within words."""

    keeps_keyboard: bool = False
    keeps_spacing: bool = False
    keeps_typos: bool = False


@dataclass(frozen=True, slots=True)
class ReadQuery:
    """A query as it was read.

    text: what the encoder reads
    lexical_text: what the morpheme analyser reads: the text, then other readings of single words. A word that is in no
        document costs a search by word nothing.
    changes: of `width`, `keyboard`, `spacing` and `typos`, the steps that changed the text
    morphemes: of the lexical text, where reading it has found them
    """

    text: str
    lexical_text: str
    changes: tuple[str, ...]
    morphemes: Sequence[Morpheme] | None = field(default=None, compare=False, repr=False)


class QueryReader:
    """Reads queries. The Kiwi may be shared; it is asked for at most `MAX_READ_CHARACTERS` at once."""

    def __init__(self, kiwi: "Kiwi") -> None:
        self._kiwi = kiwi

    def read(self, query: str, options: ReadingOptions = ReadingOptions()) -> ReadQuery:
        """Return the query as its writer meant it. Takes any text; lone surrogates are dropped."""
        typed = normalise(_HALF_SURROGATE.sub("", query))
        steps = _Steps(normalise(_OTHER_WIDTH.sub(_in_usual_width, typed)))
        steps.changes = ["width"] if steps.text != typed else []
        steps.alternatives = _spelt_otherwise(typed, steps.text)
        if not options.keeps_keyboard:
            self._read_keyboard(steps)
        if len(steps.text) <= MAX_READ_CHARACTERS and _HANGUL.search(steps.text):
            self._read_hangul(steps, options)
        lexical_text = _lexical(steps)
        analysed, found = steps.analysed
        return ReadQuery(steps.text, lexical_text, tuple(steps.changes), found if lexical_text == analysed else None)

    def _read_keyboard(self, steps: "_Steps") -> None:
        text = compose(steps.text)
        alternatives: tuple[str, ...] = ()
        if len(text) <= MAX_READ_CHARACTERS:
            text, alternatives = read_layouts(text, self._kiwi)
        steps.take("keyboard", text, alternatives)

    def _read_hangul(self, steps: "_Steps", options: ReadingOptions) -> None:
        if not options.keeps_typos:
            steps.take("typos", mend_spelling(steps.text))
        if options.keeps_spacing and options.keeps_typos:
            return
        found = self._morphemes(steps)
        if not options.keeps_spacing and steps.take("spacing", respace(steps.text, found, self._kiwi)):
            found = self._morphemes(steps)
        if not options.keeps_typos:
            steps.take("typos", *mend_typos(steps.text, found, self._kiwi))

    def _morphemes(self, steps: "_Steps") -> Sequence[Morpheme]:
        found = morphemes(steps.text, self._kiwi)
        steps.analysed = (steps.text, found)
        return found


class _Steps:
    """A query on its way through the steps."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.changes: list[str] = []
        self.alternatives: list[str] = []
        # What was analysed last, and its morphemes.
        self.analysed: tuple[str, Sequence[Morpheme]] = ("", ())

    def take(self, step: str, text: str, alternatives: tuple[str, ...] = ()) -> bool:
        """Go on with the text; say whether it is another. It stays NFC where syllables came to stand before jamo."""
        text = unicodedata.normalize("NFC", text)
        self.alternatives += alternatives
        is_changed = text != self.text
        if is_changed and step not in self.changes:
            self.changes.append(step)
        self.text = text
        return is_changed


def _in_usual_width(match: re.Match[str]) -> str:
    """Return a full-width Latin letter or a half-width kana or jamo as it is usually written.

    Not by NFKC, which makes conjoining jamo of half-width ones; these are taken apart one step only.
    """
    kind, _, code = unicodedata.decomposition(match[0]).partition(" ")
    return chr(int(code, 16)) if kind in ("<wide>", "<narrow>") else match[0]


def _spelt_otherwise(typed: str, text: str) -> list[str]:
    """Return words as they were typed and as NFKC has them, where the text differs: stored texts may have either."""
    if typed == text and not _COMPATIBLE.search(text):
        return []
    words = text.split(" ")
    return [word for word in typed.split(" ") if word not in words] + [
        compatible for word in words if (compatible := _compatible(word)) != word
    ]


def _compatible(word: str) -> str:
    compatible = _COMPATIBLE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), word)
    return word if _CONJOINING_JAMO.search(compatible) else compatible


def _lexical(steps: _Steps) -> str:
    alternatives = list(dict.fromkeys(steps.alternatives))[:_MAX_ALTERNATIVES]
    return " ".join([steps.text, *alternatives])
