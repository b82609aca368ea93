"""The check that a loaded model is the model that was trained."""

from collections.abc import Sequence

import numpy as np

from encoder_service.engines.engine import Engine, TokenIds
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory

# Rounding alone: f32 differs from the trainer's f32 in the order of sums, bf16 keeps 8 bits of mantissa, int8
# the 8 bits of a range. The shipped model, at 0.99997 in int8, loses 0.01 points of KorSTS.
MIN_COSINE = {"f32": 0.9999, "bf16": 0.999, "f16": 0.999, "int8": 0.998}


def check_golden_embeddings(model: ModelDirectory, tokeniser: Tokeniser, engine: Engine, min_cosine: float) -> float:
    """Encode the golden texts; return the lowest cosine to the trainer's embeddings.

    Raises ModelError when it is under `min_cosine` or no number at all, and when the tokeniser gives other ids than
    the model's own tokenizer.
    """
    texts, expected = model.golden()
    if not texts:
        raise ModelError(f"{model.path} has no golden texts; export the model again")
    token_ids = tokeniser.tokenise(texts).token_ids
    _check_token_ids(model, token_ids)
    found = engine.encode(token_ids)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    lowest = float(cosines.min())
    if not lowest >= min_cosine:  # so that NaN fails, too
        raise ModelError(
            f"{model.path}: golden text {int(cosines.argmin())} has cosine {lowest:.5f} to the trainer's embedding, "
            f"{min_cosine} is needed; export the model again, or set KOSEARCH_ENCODER__PRECISION=f32"
        )
    return lowest


def _check_token_ids(model: ModelDirectory, token_ids: Sequence[TokenIds]) -> None:
    expected = model.golden_token_ids()
    if expected is None:  # exported by an earlier version
        return
    if len(expected) != len(token_ids):
        raise ModelError(f"{model.path}: token ids of {len(expected)} golden texts, not {len(token_ids)}; export again")
    for number, (found, wanted) in enumerate(zip(token_ids, expected, strict=True)):
        if found.tolist() != wanted:
            raise ModelError(
                f"{model.path}: tokenizer.json gives golden text {number} other token ids than the model's own "
                "tokenizer did; the file is of another model or version: export the model again"
            )
