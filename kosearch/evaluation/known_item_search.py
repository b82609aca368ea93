"""Known items searched for: at which rank each query finds the document it was made of."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kosearch.evaluation.bootstrap import Difference, Interval, mean_interval, mean_intervals, paired_difference
from kosearch.evaluation.known_items import RECIPES, KnownItem, is_ambiguous
from kosearch.evaluation.searching import EvaluatedMode, FoundDocument, SearchDocuments, search_all

_TOP_K = 10
CAN_TELL = (
    "Known items tell whether documents are found by words and phrases of their own, whether all of them are in the "
    "index, and which way to search does that better. They cannot tell how well questions in other words are "
    "answered: the queries share their words with the documents, which favours search by word. Compare modes and "
    "settings on one collection, not collections with each other; for the rest judge some real queries "
    "(kosearch eval retrieval)."
)

CAN_TELL_KOREAN = (
    "이 측정은 문서를 제 낱말과 구절로 찾을 수 있는지, 모든 문서가 색인에 들어 있는지, 어느 검색 방법이 "
    "그 일을 더 잘하는지 알려 줍니다. 다른 말로 물었을 때 얼마나 잘 찾는지는 알려 주지 못합니다. 질의가 문서와 낱말을 "
    "나누어 가지므로 낱말 검색에 유리합니다. 한 컬렉션에서 방법과 설정을 견주는 데 쓰고, 나머지는 실제 질의로 재세요 "
    "(kosearch eval retrieval)."
)


@dataclass(frozen=True, slots=True)
class RecipeFigures:
    """Figures of the queries of one recipe.

    ambiguous: items of which another document, among those found, has the same title or text
    unique_mrr_at_10: over the others
    """

    recipe: str
    n: int
    mrr_at_10: Interval
    success_at_1: Interval
    success_at_10: Interval
    ambiguous: int
    unique_mrr_at_10: Interval


@dataclass(frozen=True, slots=True)
class ModeItems:
    """Figures of one way to search."""

    mode: EvaluatedMode
    recipes: Sequence[RecipeFigures]


@dataclass(frozen=True, slots=True)
class RecipeComparison:
    """Two ways to search over the same queries: MRR@10 of the second minus that of the first."""

    first: EvaluatedMode
    second: EvaluatedMode
    recipe: str
    mrr_at_10: Difference


@dataclass(frozen=True, slots=True)
class KnownItemReport:
    """What was measured; `examples` has the first query of each recipe."""

    collection: str
    documents: int
    seed: int
    modes: Sequence[ModeItems]
    comparisons: Sequence[RecipeComparison]
    examples: Mapping[str, str]
    can_tell: str = CAN_TELL


def evaluate_known_items(
    search: SearchDocuments,
    collection: str,
    items: Sequence[KnownItem],
    modes: Sequence[EvaluatedMode],
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> KnownItemReport:
    """Search for all items in every mode. `advance` is called after each search."""
    queries = [item.query for item in items]
    found = {mode: search_all(search, queries, mode, _TOP_K, advance) for mode in modes}
    ambiguous = _ambiguous(items, list(found.values()))
    ranks = {mode: _ranks(items, documents) for mode, documents in found.items()}
    members = {recipe: np.array([item.recipe == recipe for item in items]) for recipe in RECIPES}
    present = [recipe for recipe in RECIPES if members[recipe].any()]
    return KnownItemReport(
        collection,
        len({item.document.id for item in items}),
        seed,
        [
            ModeItems(mode, [_figures(recipe, ranks[mode], ambiguous, members[recipe]) for recipe in present])
            for mode in modes
        ],
        [
            RecipeComparison(first, second, recipe, _compare(ranks[first], ranks[second], members[recipe]))
            for first, second in combinations(modes, 2)
            for recipe in present
        ],
        {recipe: next(item.query for item in items if item.recipe == recipe) for recipe in present},
    )


def _ranks(items: Sequence[KnownItem], found: Sequence[Sequence[FoundDocument]]) -> NDArray[np.int64]:
    """Return the rank of each item's document from 1, 0 where it was not found. Shape (items,)."""
    ids = [[document.id for document in documents] for documents in found]
    return np.array(
        [
            mine.index(item.document.id) + 1 if item.document.id in mine else 0
            for item, mine in zip(items, ids, strict=True)
        ]
    )


def _ambiguous(items: Sequence[KnownItem], found: Sequence[Sequence[Sequence[FoundDocument]]]) -> NDArray[np.bool_]:
    titles = Counter({item.document.id: item.document.title for item in items}.values())
    # By what any mode has found, so that all modes leave out the same.
    return np.array(
        [any(is_ambiguous(item, of_mode[place], titles) for of_mode in found) for place, item in enumerate(items)]
    )


def _figures(
    recipe: str, ranks: NDArray[np.int64], ambiguous: NDArray[np.bool_], members: NDArray[np.bool_]
) -> RecipeFigures:
    mine = ranks[members]
    columns = np.stack([_reciprocal(mine), mine == 1, mine > 0], axis=1).astype(np.float64)
    mrr, first, ten = mean_intervals(columns)
    unique = mean_interval(_reciprocal(ranks[members & ~ambiguous]))
    return RecipeFigures(recipe, len(mine), mrr, first, ten, int(ambiguous[members].sum()), unique)


def _compare(first: NDArray[np.int64], second: NDArray[np.int64], members: NDArray[np.bool_]) -> Difference:
    return paired_difference(_reciprocal(first[members]), _reciprocal(second[members]))


def _reciprocal(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0.0)
