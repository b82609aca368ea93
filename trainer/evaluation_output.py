"""What `evaluate` prints: tables for people, one JSON object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from trainer.tables import korquad_table, page_table, sts_table

if TYPE_CHECKING:  # the evaluations themselves need torch
    from trainer.evaluate import Evaluation


def evaluation_text(evaluations: Sequence[Evaluation]) -> str:
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
    return "".join(f"{part}\n" for part in parts)


def evaluations_json(evaluations: Sequence[Evaluation]) -> str:
    """One object: `evaluations` has every figure of every model.

    Of a single model the metrics of the first STS file and of KorQuAD also stand at the top, at the model's own size.
    """
    answer: dict[str, Any] = {}
    if len(evaluations) == 1:
        (only,) = evaluations
        for by_dimension in (next(iter(only.sts.values()), {}), only.korquad):
            if by_dimension:
                answer |= asdict(by_dimension[only.dim])
    answer["evaluations"] = [asdict(evaluation) for evaluation in evaluations]
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n"
