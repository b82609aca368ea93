"""Retrieval of judged queries: figures with intervals, by class of query, and ways to search compared."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kosearch.evaluation.bootstrap import Difference, Interval, mean_intervals, paired_difference
from kosearch.evaluation.metrics import METRICS, figures_by_query
from kosearch.evaluation.query_classes import CLASSES, classes_of
from kosearch.evaluation.searching import EvaluatedMode, SearchDocuments, search_all
from kosearch.evaluation.trec_files import JudgedQuery


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """Figures of the queries of one class; `division` is what the classes differ by."""

    division: str
    name: str
    n: int
    figures: Mapping[str, Interval]


@dataclass(frozen=True, slots=True)
class ModeFigures:
    """Figures of one way to search."""

    mode: EvaluatedMode
    figures: Mapping[str, Interval]
    classes: Sequence[ClassFigures]


@dataclass(frozen=True, slots=True)
class ModeComparison:
    """Two ways to search over the same queries: second minus first."""

    first: EvaluatedMode
    second: EvaluatedMode
    differences: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """What was measured; of `top_k` documents a query."""

    collection: str
    queries: int
    top_k: int
    modes: Sequence[ModeFigures]
    comparisons: Sequence[ModeComparison]


def evaluate_retrieval(
    search: SearchDocuments,
    collection: str,
    queries: Sequence[JudgedQuery],
    modes: Sequence[EvaluatedMode],
    top_k: int,
    advance: Callable[[], None] = lambda: None,
) -> RetrievalReport:
    """Search for all queries in every mode and compare. `advance` is called after each search."""
    by_mode = {mode: search_figures(search, queries, mode, top_k, advance) for mode in modes}
    return RetrievalReport(
        collection,
        len(queries),
        top_k,
        [_mode_figures(mode, values, queries) for mode, values in by_mode.items()],
        [_compare(first, second, by_mode) for first, second in combinations(by_mode, 2)],
    )


def search_figures(
    search: SearchDocuments,
    queries: Sequence[JudgedQuery],
    mode: EvaluatedMode,
    top_k: int,
    advance: Callable[[], None] = lambda: None,
) -> NDArray[np.float64]:
    """Search for all queries. Returns their figures, shape (queries, len(METRICS))."""
    found = search_all(search, [query.text for query in queries], mode, top_k, advance)
    rankings = [[document.id for document in documents] for documents in found]
    return figures_by_query(rankings, [query.relevance for query in queries])


def _mode_figures(mode: EvaluatedMode, values: NDArray[np.float64], queries: Sequence[JudgedQuery]) -> ModeFigures:
    return ModeFigures(mode, _named(mean_intervals(values)), _by_class(values, queries))


def _by_class(values: NDArray[np.float64], queries: Sequence[JudgedQuery]) -> list[ClassFigures]:
    classes = [classes_of(query.text, sum(gain > 0 for gain in query.relevance.values())) for query in queries]
    found = []
    for division, names in CLASSES.items():
        for name in names:
            members = np.array([of_query[division] == name for of_query in classes])
            if members.any():
                figures = _named(mean_intervals(values[members]))
                found.append(ClassFigures(division, name, int(members.sum()), figures))
    return found


def _compare(
    first: EvaluatedMode, second: EvaluatedMode, by_mode: Mapping[EvaluatedMode, NDArray[np.float64]]
) -> ModeComparison:
    differences = {
        metric: paired_difference(by_mode[first][:, column], by_mode[second][:, column])
        for column, metric in enumerate(METRICS)
    }
    return ModeComparison(first, second, differences)


def _named(intervals: Sequence[Interval]) -> dict[str, Interval]:
    return dict(zip(METRICS, intervals, strict=True))
