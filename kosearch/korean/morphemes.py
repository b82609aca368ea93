"""Words of Korean text as sparse vectors for search by word: BM25 over morphemes, with syllable pairs beside them.

No Qdrant finds `시스템은` by `시스템`: Korean particles and endings are written onto the word, and Kiwi takes them off.
What is kept are the words that say what a text is about, as the dictionary has them (`판결하였고` is `판결`, `더웠다`
is `덥다`), and, with less weight, the pairs of syllables within and between them: a name that the dictionary does not
have is cut in two ways in two sentences, and a slip of a finger leaves most pairs as they are.

The weights are those of BM25 without its IDF, which Qdrant knows and applies (`Modifier.IDF`).
Source: Robertson & Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009, with k1 and b below.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

from kosearch.sparse_vectors import SparseVector, sparse_vector

if TYPE_CHECKING:
    from kiwipiepy import Kiwi

# Raise it when the same text would get another vector: what was indexed before is then known to be stale.
LEXICAL_VERSION = 1

# Sejong tags, as Kiwi has them: nouns, numerals, verbs, adjectives, roots, adverbs, prefixes and suffixes of nouns, and
# what is not Korean. Particles, endings and auxiliary verbs are left out, and so are 하다 and 되다 behind a root.
_WORD_TAGS = frozenset(
    "NNG NNP NNB NR VV VA XR MAG XPN XSN SL SH SN W_SERIAL W_URL W_EMAIL W_HASHTAG W_MENTION W_EMOJI UN".split()  # noqa: SIM905
)
# Of these, what syllable pairs are made of: a name or compound may be cut anywhere.
_PAIR_TAGS = frozenset("NNG NNP NNB NR XR XPN XSN SL SH SN UN".split())  # noqa: SIM905
_VERBS = ("VV", "VA")
# No word holds it, so that no pair is taken for a word.
_PAIR_MARK = "\N{MIDDLE DOT}"

# Chosen on the training questions of MIRACL-ko and Mr.TyDi-ko (2,150) over 65,580 chunks of 21,622 pages, nDCG@10 by
# page: 74.8 and 68.5 for words alone with the usual b = 0.75; 75.4 and 69.7 with b = 0.4; 77.1 and 72.0 with pairs of
# half the weight. Pairs over gaps as well bring less and double the vector; whole compounds bring nothing.
_K1 = 1.2
_B = 0.4
# In the mean of 65,580 chunks of Wikipedia, of 256 tokens at most; BM25 only wants to know which texts are long.
_MEAN_WORDS = 80.0
_MEAN_PAIRS = 100.0
_PAIR_WEIGHT = 0.5
# One code point for each: full-width letters and digits, which Kiwi takes for symbols, become what they stand for;
# halves of surrogate pairs, which it cannot give back, become the sign for what is unknown.
_READABLE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)
# Kiwi crashed once on hostile input (kiwipiepy#158): it gets no more than this at once, cut at white space if possible.
_MAX_STRETCH = 4_096
_STRETCH = re.compile(rf"(?s).{{1,{_MAX_STRETCH}}}(?=\s|\Z)|.{{1,{_MAX_STRETCH}}}")


class Term(NamedTuple):
    """A word in a text.

    text: as the dictionary has it, in lower case
    start, end: code points in the text it was found in
    """

    text: str
    start: int
    end: int


class _Word(NamedTuple):
    term: str
    makes_pairs: bool
    start: int
    end: int


class MorphemeAnalyser:
    """Finds the words of texts. While it analyses one, other threads run."""

    def __init__(self, kiwi: "Kiwi") -> None:
        self._kiwi = kiwi
        self._count_title = lru_cache(maxsize=1024)(self._count)

    @property
    def signature(self) -> str:
        """Return what the vector of a text depends on, beside the text and the words that were added."""
        return f"{LEXICAL_VERSION} {version('kiwipiepy')} {version('kiwipiepy_model')}"

    def terms(self, text: str) -> list[Term]:
        """Return the words of a text in order, with their places."""
        return [Term(word.term, word.start, word.end) for word in self._words(text)]

    def document_vector(self, title: str, text: str) -> SparseVector:
        """Return the vector of a chunk: BM25's weights of its words and syllable pairs, without IDF."""
        words, pairs = self._count(text)
        if title:
            title_words, title_pairs = self._count_title(title)
            words, pairs = words + title_words, pairs + title_pairs
        return sparse_vector(_saturated(words, _MEAN_WORDS) | _saturated(pairs, _MEAN_PAIRS))

    def query_vector(self, query: str, found: Sequence[Any] | None = None) -> SparseVector:
        """Return the vector of a query; its product with a chunk's, each term times its IDF, is the score.

        found: Kiwi's morphemes of the query, of whoever has them already
        """
        words, pairs = self._count(query, found)
        return sparse_vector(dict.fromkeys(words, 1.0) | dict.fromkeys(pairs, _PAIR_WEIGHT))

    def _count(self, text: str, found: Sequence[Any] | None = None) -> tuple[Counter[str], Counter[str]]:
        words = self._words(text) if found is None else list(_kept(found))
        return Counter(word.term for word in words), Counter(_pairs(text, words))

    def _words(self, text: str) -> list[_Word]:
        return [word for begin, stretch in _stretches(text) for word in _kept(self._kiwi.tokenize(stretch), begin)]


def _kept(found: Iterable[Any], begin: int = 0) -> Iterator[_Word]:
    """Yield the words among Kiwi's morphemes of a stretch that begins there."""
    for token in found:
        tag = token.tag.partition("-")[0]  # Kiwi says of conjugation, too: VV-I
        if tag in _WORD_TAGS:
            start = begin + token.start
            yield _Word(_dictionary_form(token), tag in _PAIR_TAGS, start, start + token.len)


def _stretches(text: str) -> Iterator[tuple[int, str]]:
    """Yield the text in parts that Kiwi takes in one go, with the place of each."""
    if not text.isascii():
        text = text.translate(_READABLE)
    if len(text) <= _MAX_STRETCH:
        yield 0, text
        return
    for stretch in _STRETCH.finditer(text):
        yield stretch.start(), stretch.group()


def _dictionary_form(token: Any) -> str:
    """Return a word of Kiwi's as the dictionary has it: `덥다` of 더웠다, `1234` of 1,234, `kb` of KB."""
    if token.tag.startswith(_VERBS):
        return str(token.lemma)
    form = unicodedata.normalize("NFKC", token.form).lower()
    return form.replace(",", "") if token.tag == "SN" else form


def _pairs(text: str, words: Sequence[_Word]) -> Iterator[str]:
    """Yield pairs of neighbouring syllables of nouns and names that are written together."""
    before, end = "", -1
    for word in words:
        if word.makes_pairs:
            if word.start != end:
                before = ""
            for syllable in text[word.start : word.end].lower():
                if before:
                    yield f"{_PAIR_MARK}{before}{syllable}"
                before = syllable
            end = word.end


def _saturated(counts: Counter[str], mean_length: float) -> dict[str, float]:
    """Return BM25's weight of each term of a text."""
    norm = _K1 * (1 - _B + _B * counts.total() / mean_length)
    return {term: count * (_K1 + 1) / (count + norm) for term, count in counts.items()}
