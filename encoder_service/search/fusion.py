"""Two ranked lists into one. Pure: the same candidates give the same order, whichever engine found them."""

from collections.abc import Callable, Mapping
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
    """A chunk that may become a hit, its score, and where each leg has it."""

    key: PointKey
    score: float
    dense: Place | None = None
    lexical: Place | None = None


Leg = Mapping[PointKey, Place]
_Points = Callable[[Leg], dict[PointKey, float]]


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
    """Return all candidates of both legs by falling score, equal scores by point id. A leg adds 0 for what it lacks."""
    points = _points_by(fusion)
    of_dense, of_lexical = points(dense), points(lexical)
    candidates = [
        Candidate(
            key,
            (1 - fusion.lexical_weight) * of_dense.get(key, 0.0) + fusion.lexical_weight * of_lexical.get(key, 0.0),
            dense.get(key),
            lexical.get(key),
        )
        for key in dense.keys() | lexical.keys()
    ]
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.key))


def _points_by(fusion: Fusion) -> _Points:
    match fusion.method:
        case FusionMethod.RRF:
            return lambda leg: _reciprocal_ranks(leg, fusion.rrf_k)
        case FusionMethod.WEIGHTED:
            return _stretched
        case FusionMethod.DBSF:
            return _by_distribution


def _reciprocal_ranks(leg: Leg, k: int) -> dict[PointKey, float]:
    """Source: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion", SIGIR 2009; ranks from 1, there k = 60."""
    return {key: 1 / (k + place.rank) for key, place in leg.items()}


def _stretched(leg: Leg) -> dict[PointKey, float]:
    """From 0 for the last to 1 for the first; all 1 where they do not differ."""
    scores = [place.score for place in leg.values()]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    if low == high:
        return dict.fromkeys(leg, 1.0)
    return {key: (place.score - low) / (high - low) for key, place in leg.items()}


def _by_distribution(leg: Leg) -> dict[PointKey, float]:
    """From 0, three standard deviations below the mean, to 1, three above it; all 0.5 where they do not differ.

    Source: Qdrant's distribution-based score fusion.
    """
    scores = [place.score for place in leg.values()]
    mean = fsum(scores) / max(1, len(scores))
    deviation = sqrt(fsum((score - mean) ** 2 for score in scores) / max(1, len(scores) - 1))
    if deviation == 0:
        return dict.fromkeys(leg, 0.5)
    low = mean - 3 * deviation
    return {key: min(1.0, max(0.0, (place.score - low) / (6 * deviation))) for key, place in leg.items()}
