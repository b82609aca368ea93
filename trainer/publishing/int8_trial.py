"""Is a model still itself in int8? Quantise, compare, and offer the precision where the loss is within bounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from safetensors.numpy import load_file

from kosearch.int8_weights import Int8Matrix, quantise_weights
from kosearch.model_directory import ModelDirectory, offer_int8
from kosearch.sts_metrics import StsPair
from trainer.evaluation.encoding import encode, load_model
from trainer.evaluation.evaluate import evaluate_sts

MIN_GOLDEN_COSINE = 0.999  # the bound of bf16, which nobody has told from f32 by its search results
MAX_SPEARMAN_LOSS = 0.3  # points; another seed moves KorSTS by 0.5


@dataclass(frozen=True, slots=True)
class Int8Trial:
    """What int8 costs.

    lowest_golden_cosine: between the golden embeddings and those of the quantised weights
    spearman: cosine Spearman x 100 before and after, on the STS pairs; None when there were none
    """

    lowest_golden_cosine: float
    spearman: tuple[float, float] | None

    @property
    def spearman_loss(self) -> float | None:
        """Points lost; negative when the quantised model is better."""
        return None if self.spearman is None else self.spearman[0] - self.spearman[1]

    def objections(self) -> list[str]:
        """Why int8 must not be offered; empty when it may."""
        found = []
        if not self.lowest_golden_cosine >= MIN_GOLDEN_COSINE:  # so that NaN fails, too
            found.append(f"lowest golden cosine {self.lowest_golden_cosine:.5f} is under {MIN_GOLDEN_COSINE}")
        if self.spearman_loss is not None and not self.spearman_loss <= MAX_SPEARMAN_LOSS:
            found.append(f"cosine Spearman falls by {self.spearman_loss:.2f} points, {MAX_SPEARMAN_LOSS} are allowed")
        return found

    def report(self) -> str:
        """Return one line: what int8 costs, and whether it is offered."""
        costs = f"int8: lowest golden cosine {self.lowest_golden_cosine:.5f}"
        if self.spearman is not None:
            costs += f", cosine Spearman {self.spearman[0]:.2f} -> {self.spearman[1]:.2f}"
        objections = "; ".join(self.objections())
        verdict = f"not offered: {objections}" if objections else "offered: KOSEARCH_ENCODER__PRECISION=int8"
        return f"{costs}; {verdict}"


def try_int8(model: ModelDirectory, pairs: Sequence[StsPair] | None) -> tuple[ModelDirectory, Int8Trial]:
    """Measure int8 on a sealed model directory, and write the weights into it when nothing speaks against them."""
    weights = quantise_weights(load_file(model.path / "model.safetensors"))
    encoder = load_model(str(model.path))
    encoder.default_prompt_name = None
    before = None if pairs is None else 100 * evaluate_sts(encoder, list(pairs)).cosine_spearman
    quantised = {
        name.removeprefix("bert."): torch.from_numpy(tensor.dequantised())
        for name, tensor in weights.items()
        if isinstance(tensor, Int8Matrix)
    }
    encoder[0].get_submodule("model").load_state_dict(quantised, strict=False)
    after = None if pairs is None else 100 * evaluate_sts(encoder, list(pairs)).cosine_spearman
    texts, golden = model.golden()
    found = encode(encoder, texts)  # (texts, dim)
    cosines = torch.cosine_similarity(torch.from_numpy(found), torch.from_numpy(golden), dim=1)  # (texts,)
    trial = Int8Trial(float(cosines.min()), None if before is None or after is None else (before, after))
    if not trial.objections():
        model = offer_int8(model, weights, trial.lowest_golden_cosine, trial.spearman_loss)
    return model, trial
