"""Hits that say the same are moved down."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def diverse_order(scores: Sequence[float], embeddings: NDArray[np.float32], diversity: float) -> list[int]:
    """Return the places of candidates in their new order.

    scores: falling; here as parts of the first, since those of a fusion or of words are of another size than cosines
    embeddings: shape (len(scores), dim), rows of length 1
    diversity: 0 leaves the order as it is, 1 looks at nothing but the difference to what stands above
    Source: Carbonell, Goldstein, "The Use of MMR", SIGIR 1998; lambda = 1 - diversity.
    """
    if not len(scores):
        return []
    relevance = (1 - diversity) * _parts_of_first(np.asarray(scores, np.float64))  # (candidates,)
    similarity = diversity * (embeddings @ embeddings.T).astype(np.float64)  # (candidates, candidates)
    order = [0]
    nearest = similarity[0].copy()  # of each candidate, how near it is to what was chosen
    left = np.ones(len(scores), bool)
    left[0] = False
    while left.any():
        # The first of equals: candidates come in an order of their own.
        best = int(np.argmax(np.where(left, relevance - nearest, -np.inf)))
        order.append(best)
        left[best] = False
        np.maximum(nearest, similarity[best], out=nearest)
    return order


def _parts_of_first(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores / scores[0] if scores[0] > 0 else np.ones_like(scores)
