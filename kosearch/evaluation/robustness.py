"""The same queries intact and damaged: what share of nDCG@10 is left of each kind of damage."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kosearch.evaluation.bootstrap import Interval, mean_interval, share_kept
from kosearch.evaluation.damage import DAMAGES, damage
from kosearch.evaluation.metrics import METRICS
from kosearch.evaluation.retrieval import search_figures
from kosearch.evaluation.searching import EvaluatedMode, SearchDocuments
from kosearch.evaluation.trec_files import JudgedQuery

_TOP_K = 10
_NDCG = METRICS.index("ndcg_at_10")


@dataclass(frozen=True, slots=True)
class DamageFigures:
    """nDCG@10 of the `n` queries that could be damaged in this way: intact, damaged, and the share that is left."""

    kind: str
    n: int
    clean: Interval
    damaged: Interval
    kept: Interval


@dataclass(frozen=True, slots=True)
class ModeRobustness:
    """Figures of one way to search; `clean`: nDCG@10 of all queries intact."""

    mode: EvaluatedMode
    clean: Interval
    damages: Sequence[DamageFigures]


@dataclass(frozen=True, slots=True)
class RobustnessReport:
    """What was measured; `examples` has a query of each kind of damage."""

    collection: str
    queries: int
    seed: int
    modes: Sequence[ModeRobustness]
    examples: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DamagedQueries:
    """Queries damaged in one way, and their places among the intact ones."""

    kind: str
    places: Sequence[int]
    queries: Sequence[JudgedQuery]


def damage_all(queries: Sequence[JudgedQuery], seed: int) -> list[DamagedQueries]:
    """Damage all queries in every way that leaves something to ask."""
    found = []
    for kind in DAMAGES:
        texts = [damage(query.text, kind, seed) for query in queries]
        damaged = [(place, text) for place, text in enumerate(texts) if text is not None]
        if damaged:
            changed = [replace(queries[place], text=text) for place, text in damaged]
            found.append(DamagedQueries(kind, [place for place, _ in damaged], changed))
    return found


def evaluate_robustness(
    search: SearchDocuments,
    collection: str,
    queries: Sequence[JudgedQuery],
    damaged: Sequence[DamagedQueries],
    modes: Sequence[EvaluatedMode],
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> RobustnessReport:
    """Search for all queries, intact and damaged, in every mode. `advance` is called after each search."""
    return RobustnessReport(
        collection,
        len(queries),
        seed,
        [_of_mode(search, queries, damaged, mode, advance) for mode in modes],
        {each.kind: each.queries[0].text for each in damaged},
    )


def _of_mode(
    search: SearchDocuments,
    queries: Sequence[JudgedQuery],
    damaged: Sequence[DamagedQueries],
    mode: EvaluatedMode,
    advance: Callable[[], None],
) -> ModeRobustness:
    clean = search_figures(search, queries, mode, _TOP_K, advance)[:, _NDCG]
    figures = []
    for each in damaged:
        before = clean[np.array(each.places)]
        after = search_figures(search, each.queries, mode, _TOP_K, advance)[:, _NDCG]
        figures.append(
            DamageFigures(each.kind, len(after), mean_interval(before), mean_interval(after), share_kept(before, after))
        )
    return ModeRobustness(mode, mean_interval(clean), figures)
