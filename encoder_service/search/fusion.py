"""Two ranked lists into one. Pure: the same candidates give the same order, whichever engine found them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import fsum, sqrt
from typing import NamedTuple

from encoder_service.search.requests import Fusion, FusionMethod, Place


class PointKey(NamedTuple):
    """A point: its id, and the place of its collection in the request. Their order breaks ties of scores."""

    point_id: str
    collection: int = 0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that may become a hit, its score, where each leg has it, and how like the query it is token by token."""

    key: PointKey
    score: float
    dense: Place | None = None
    lexical: Place | None = None
    max_sim: float | None = None


Leg = Mapping[PointKey, Place]


class _Points(NamedTuple):
    """What a leg gives to a candidate, and to one that it lacks."""

    of: dict[PointKey, float]
    otherwise: float = 0.0


# That many points of BM25 weigh as much as a cosine of 1. Chosen by measurement, see docs/search.md.
_BM25_UNIT = 30.0


def ranked(scores: Mapping[PointKey, float], limit: int) -> dict[PointKey, Place]:
    """Return the best of a leg by falling score with their ranks; equal scores by point id."""
    best = sorted(scores.items(), key=lambda scored: (-scored[1], scored[0]))[:limit]
    return {key: Place(rank, score) for rank, (key, score) in enumerate(best, start=1)}


def from_dense(leg: Leg) -> list[Candidate]:
    """Return the candidates of a search by meaning alone; scores are those of the leg."""
    return [Candidate(key, place.score, dense=place) for key, place in leg.items()]


def from_lexical(leg: Leg) -> list[Candidate]:
    """Return the candidates of a search by words alone; scores are those of the leg."""
    return [Candidate(key, place.score, lexical=place) for key, place in leg.items()]


def fuse(dense: Leg, lexical: Leg, fusion: Fusion) -> list[Candidate]:
    """Return all candidates of both legs by falling score, equal scores by point id."""
    of_dense, of_lexical = _points(dense, lexical, fusion)

    def score(key: PointKey) -> float:
        by_meaning = of_dense.of.get(key, of_dense.otherwise)
        by_words = of_lexical.of.get(key, of_lexical.otherwise)
        return (1 - fusion.lexical_weight) * by_meaning + fusion.lexical_weight * by_words

    candidates = [Candidate(key, score(key), dense.get(key), lexical.get(key)) for key in dense.keys() | lexical.keys()]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.key))


def _points(dense: Leg, lexical: Leg, fusion: Fusion) -> tuple[_Points, _Points]:
    match fusion.method:
        case FusionMethod.LINEAR:
            return _cosines(dense), _bm25(lexical)
        case FusionMethod.RRF:
            return _reciprocal_ranks(dense, fusion.rrf_k), _reciprocal_ranks(lexical, fusion.rrf_k)
        case FusionMethod.WEIGHTED:
            return _stretched(dense), _stretched(lexical)
        case FusionMethod.DBSF:
            return _by_distribution(dense), _by_distribution(lexical)


def _cosines(leg: Leg) -> _Points:
    """As they are. What the leg lacks is at most as near as its last candidate, and not much farther."""
    scores = {key: place.score for key, place in leg.items()}
    return _Points(scores, min(scores.values(), default=0.0))


def _bm25(leg: Leg) -> _Points:
    """As it is, by its unit: a query whose rare words are found together counts for more than one of common words."""
    return _Points({key: place.score / _BM25_UNIT for key, place in leg.items()})


def _reciprocal_ranks(leg: Leg, k: int) -> _Points:
    """Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion", SIGIR 2009; ranks from 1, there k = 60."""
    return _Points({key: 1 / (k + place.rank) for key, place in leg.items()})


def _stretched(leg: Leg) -> _Points:
    """From 0 for the last to 1 for the first; all 1 where they do not differ."""
    scores = [place.score for place in leg.values()]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if low == high:
        return _Points(dict.fromkeys(leg, 1.0))
    return _Points({key: (place.score - low) / (high - low) for key, place in leg.items()})


def _by_distribution(leg: Leg) -> _Points:
    """From 0, three standard deviations below the mean, to 1, three above it; all 0.5 where they do not differ.

    Source: Qdrant's distribution-based score fusion.
    """
    scores = [place.score for place in leg.values()]
    mean = fsum(scores) / max(1, len(scores))
    deviation = sqrt(fsum((score - mean) ** 2 for score in scores) / max(1, len(scores) - 1))
    if deviation == 0:
        return _Points(dict.fromkeys(leg, 0.5))
    low = mean - 3 * deviation
    return _Points({key: min(1.0, max(0.0, (place.score - low) / (6 * deviation))) for key, place in leg.items()})
