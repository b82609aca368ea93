"""The figures as tables for people."""

import math
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Column, Table

from kosearch.evaluation.bootstrap import RESAMPLES, Difference, Interval
from kosearch.evaluation.known_item_search import CAN_TELL_KOREAN, KnownItemReport
from kosearch.evaluation.metrics import METRICS
from kosearch.evaluation.quantisation import LEAST_RECALL, TOP_K, QuantisationReport
from kosearch.evaluation.retrieval import RetrievalReport
from kosearch.evaluation.robustness import RobustnessReport

METRIC_NAMES = {
    "ndcg_at_10": "nDCG@10",
    "recall_at_10": "recall@10",
    "recall_at_100": "recall@100",
    "mrr_at_10": "MRR@10",
    "map": "MAP",
}
TABLE_WIDTH = 240
# Of each class of queries; JSON has all.
_CLASS_METRICS = ("ndcg_at_10", "recall_at_100")
_INTERVALS = (
    f"괄호 안은 95 % 구간입니다 / in brackets: 95 % intervals, by bootstrap over the queries ({RESAMPLES:,} resamples)"
)


def print_retrieval(report: RetrievalReport, console: Console) -> None:
    """Print figures, differences and classes, all times 100."""
    console.print(f"{report.collection}: 질의 {report.queries:,}개 / {report.queries:,} queries", markup=False)
    _print_figures(report, console)
    if report.top_k < 100:
        console.print(f"recall@100, MAP: --top-k {report.top_k} 까지만 / of no more than {report.top_k} documents")
    if report.comparisons:
        _print_comparisons(report, console)
    console.print("질의 갈래별 / by class of query")
    _print_classes(report, console)
    console.print(_INTERVALS)


def print_known_items(report: KnownItemReport, console: Console) -> None:
    """Print the figures of each recipe, examples and what they tell."""
    console.print(f"{report.collection}: 문서 {report.documents:,}건 / {report.documents:,} documents", markup=False)
    rows = [
        [
            mode.mode,
            each.recipe,
            f"{each.n:,}",
            interval(each.mrr_at_10),
            interval(each.success_at_1),
            interval(each.success_at_10),
            f"{each.ambiguous:,}",
            _percent(each.unique_mrr_at_10.mean),
        ]
        for mode in report.modes
        for each in mode.recipes
    ]
    columns = ["mode", "recipe", "n", "MRR@10", "success@1", "success@10", "ambiguous", "MRR@10 of the others"]
    print_table(columns, rows, console)
    differences = [
        [f"{each.second} - {each.first}", each.recipe, difference(each.mrr_at_10), p_value(each.mrr_at_10)]
        for each in report.comparisons
    ]
    if differences:
        print_table(["modes", "recipe", "MRR@10", "p"], differences, console)
    for recipe, query in report.examples.items():
        console.print(f"{recipe}: {query}", markup=False)
    console.print(_INTERVALS)
    for language in (CAN_TELL_KOREAN, report.can_tell):
        console.print(language)


def print_robustness(report: RobustnessReport, console: Console) -> None:
    """Print what is left of nDCG@10 of each kind of damage."""
    console.print(f"{report.collection}: 질의 {report.queries:,}개 / {report.queries:,} queries", markup=False)
    rows = []
    for mode in report.modes:
        rows.append([mode.mode, "-", f"{mode.clean.n:,}", interval(mode.clean), "", ""])
        rows += [
            [mode.mode, each.kind, f"{each.n:,}", interval(each.clean), interval(each.damaged), interval(each.kept)]
            for each in mode.damages
        ]
    print_table(["mode", "damage", "n", "nDCG@10 clean", "damaged", "% kept"], rows, console)
    for kind, query in report.examples.items():
        console.print(f"{kind}: {query}", markup=False)
    console.print(_INTERVALS)


def print_quantisation(report: QuantisationReport, console: Console) -> None:
    """Print recall against memory, and what is recommended by which rule."""
    console.print(
        f"{report.collection}: 청크 {report.chunks:,}개 가운데 {report.sampled:,}개, 질의 {report.queries:,}개 / "
        f"{report.sampled:,} of {report.chunks:,} chunks, {report.queries:,} queries",
        markup=False,
    )
    whole = report.measured[0].mib_per_million
    rows = [
        [
            each.name,
            interval(each.recall),
            f"{each.mib_per_million:,.0f}",
            f"{100 * (1 - each.mib_per_million / whole):.0f} %",
            "*" if each.form == report.recommended else "",
        ]
        for each in report.measured
    ]
    print_table(["embeddings", f"recall@{TOP_K}", "MiB per million", "saved", ""], rows, console)
    least = f"{100 * LEAST_RECALL:.0f}"
    console.print(
        f"* 구간이 {least} 이상에서 시작하는 것 가운데 메모리가 가장 적은 것 / "
        f"recommended: the least memory of those whose interval begins at {least} or above"
    )
    for note in report.notes:
        console.print(note, markup=False)
    console.print(_INTERVALS)


def interval(value: Interval) -> str:
    """Return a mean times 100 with its interval: `70.7 [69.8, 71.6]`."""
    if math.isnan(value.low):
        return _percent(value.mean)
    return f"{_percent(value.mean)} [{_percent(value.low)}, {_percent(value.high)}]"


def difference(value: Difference) -> str:
    """Return a difference times 100 with its sign and interval."""
    if math.isnan(value.low):
        return f"{100 * value.mean:+.1f}"
    return f"{100 * value.mean:+.1f} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def p_value(value: Difference) -> str:
    """Return the p value, not below what the resamples can tell."""
    if math.isnan(value.p_value):
        return "-"
    return f"{value.p_value:.4f}" if value.p_value > 1.5 / RESAMPLES else f"< {2 / RESAMPLES:.4f}"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], console: Console) -> None:
    """Print a plain table; the console has to be wide enough (TABLE_WIDTH): figures that are cut are of no use."""
    made = Table(*(Column(name, no_wrap=True) for name in columns), box=None, pad_edge=False)
    for row in rows:
        made.add_row(*row)
    console.print(made)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _print_figures(report: RetrievalReport, console: Console) -> None:
    names = [METRIC_NAMES[metric] for metric in METRICS]
    rows = [[mode.mode, *(interval(mode.figures[metric]) for metric in METRICS)] for mode in report.modes]
    print_table(["mode", *names], rows, console)


def _print_comparisons(report: RetrievalReport, console: Console) -> None:
    rows = [
        [
            f"{each.second} - {each.first}",
            METRIC_NAMES[metric],
            difference(each.differences[metric]),
            p_value(each.differences[metric]),
        ]
        for each in report.comparisons
        for metric in METRICS
    ]
    print_table(["modes", "figure", "difference", "p"], rows, console)


def _print_classes(report: RetrievalReport, console: Console) -> None:
    rows = [
        [each.name, f"{each.n:,}", mode.mode, *(interval(each.figures[metric]) for metric in _CLASS_METRICS)]
        for of_modes in zip(*(mode.classes for mode in report.modes), strict=True)
        for mode, each in zip(report.modes, of_modes, strict=True)
    ]
    print_table(["class", "n", "mode", *(METRIC_NAMES[metric] for metric in _CLASS_METRICS)], rows, console)
