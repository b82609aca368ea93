"""Exhaustive dense search over a large corpus: encode a block of pages, keep each query's best, forget the block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from kosearch.text import normalise
from trainer.data.corpora import Document

# Pages of a block are sorted by length together: the larger the block, the less padding.
_BLOCK_PAGES = 8_192
_BATCH_TOKENS = 8_192
# Characters of a page that the tokenizer is shown for each token that is read. Pieces are far shorter on average, and
# the pages that are whole have up to 100,000 characters.
_CHARACTERS_PER_TOKEN = 12


class BestHits:
    """The `top_k` best documents of every query among those seen so far."""

    def __init__(self, queries: NDArray[np.float32], top_k: int) -> None:
        """`queries` (queries, dim), unit rows."""
        self._queries = queries
        self._top_k = top_k
        self._scores = np.full((len(queries), top_k), -np.inf, dtype=np.float32)
        self._documents = np.full((len(queries), top_k), -1, dtype=np.int64)
        self._ids: list[str] = []

    def add(self, ids: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Let documents compete: `embeddings` (len(ids), dim), unit rows."""
        first = len(self._ids)
        self._ids.extend(ids)
        numbers = np.broadcast_to(np.arange(first, len(self._ids)), (len(self._queries), len(ids)))
        scores = np.concatenate([self._scores, self._queries @ embeddings.T], axis=1)  # (queries, top_k + documents)
        documents = np.concatenate([self._documents, numbers], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self._top_k]  # (queries, top_k): earlier ones win ties
        self._scores = np.take_along_axis(scores, best, axis=1)
        self._documents = np.take_along_axis(documents, best, axis=1)

    def ranking(self) -> list[list[str]]:
        """For each query the ids of its hits, best first; fewer than `top_k` when there are fewer documents."""
        return [[self._ids[number] for number in row if number >= 0] for row in self._documents]

    def __len__(self) -> int:
        return len(self._ids)


@dataclass(frozen=True, slots=True)
class EncodedBlock:
    """Embeddings (texts, dim) in the order of the texts, and the tokens that were read, special tokens included."""

    embeddings: NDArray[np.float32]
    token_count: int


def blocks_of(documents: Iterable[Document], size: int = _BLOCK_PAGES) -> Iterator[list[Document]]:
    """The documents in lists of `size`, the last one shorter."""
    waiting = iter(documents)
    while block := list(islice(waiting, size)):
        yield block


def page_text(page: Document, max_tokens: int) -> str:
    """What the encoder is given of a page: title and text, normalised, and no more than it can read."""
    return normalise(f"{page.title} {page.text[: max_tokens * _CHARACTERS_PER_TOKEN]}")


def token_batches(lengths: Sequence[int], batch_tokens: int = _BATCH_TOKENS) -> list[list[int]]:
    """Indexes of texts in batches of similar length, longest first, each within `batch_tokens` with its padding.

    A text that is longer than that is a batch of its own.
    """
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batches and (len(batches[-1]) + 1) * longest <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = max(lengths[index], 1)
    return batches


@torch.inference_mode()
def encode_by_length(model: SentenceTransformer, texts: Sequence[str], max_tokens: int) -> EncodedBlock:
    """Encode texts cut to `max_tokens` tokens, those of equal length together, so that hardly anything is padding.

    `SentenceTransformer.encode` sorts by characters and has batches of a fixed number of texts; sorting by tokens, with
    as many tokens in every batch, is faster on a CPU by what padding and small matrices cost.
    """
    tokenizer: Any = model.tokenizer
    rows = tokenizer(list(texts), truncation=True, max_length=max_tokens, return_token_type_ids=False)["input_ids"]
    lengths = [len(row) for row in rows]
    embeddings: NDArray[np.float32] | None = None
    for batch in token_batches(lengths):
        features = tokenizer.pad({"input_ids": [rows[index] for index in batch]}, return_tensors="pt")
        encoded = model({name: tensor.to(model.device) for name, tensor in features.items()})
        found = encoded["sentence_embedding"].float().cpu().numpy()  # (batch, dim)
        if embeddings is None:
            embeddings = np.empty((len(rows), found.shape[1]), dtype=np.float32)
        embeddings[batch] = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    assert embeddings is not None, "no texts to encode"
    return EncodedBlock(embeddings, sum(lengths))
