"""What to look for when documents are given instead of words."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Of an example these count: what a document is about stands at its beginning.
CHUNKS_OF_EXAMPLE = 8

Embedding = NDArray[np.float32]


def embedding_like(
    like: Sequence[Sequence[Embedding]], unlike: Sequence[Sequence[Embedding]], query: Embedding | None
) -> Embedding:
    """Return the embedding to search for, shape (dim,), of length 1: as far beyond `like` as `unlike` lies before it.

    like, unlike: of each example the embeddings of its chunks; a long one counts as much as a short one
    query: embedding of a query, which counts as much as all examples; alone with `unlike` it takes the place of `like`
    Source: Qdrant's recommendation by the average vector.
    """
    assert like or query is not None  # whoever asks has checked it
    wanted = _mean(like) if like else query
    assert wanted is not None
    target = wanted + (wanted - _mean(unlike)) if unlike else wanted
    return _unit(target if query is None else _unit(target) + query)


def _mean(examples: Sequence[Sequence[Embedding]]) -> Embedding:
    each = [_unit(np.mean(np.stack(chunks), axis=0)) for chunks in examples]  # (dim,)
    return _unit(np.mean(np.stack(each), axis=0))


def _unit(vector: Embedding) -> Embedding:
    length = float(np.linalg.norm(vector))
    return (vector / length if length else vector).astype(np.float32)
