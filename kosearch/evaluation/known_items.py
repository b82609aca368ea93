"""Known-item queries: of a sample of a collection's own documents, made so that each has one right answer.

Source: Azzopardi & de Rijke, Automatic construction of known-item finding test beds, SIGIR 2006. Theirs draw words at
random from a document; ours take what people do type: a title, telling words, a sentence.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kosearch.evaluation.korean_texts import content_words_of, sentences_of, without_particles
from kosearch.evaluation.searching import FoundDocument

RECIPES = ("title", "telling_words", "sentence", "sentence_without_particles")
_FEWEST_WORDS, _MOST_WORDS = 3, 5
_SENTENCE_WORDS = 8
# Of long documents: Kiwi reads about 80,000 characters a second.
_READ_CHARACTERS = 10_000
_NO_WORDS = re.compile(r"[^\w\s]+")


@dataclass(frozen=True, slots=True)
class SampledDocument:
    """A document put together from its chunks."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class KnownItem:
    """A query made from a document, which is its only right answer."""

    recipe: str
    query: str
    document: SampledDocument


def known_items(documents: Sequence[SampledDocument]) -> list[KnownItem]:
    """Make queries by each recipe that a document has something for: four at most, in the order of RECIPES."""
    words = [content_words_of(document.text[:_READ_CHARACTERS]) for document in documents]
    holders = Counter(word for of_document in words for word in set(of_document))
    found = []
    for document, of_document in zip(documents, words, strict=True):
        sentence = middle_sentence(document.text[:_READ_CHARACTERS])
        queries = {
            "title": " ".join(document.title.split()),
            "telling_words": " ".join(telling_words(of_document, holders, len(documents))),
            "sentence": sentence,
            "sentence_without_particles": without_particles(sentence),
        }
        found += [KnownItem(recipe, queries[recipe], document) for recipe in RECIPES if queries[recipe]]
    return found


def telling_words(words: Sequence[str], holders: Mapping[str, int], document_count: int) -> list[str]:
    """Return the 5 words with the highest tf-idf in the order in which they first stand; none where there are under 3.

    words: of the document; holders: word -> documents of the sample that have it.
    """
    counts = Counter(words)
    if len(counts) < _FEWEST_WORDS:
        return []
    # log(1 + tf): a long document repeats its subject, and would be asked for by that alone.
    weight = {
        word: math.log1p(count) * math.log((document_count + 1) / (holders[word] + 0.5))
        for word, count in counts.items()
    }
    best = set(sorted(counts, key=lambda word: (-weight[word], word))[:_MOST_WORDS])
    return [word for word in counts if word in best]


def middle_sentence(text: str) -> str:
    """Return the first 8 words of the sentence nearest the middle that has 4 or more; empty where none has."""
    sentences = [" ".join(sentence.split()) for sentence in sentences_of(text)]
    middle = len(sentences) // 2
    by_distance = sorted(range(len(sentences)), key=lambda place: (abs(place - middle), place))
    for place in by_distance:
        words = sentences[place].split()
        if len(words) > _FEWEST_WORDS:
            return _NO_WORDS.sub(" ", " ".join(words[:_SENTENCE_WORDS])).strip()
    return ""


def is_ambiguous(item: KnownItem, found: Sequence[FoundDocument], titles: Mapping[str, int]) -> bool:
    """Tell whether another document answers as well: one found has the same text, or, asked by title, the same title.

    titles: title -> documents of the sample that have it.
    """
    others = [document for document in found if document.id != item.document.id]
    # A chunk of some length: that two documents share a short one (a heading, a signature) says nothing.
    own_text = _squeezed(item.document.text)
    if any(len(text) >= 50 and own_text.startswith(text) for text in (_squeezed(other.text) for other in others)):
        return True
    title = item.document.title
    return item.recipe == "title" and (titles.get(title, 0) > 1 or any(other.title == title for other in others))


def _squeezed(text: str) -> str:
    return "".join(text.split())
