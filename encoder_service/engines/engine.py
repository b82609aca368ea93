"""What the batcher asks of an engine."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]  # shape (tokens,), special tokens included
Embeddings = NDArray[np.float32]  # shape (texts, dim), rows of length 1


class Engine(Protocol):
    """Runs the model. Only one thread ever calls it, so that one owner drives the threads of the matrix products."""

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        ...

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode at least one text, each of 1 to max_tokens tokens; block until done.

        Returns shape (len(token_ids), dim) in the order given, float32, rows of length 1.
        """
        ...
