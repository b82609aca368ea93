"""What Kiwi says about the words of a corpus: how often each occurs, and of which morphemes it consists."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from kiwipiepy import Kiwi, Token

from trainer.encoders.tokenizer import word_parts

_WORD = re.compile(r"\S+")
# Numbers, Latin, Hanja, symbols, emoji: Kiwi has one vector for all numbers, one for all Latin words, and so on.
_WITHOUT_VECTOR = ("S", "W", "UN")


@dataclass(slots=True)
class WordStatistics:
    """Counts over a corpus.

    parts: content parts and chains, as `tokenizer.word_parts` cuts them
    morphemes: Kiwi's morpheme ids
    words: (word, its morpheme ids) -> occurrences; a word is what stands between spaces
    """

    parts: Counter[str] = field(default_factory=Counter)
    morphemes: Counter[int] = field(default_factory=Counter)
    words: Counter[tuple[str, tuple[int, ...]]] = field(default_factory=Counter)

    def add(self, text: str, tokens: list[Token]) -> None:
        """Count one analysed text."""
        self.parts.update(word_parts(text, tokens))
        spans = [match.span() for match in _WORD.finditer(text)]
        by_word: list[list[int]] = [[] for _ in spans]
        position = 0
        for token in tokens:
            while position + 1 < len(spans) and token.start >= spans[position + 1][0]:
                position += 1
            if spans and not token.oov and not token.tag.startswith(_WITHOUT_VECTOR):
                by_word[position].append(token.base_id)
        for (start, end), morphemes in zip(spans, by_word, strict=True):
            self.morphemes.update(morphemes)
            self.words[text[start:end], tuple(morphemes)] += 1


def count_words(kiwi: Kiwi, texts: Iterable[str]) -> WordStatistics:
    """Analyse texts of at most a few thousand characters each. Kiwi uses its own worker threads."""
    statistics = WordStatistics()
    for tokens, text in kiwi.tokenize(texts, echo=True):
        statistics.add(text, tokens)
    return statistics
