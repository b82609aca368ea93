"""The figures of an evaluation, and their form as JSON, which the model card reads again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from kosearch.errors import InvalidRequestError
from kosearch.sts_metrics import StsMetrics


@dataclass(frozen=True, slots=True)
class RetrievalMetrics:
    """Dense retrieval, each figure a mean over queries in [0, 1]."""

    ndcg_at_10: float
    recall_at_1: float
    recall_at_10: float
    recall_at_100: float
    query_count: int
    document_count: int


@dataclass(frozen=True, slots=True)
class PageRetrieval:
    """Dense retrieval of whole pages. Figures are means over queries in [0, 1], intervals (low, high) at 95 %.

    page_count: pages that were searched
    missing_page_count: relevant pages that are not among them and so can never be found
    max_tokens: tokens of a page that are read at most, special tokens included
    token_count: tokens that were read of all pages together
    """

    name: str
    ndcg_at_10: float
    ndcg_at_10_interval: tuple[float, float]
    recall_at_100: float
    recall_at_100_interval: tuple[float, float]
    query_count: int
    page_count: int
    missing_page_count: int
    max_tokens: int
    token_count: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model.

    recipe, seed: of its `run.json`; None when it has none
    dim: numbers in an embedding
    sts: name of an STS file -> embedding size -> metrics
    korquad: embedding size -> metrics
    pages: one entry for each set of queries over Wikipedia
    """

    model: str
    recipe: str | None
    seed: int | None
    dim: int
    sts: dict[str, dict[int, StsMetrics]]
    korquad: dict[int, RetrievalMetrics]
    pages: list[PageRetrieval]


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """Evaluations that one command has made."""

    command: str
    evaluations: list[Evaluation]


def evaluations_json(run: EvaluationRun) -> str:
    """One object: `command`, and in `evaluations` every figure of every model.

    Of a single model the metrics of the first STS file and of KorQuAD also stand at the top, at the model's own size.
    """
    answer: dict[str, Any] = {}
    if len(run.evaluations) == 1:
        (only,) = run.evaluations
        for by_dimension in (next(iter(only.sts.values()), {}), only.korquad):
            if by_dimension:
                answer |= asdict(by_dimension[only.dim])
    answer |= asdict(run)
    return orjson.dumps(answer, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode() + "\n"


def read_evaluations(path: Path) -> EvaluationRun:
    """Read what `evaluate --json` has printed. Raises InvalidRequestError for anything else."""
    try:
        return TypeAdapter(EvaluationRun).validate_python(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        raise InvalidRequestError(f"{path}: file is missing") from None
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise InvalidRequestError(f"{path} is not what `evaluate --json` prints: {error}") from error
