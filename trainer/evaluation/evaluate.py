"""Measure models: the eight STS metrics by embedding size, retrieval, and what belongs together over seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import SentenceEvaluator

from kosearch.errors import ModelError
from kosearch.sts_metrics import StsMetrics, StsPair, read_sts_pairs, sts_metrics
from trainer.data.corpora import read_kowiki
from trainer.data.query_sets import open_domain_dev_sets
from trainer.evaluation.encoding import encode, load_model, truncated
from trainer.evaluation.figures import Evaluation, PageRetrieval
from trainer.evaluation.retrieval_evaluation import evaluate_korquad, evaluate_pages


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """What to measure models with; read once for all of them.

    sts: name of an STS file -> its pairs
    korquad: a KorQuAD v1 file
    open_domain: the data folder with MIRACL-ko dev, Mr.TyDi-ko dev and Wikipedia
    dimensions: embedding sizes to measure besides the model's own
    page_tokens: tokens of a page that are read; None for what the model reads
    """

    sts: dict[str, list[StsPair]] = field(default_factory=dict)
    korquad: Path | None = None
    open_domain: Path | None = None
    dimensions: tuple[int, ...] = ()
    page_tokens: int | None = None


def evaluate_model(name: str, sets: EvaluationSets) -> Evaluation:
    """Load a model (directory or hub id) and measure it with every set asked for."""
    model = load_model(name)
    recipe, seed = recipe_and_seed(Path(name))
    pages: list[PageRetrieval] = []
    if sets.open_domain is not None:
        queries = open_domain_dev_sets(sets.open_domain)
        pages = evaluate_pages(model, queries, read_kowiki(sets.open_domain), sets.page_tokens)
    return Evaluation(
        model=name,
        recipe=recipe,
        seed=seed,
        dim=len(encode(model, ["가"])[0]),
        sts={file: evaluate_sts_by_dimension(model, pairs, sets.dimensions) for file, pairs in sets.sts.items()},
        korquad=evaluate_korquad(model, sets.korquad, sets.dimensions) if sets.korquad is not None else {},
        pages=pages,
    )


def evaluate_sts(model: SentenceTransformer, pairs: list[StsPair]) -> StsMetrics:
    """The eight metrics of a model on STS pairs."""
    return next(iter(evaluate_sts_by_dimension(model, pairs, ()).values()))


def evaluate_sts_by_dimension(
    model: SentenceTransformer, pairs: list[StsPair], dimensions: Sequence[int]
) -> dict[int, StsMetrics]:
    """The eight metrics by embedding size: the model's own first, then each of `dimensions`."""
    gold = np.array([pair.score for pair in pairs])  # (pairs,)
    first = encode(model, [pair.first for pair in pairs])  # (pairs, dim)
    second = encode(model, [pair.second for pair in pairs])
    return {
        dim: sts_metrics(truncated(first, dim), truncated(second, dim), gold)
        for dim in dict.fromkeys([first.shape[1], *dimensions])
    }


def recipe_and_seed(model: Path) -> tuple[str | None, int | None]:
    """Name and seed of the recipe that made a model directory; None for a model without a `run.json`."""
    path = model / "run.json"
    if not path.is_file():
        return None, None
    try:
        recipe = json.loads(path.read_text(encoding="utf-8"))["recipe"]
        return str(recipe["name"]), int(recipe["seed"])
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is damaged ({error}); train the model again or remove the file") from error


class DevEvaluator(SentenceEvaluator):
    """Cosine Spearman on KorSTS dev, for the trainer's evaluations and its choice of the best checkpoint."""

    def __init__(self, pairs: list[StsPair]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._pairs = pairs
        self.primary_metric = "cosine_spearman"

    @classmethod
    def from_folder(cls, folder: Path) -> DevEvaluator:
        """Read KorSTS dev from a data folder."""
        return cls(read_sts_pairs(folder / "kornlu" / "sts-dev.tsv"))

    def __call__(  # type: ignore[override]  # the trainer calls it with the SentenceTransformer that it trains
        self, model: SentenceTransformer, output_path: str | None = None, epoch: int = -1, steps: int = -1
    ) -> dict[str, Any]:
        """Returns {"cosine_spearman": in [-1, 1]}."""
        return {"cosine_spearman": evaluate_sts(model, self._pairs).cosine_spearman}
