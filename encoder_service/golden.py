"""The check that a loaded model is the model that was trained."""

import numpy as np

from encoder_service.engines.engine import Engine
from encoder_service.tokeniser import Tokeniser
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory

# Rounding alone: f32 differs from the trainer's f32 in the order of sums, bf16 keeps 8 bits of mantissa.
MIN_COSINE = {"f32": 0.9999, "bf16": 0.999}


def check_golden_embeddings(model: ModelDirectory, tokeniser: Tokeniser, engine: Engine, min_cosine: float) -> float:
    """Encode the golden texts; return the lowest cosine to the trainer's embeddings.

    Raises ModelError when it is under `min_cosine` or no number at all.
    """
    texts, expected = model.golden()
    if not texts:
        raise ModelError(f"{model.path} has no golden texts; export the model again")
    found = engine.encode(tokeniser.tokenise(texts).token_ids)
    cosines = (found * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    lowest = float(cosines.min())
    if not lowest >= min_cosine:  # so that NaN fails, too
        raise ModelError(
            f"{model.path}: golden text {int(cosines.argmin())} has cosine {lowest:.5f} to the trainer's embedding, "
            f"{min_cosine} is needed; export the model again, or set KOSEARCH_ENCODER__PRECISION=f32"
        )
    return lowest
