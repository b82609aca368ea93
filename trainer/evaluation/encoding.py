"""Load a model and encode texts with it in float32, as every evaluation does."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from kosearch.errors import InvalidRequestError, ModelError
from kosearch.text import normalise


def load_model(name: str) -> SentenceTransformer:
    """Load a model directory or hub id for float32 evaluation. Raises ModelError when there is none."""
    try:
        model = SentenceTransformer(name, device="cpu", model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError) as error:
        raise ModelError(f"{name} is no sentence-transformers model: {error}") from error
    return model


def encode(model: SentenceTransformer, texts: list[str]) -> NDArray[np.float32]:
    """Encode normalised texts in float32. Returns shape (len(texts), dim), in the order given."""
    embeddings = model.encode([normalise(text) for text in texts], batch_size=128, show_progress_bar=False)
    return np.asarray(embeddings, dtype=np.float32)


def truncated(embeddings: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The first `dim` numbers of every embedding, made unit rows again; the embeddings themselves when it is all.

    Source: Matryoshka representation learning, Kusupati et al., NeurIPS 2022. Raises InvalidRequestError when the
    embeddings have fewer numbers.
    """
    if not 1 <= dim <= embeddings.shape[1]:
        raise InvalidRequestError(f"dimension {dim} was asked of a model that has {embeddings.shape[1]}")
    if dim == embeddings.shape[1]:
        return embeddings
    first = embeddings[:, :dim]  # (texts, dim)
    shortened: NDArray[np.float32] = first / np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-12)
    return shortened
