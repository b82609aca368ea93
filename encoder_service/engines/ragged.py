"""Ragged batches: texts laid end to end without rows or padding, as variable-length attention reads them. Pure.

A CUDA graph runs one shape only. A batch that is smaller than the shape of a graph is filled up: the tokens that are
left form texts of their own, or none at all, and nobody reads what becomes of them.
Source: the layout of `cu_seqlens` in FlashAttention (Dao 2023).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoder_service.engines.engine import TokenIds

# Texts of up to so many tokens have graphs of their own, and an attention of their own where there is one. A block of
# FlashAttention-2 computes so many queries of one text, and a graph starts for every text the blocks that its longest
# may need.
SHORT_TEXT_TOKENS = 128
_SMALLEST_BATCH = 64  # tokens; below this a product takes as long as it does at 64
# Sentences have about 20 tokens and short queries 8. A text more costs a row of the pooling, a token too few the graph.
_TOKENS_PER_TEXT = 8


@dataclass(frozen=True, slots=True, order=True)
class BatchShape:
    """What a CUDA graph fixes: tokens in all, texts, and the tokens that the longest of them may have."""

    tokens: int
    texts: int
    longest: int

    @property
    def size(self) -> int:
        """Numbers in the inputs: token ids, position ids, and where texts begin and end."""
        return 2 * self.tokens + self.texts + 1

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Where in the inputs they lie: token ids (tokens,), position ids (tokens,), bounds (texts + 1,)."""
        return slice(self.tokens), slice(self.tokens, 2 * self.tokens), slice(2 * self.tokens, self.size)

    def holds(self, batch: "BatchShape") -> bool:
        """Whether a batch of this exact shape can be filled up to ours."""
        surplus, free = self.tokens - batch.tokens, self.texts - batch.texts
        return surplus >= 0 and free >= 0 and batch.longest <= self.longest and surplus <= free * self.longest


def shape_of(token_ids: Sequence[TokenIds]) -> BatchShape:
    """The exact shape of a batch of at least one text."""
    lengths = [len(ids) for ids in token_ids]
    return BatchShape(sum(lengths), len(lengths), max(lengths))


def graph_shapes(max_batch_tokens: int, max_text_tokens: int) -> list[BatchShape]:
    """The shapes that are worth a graph, ascending: powers of two and a half step between, for short texts and for all.

    So a batch is filled up by a third of its tokens at most.
    """
    totals = sorted({*_steps(max_batch_tokens), max_batch_tokens})
    longest = sorted({min(SHORT_TEXT_TOKENS, max_text_tokens), max_text_tokens})
    return [
        BatchShape(tokens, max(tokens // _TOKENS_PER_TEXT, 1), most)
        for tokens in totals
        for most in longest
        if most == longest[0] or tokens > longest[0]
    ]


def choose_shape(shapes: Sequence[BatchShape], batch: BatchShape) -> BatchShape | None:
    """The first of the ascending shapes that holds a batch of this exact shape; None when none does."""
    return next((shape for shape in shapes if shape.holds(batch)), None)


def lay_out(token_ids: Sequence[TokenIds], shape: BatchShape, inputs: NDArray[np.int32]) -> None:
    """Write a batch into `inputs`, shape (shape.size,), filled up to `shape`, which must hold it.

    Position ids restart with each text. What fills up are tokens 0 at position 0, spread over the free texts.
    """
    ids, positions, bounds = (inputs[part] for part in shape.parts)
    lengths = np.fromiter(map(len, token_ids), np.intp, len(token_ids))
    ends = np.cumsum(lengths)
    tokens, texts = int(ends[-1]), len(lengths)
    np.concatenate(token_ids, out=ids[:tokens])
    positions[:tokens] = np.arange(tokens) - np.repeat(ends - lengths, lengths)
    ids[tokens:] = positions[tokens:] = 0
    bounds[0], bounds[1 : texts + 1] = 0, ends
    free, surplus = shape.texts - texts, shape.tokens - tokens
    bounds[texts + 1 :] = tokens + np.arange(1, free + 1) * surplus // max(free, 1)


def _steps(most: int) -> Iterator[int]:
    step = _SMALLEST_BATCH
    while step <= most:
        yield step
        if step * 3 // 2 <= most:
            yield step * 3 // 2
        step *= 2
