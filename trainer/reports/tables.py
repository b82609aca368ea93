"""Figures as Markdown tables, first of all the one of the SentenceBERT-KoBERT README."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from trainer.evaluation.figures import Evaluation

# Columns in the order of the README of SentenceBERT-KoBERT.
STS_COLUMNS = {
    f"{similarity} {correlation}": f"{similarity}_{correlation}".lower()
    for similarity in ("Cosine", "Euclidean", "Manhattan", "Dot")
    for correlation in ("Pearson", "Spearman")
}
RETRIEVAL_COLUMNS = {
    "nDCG@10": "ndcg_at_10",
    "Recall@1": "recall_at_1",
    "Recall@10": "recall_at_10",
    "Recall@100": "recall_at_100",
}


def sts_table(evaluations: Sequence[Evaluation], file: str) -> str:
    """Correlations x 100, one row a model and embedding size, and one for models of one recipe: mean ± spread."""
    rows = [
        (evaluation, dim, _values(metrics, STS_COLUMNS.values()))
        for evaluation in evaluations
        for dim, metrics in evaluation.sts[file].items()
    ]
    return figures_table(list(STS_COLUMNS), rows)


def korquad_table(evaluations: Sequence[Evaluation]) -> str:
    """Retrieval figures x 100, rows as in `sts_table`."""
    rows = [
        (evaluation, dim, _values(metrics, RETRIEVAL_COLUMNS.values()))
        for evaluation in evaluations
        for dim, metrics in evaluation.korquad.items()
    ]
    return figures_table(list(RETRIEVAL_COLUMNS), rows)


def page_table(evaluations: Sequence[Evaluation]) -> str:
    """Page retrieval x 100 with 95 % intervals, one row a model and set of queries."""
    rows = [
        [
            model_label(evaluation.model),
            pages.name,
            str(pages.query_count),
            with_interval(pages.ndcg_at_10, pages.ndcg_at_10_interval),
            with_interval(pages.recall_at_100, pages.recall_at_100_interval),
            f"{pages.page_count:,}",
            str(pages.missing_page_count),
            str(pages.max_tokens),
            f"{pages.token_count:,}",
        ]
        for evaluation in evaluations
        for pages in evaluation.pages
    ]
    columns = [
        "Model",
        "Set",
        "Queries",
        "nDCG@10",
        "Recall@100",
        "Pages",
        "Gold pages absent",
        "Tokens a page",
        "Tokens",
    ]
    return markdown_table(columns, rows)


def evaluation_parts(evaluations: Sequence[Evaluation]) -> list[str]:
    """Every table that the evaluations have figures for, each with a line that says what was measured."""
    first = evaluations[0]
    parts: list[str] = []
    for file, by_dimension in first.sts.items():
        parts += [sts_table(evaluations, file), f"{file}: {by_dimension[first.dim].pair_count} pairs"]
    if first.korquad:
        figures = first.korquad[first.dim]
        counts = f"{figures.query_count} questions over {figures.document_count} different paragraphs"
        parts += [korquad_table(evaluations), f"KorQuAD dev as dense search: {counts}"]
    if first.pages:
        parts += [
            page_table(evaluations),
            "Wikipedia pages as dense search; in brackets the bootstrapped 95 % interval",
        ]
    return parts


def figures_table(columns: Sequence[str], rows: Sequence[tuple[Evaluation, int, list[float]]]) -> str:
    """A table x 100 with a row for each of `rows`, and one for each recipe and size that several models share."""
    labelled = [
        [row_label(evaluation, dim), *(f"{100 * value:.2f}" for value in values)] for evaluation, dim, values in rows
    ]
    return markdown_table(["Model", *columns], [*labelled, *_seed_rows(rows)])


def _seed_rows(rows: Sequence[tuple[Evaluation, int, list[float]]]) -> Iterator[list[str]]:
    groups: defaultdict[tuple[str, int, bool], list[list[float]]] = defaultdict(list)
    for evaluation, dim, values in rows:
        if evaluation.recipe is not None:
            groups[evaluation.recipe, dim, dim == evaluation.dim].append(values)
    for (recipe, dim, is_whole), found in groups.items():
        if len(found) > 1:
            label = f"{recipe}, mean ± s.d. of {len(found)}" + ("" if is_whole else f" ({dim})")
            yield [label, *(mean_and_spread(values) for values in zip(*found, strict=True))]


def mean_and_spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation of two or more figures, x 100: `70.82 ± 0.31`."""
    return f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f}"


def with_interval(value: float, interval: tuple[float, float]) -> str:
    """A figure x 100 with its 95 % interval: `68.50 [62.10, 74.80]`."""
    return f"{100 * value:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def row_label(evaluation: Evaluation, dim: int) -> str:
    """The model's name, and the embedding size when it is cut: `kosearch-mini-ko (64)`."""
    name = model_label(evaluation.model)
    return name if dim == evaluation.dim else f"{name} ({dim})"


def model_label(name: str) -> str:
    """The last part of a model's path or hub id."""
    return Path(name).name or name


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned in plain text too: words to the left, numbers to the right."""
    cells = [columns, *rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
    are_numbers = [place > 0 and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        aligned = [
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(row, widths, are_numbers, strict=True)
        ]
        return f"| {' | '.join(aligned)} |"

    rules = [
        f"{'-' * (width + 1)}{':' if is_number else '-'}" for width, is_number in zip(widths, are_numbers, strict=True)
    ]
    return "\n".join([line(columns), f"|{'|'.join(rules)}|", *map(line, rows)])


def _is_number(cell: str) -> bool:
    return not any(char.isalpha() for char in cell)


def _values(metrics: object, names: Iterable[str]) -> list[float]:
    return [float(getattr(metrics, name)) for name in names]
