"""Train without padding: the sentences of a batch lie one after the other in rows of one length.

A batch of sentences padded to its longest is mostly padding (2.8 times the real tokens in random batches of 32). Packed
into rows, every token computed is a real one, and the matrix products are large however short the sentences are. Two
things keep sentences apart, so that each gets what it would get alone: position ids restart with every sentence, and
attention is allowed only inside one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from transformers import BertModel
from transformers.modeling_outputs import BaseModelOutput

from kosearch.row_packing import Packing, pack

# Attention costs the square of a row, and shorter rows leave larger gaps.
_ROW_TOKENS = (128, 256, 512)


def place(lengths: Sequence[int]) -> Packing:
    """Put sentences into rows of 128, 256 or 512 tokens, the least that fits the longest sentence."""
    longest = max(lengths)
    return pack(lengths, next((size for size in _ROW_TOKENS if size >= longest), longest))


def packed_if_possible(model: SentenceTransformer) -> AbstractContextManager[None]:
    """`packed_rows` for a model whose encoder is a `BertModel` with layers; anything else stays as it is."""
    bert = model[0].auto_model if hasattr(model[0], "auto_model") else None
    return packed_rows(bert) if isinstance(bert, BertModel) and bert.config.num_hidden_layers else nullcontext()


@contextmanager
def packed_rows(bert: BertModel) -> Iterator[None]:
    """Inside the context `bert` computes padded batches in packed rows; inputs and outputs keep their padded shapes."""
    padded_forward = bert.forward

    def forward(input_ids: Tensor, attention_mask: Tensor, **_: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=_packed_forward(padded_forward, input_ids, attention_mask))

    bert.forward = forward
    try:
        yield
    finally:
        bert.forward = padded_forward


def _packed_forward(padded_forward: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """`input_ids` and `attention_mask` (batch, length), padded on the right. Returns (batch, length, dim)."""
    is_token = attention_mask.bool()  # (batch, length)
    lengths = is_token.sum(dim=1)  # (batch,)
    placement = place(lengths.tolist())
    shape = (placement.row_count, placement.row_tokens)
    first = torch.tensor(placement.rows) * placement.row_tokens + torch.tensor(placement.starts)  # (batch,)
    positions = is_token.cumsum(dim=1)[is_token] - 1  # (tokens,)
    places = first.to(input_ids.device).repeat_interleave(lengths) + positions  # (tokens,)
    segments = torch.arange(1, len(lengths) + 1, device=input_ids.device).repeat_interleave(lengths)  # (tokens,)

    def laid_out(values: Tensor) -> Tensor:
        return values.new_zeros(shape[0] * shape[1]).index_copy(0, places, values).view(shape)  # (rows, row tokens)

    of_row = laid_out(segments)
    is_together = of_row[:, None, :, None] == of_row[:, None, None, :]  # (rows, 1, row tokens, row tokens)
    hidden: Tensor = padded_forward(
        input_ids=laid_out(input_ids[is_token]), position_ids=laid_out(positions), attention_mask=is_together
    ).last_hidden_state  # (rows, row tokens, dim)
    tokens = hidden.flatten(0, 1).index_select(0, places)  # (tokens, dim)
    padded = tokens.new_zeros(input_ids.numel(), tokens.shape[1])
    return padded.index_copy(0, is_token.flatten().nonzero()[:, 0], tokens).view(*input_ids.shape, -1)
