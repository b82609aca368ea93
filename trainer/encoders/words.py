"""Which tokens belong to which word: what two models with different tokenizers have in common."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from trainer.encoders.tokenizer import WORD_START
from trainer.errors import RecipeError


def word_starts(tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """Which ids begin a word: shape (vocabulary,), bool. Raises RecipeError when the tokenizer does not mark words."""
    pieces = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    starts = torch.tensor([piece.startswith(WORD_START) for piece in pieces])
    if not starts.any():
        raise RecipeError(
            f"pieces of this tokenizer do not begin words with {WORD_START!r}, so its words cannot be compared with a "
            "teacher's; train with group_distillation instead"
        )
    return starts


def number_words(input_ids: Tensor, is_word: Tensor, starts: Tensor) -> Tensor:
    """The number of the word that each token belongs to, from 0; -1 outside of words. Shape of `input_ids`.

    `input_ids` (batch, length); `is_word` of the same shape excludes special tokens and pads; `starts` as of
    `word_starts`.
    """
    numbers = (starts.to(input_ids.device)[input_ids] & is_word).cumsum(dim=1) - 1  # (batch, length)
    return numbers.masked_fill(~is_word, -1)


def word_means(tokens: Tensor, numbers: Tensor, counts: Tensor) -> Tensor:
    """Means over the tokens of each text's first words, one text after the other. Returns (sum of counts, dim).

    `tokens` (batch, length, dim), `numbers` (batch, length) as of `number_words`, `counts` (batch,): how many words of
    each text are wanted, at most as many as it has.
    """
    first = counts.cumsum(dim=0) - counts  # (batch,)
    is_wanted = (numbers >= 0) & (numbers < counts[:, None])  # (batch, length)
    places = (first[:, None] + numbers)[is_wanted]  # (wanted tokens,)
    total = int(counts.sum())
    sums = tokens.new_zeros(total, tokens.shape[2]).index_add(0, places, tokens[is_wanted])  # (words, dim)
    sizes = torch.bincount(places, minlength=total)  # (words,)
    return sums / sizes[:, None]
