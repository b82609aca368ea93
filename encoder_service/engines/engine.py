"""What the batcher asks of an engine."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.int32]  # shape (tokens,), special tokens included
Embeddings = NDArray[np.float32]  # shape (texts, dim), rows of length 1
# What a batch comes to, in the order of its texts: `Embeddings`, or `TokenEmbeddings`, an object for each text.
Answers = NDArray[Any]
TokenEmbeddings = NDArray[np.float32]  # of one text, shape (tokens, dim), rows of length 1


class BatchEngine(Protocol):
    """Runs batches. Only one thread ever calls it, so that one owner drives the threads of the matrix products."""

    def encode(self, token_ids: Sequence[TokenIds]) -> Answers:
        """Answer to at least one text, each of 1 to max_tokens tokens, in the order given; block until done."""
        ...


@runtime_checkable
class AsyncEngine(BatchEngine, Protocol):
    """An engine on a device of its own: while it runs a batch, its thread prepares the next one."""

    def submit(self, token_ids: Sequence[TokenIds]) -> Callable[[], Answers]:
        """Begin to encode and return at once; texts as in `encode`. Batches run in the order of their submission.

        What is returned blocks until the answers are there, and is called once, by the same thread.
        """
        ...


class Engine(BatchEngine, Protocol):
    """Runs the model."""

    @property
    def dim(self) -> int:
        """Numbers in an embedding."""
        ...

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        """Encode texts as `BatchEngine`. Returns shape (len(token_ids), dim), float32, rows of length 1."""
        ...

    def encode_tokens(self, token_ids: Sequence[TokenIds]) -> list[TokenEmbeddings]:
        """The same, but with a row for each token of a text, special tokens included: its last hidden state."""
        ...


class ByToken:
    """An engine seen as one whose answer to a text are the embeddings of its tokens."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def encode(self, token_ids: Sequence[TokenIds]) -> NDArray[np.object_]:
        """Encode texts. Returns shape (len(token_ids),), each a `TokenEmbeddings`."""
        rows = self._engine.encode_tokens(token_ids)
        answers = np.empty(len(rows), np.object_)
        for text, of_text in enumerate(rows):  # all at once, numpy would stack texts of equal length
            answers[text] = of_text
        return answers
