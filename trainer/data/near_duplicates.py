"""Find texts that are almost a protected text: character n-grams, an inverted index over the rare ones, then a count.

Korean inflects by endings and particles, so words rarely repeat exactly where sentences do; four characters in a row
(without spaces and punctuation) do.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

_GRAM_LENGTH = 4
# Chosen by reading what they find among KorSTS, KLUE and the paraphrase sets against all evaluation sets. Alike in four
# fifths of the n-grams are `남자가 첼로를 조율하고 있다` and `한 남자가 첼로를 조율하고 있다`; at seven tenths it is
# `두 남자가 그네를 타고 있다` and `한 남자가 그네를 타고 있다`, which is what a model has to tell apart.
LOWEST_JACCARD = 0.8
# A long sentence that is mostly inside another one has the same origin, a short one is a common phrase:
# `가능한 한 빨리`, `소녀가 인형을 가지고 놀고 있다`.
LOWEST_CONTAINMENT = 0.7
SHORTEST_CONTAINED = 20


@dataclass(frozen=True, slots=True)
class NearMatch:
    """A protected text that a text almost equals.

    containment: share of the protected text's n-grams that the text has as well, in [0, 1]
    jaccard: shared n-grams / all n-grams of both, in [0, 1]
    """

    protected: str
    containment: float
    jaccard: float


class NearDuplicateIndex:
    """Looks one text up among many protected ones; both as `leak_check.leak_key` writes them.

    Whoever shares at least 70 % of a text's n-grams shares one of its rarest 30 % (and one): only those are indexed, so
    that a frequent ending such as `하고있다` leads to no candidates. Source: the prefix filter of Chaudhuri et al.,
    ICDE 2006.
    """

    def __init__(self, protected: Iterable[str]) -> None:
        self._grams = {key: grams for key in protected if (grams := grams_of(key))}
        frequency = Counter(gram for grams in self._grams.values() for gram in grams)
        postings: defaultdict[str, list[str]] = defaultdict(list)
        for key, grams in self._grams.items():
            for gram in sorted(grams, key=lambda gram: (frequency[gram], gram))[: _prefix_length(len(grams))]:
                postings[gram].append(key)
        self._postings = dict(postings)
        self._indexed = frozenset(postings)

    def find(self, key: str) -> NearMatch | None:
        """The protected text that `key` is most like, when it is a near duplicate of any."""
        grams = grams_of(key)
        candidates = {protected for gram in self._indexed & grams for protected in self._postings[gram]}
        matches = (compare(protected, self._grams[protected], grams) for protected in candidates)
        near = [match for match in matches if is_near(match)]
        return max(near, key=lambda match: (match.jaccard, match.protected), default=None)


def grams_of(key: str) -> frozenset[str]:
    """The character n-grams of a text; none when it is shorter than one."""
    return frozenset(key[start : start + _GRAM_LENGTH] for start in range(len(key) - _GRAM_LENGTH + 1))


def compare(protected: str, protected_grams: frozenset[str], grams: frozenset[str]) -> NearMatch:
    """How far `grams` cover the grams of a protected text."""
    shared = len(protected_grams & grams)
    return NearMatch(
        protected,
        containment=shared / len(protected_grams),
        jaccard=shared / (len(protected_grams) + len(grams) - shared),
    )


def is_near(match: NearMatch) -> bool:
    """Whether two texts are too alike for one to be trained on and the other to be tested with."""
    is_long = len(match.protected) >= SHORTEST_CONTAINED
    return match.jaccard >= LOWEST_JACCARD or (is_long and match.containment >= LOWEST_CONTAINMENT)


def _prefix_length(gram_count: int) -> int:
    lowest = min(LOWEST_JACCARD, LOWEST_CONTAINMENT)  # a Jaccard index is never above the containment
    return gram_count - math.ceil(lowest * gram_count) + 1
