"""What the batcher asks of an engine."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class AsyncEngine(Engine, Protocol):
    """An engine on a device of its own: while it runs a batch, its thread prepares the next one."""

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Embeddings]:
        """Begin to encode and return at once; texts as in `encode`. Batches run in the order of their submission.

        What is returned blocks until the embeddings are there, and is called once, by the same thread.
        """
        ...
