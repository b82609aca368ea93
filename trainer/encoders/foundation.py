"""From a corpus to a first encoder without any gradient step: tokenizer, and embeddings taken over from Kiwi."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from kiwipiepy import Kiwi
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from transformers import PreTrainedTokenizerFast

from trainer.encoders.morpheme_vectors import MORPHEME_DIM, inverse_frequency_weights, recover_unit_vectors
from trainer.encoders.static_initialisation import fit_piece_embeddings
from trainer.encoders.word_statistics import WordStatistics

# Kiwi numbers morphemes from frequent to rare; these are content words of middling frequency, more than 256 of them.
_ANCHOR_IDS = range(1_000, 13_000, 24)
_SIF_SMOOTHING = 1e-3
_RIDGE = 1.0
# Length of an unknown piece's random direction, as a share of the median: at 1 they cost 2 points on KorSTS dev.
_UNKNOWN_SHARE = 0.3
# Word tables longer than this are cut: rarer words cost time and say little about a piece.
_MAX_WORDS = 500_000


def morpheme_table(kiwi: Kiwi, counts: Counter[int]) -> dict[int, NDArray[np.float32]]:
    """Weighted vector, shape (256,), of each morpheme that occurs at least 3 times."""
    ids = [i for i, count in counts.most_common() if count >= 3 and math.isfinite(kiwi.morpheme_similarity(i, i))]
    anchors = [i for i in _ANCHOR_IDS if math.isfinite(kiwi.morpheme_similarity(i, i))]
    vectors = recover_unit_vectors(ids, anchors, kiwi.morpheme_similarity)  # (morphemes, 256)
    weighted = vectors * inverse_frequency_weights(counts, ids, _SIF_SMOOTHING)[:, None]
    return dict(zip(ids, weighted.astype(np.float32), strict=True))


def initial_piece_embeddings(
    statistics: WordStatistics, morphemes: dict[int, NDArray[np.float32]], tokenizer: PreTrainedTokenizerFast, seed: int
) -> NDArray[np.float32]:
    """Embeddings of all pieces from the words of a corpus. Returns shape (vocabulary, 256).

    A piece of which Kiwi knows nothing (numbers, Latin, single bytes) gets a short random direction.
    """
    words = statistics.words.most_common(_MAX_WORDS)
    encoded = tokenizer.backend_tokenizer.encode_batch([word for (word, _), _ in words], add_special_tokens=False)
    indices = np.fromiter((i for encoding in encoded for i in encoding.ids), dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(encoding.ids) for encoding in encoded])])
    size = len(tokenizer)
    counts = csr_matrix((np.ones(len(indices), np.float32), indices, offsets), shape=(len(words), size))
    nothing = np.zeros(MORPHEME_DIM, np.float32)
    targets = np.stack([sum((morphemes.get(i, nothing) for i in ids), nothing) for (_, ids), _ in words])
    weights = np.sqrt(np.array([count for _, count in words], dtype=np.float32))
    fitted = fit_piece_embeddings(counts, targets, weights, _RIDGE)  # (vocabulary, 256)
    occurrences = counts.T @ np.array([count for _, count in words], dtype=np.float32)  # (vocabulary,)
    complete = _with_random_rows(without_shared_direction(fitted, occurrences), seed)
    complete[tokenizer.all_special_ids] = 0.0  # they stand in every text and must not make all texts alike
    return complete


def without_shared_direction(embeddings: NDArray[np.float32], occurrences: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take out the direction that texts share, by which all of them look alike. Shapes as `embeddings` (pieces, dim).

    Source: Arora et al., ICLR 2017 (SIF), who take the first principal component out of sentences; pieces add up to
    sentences, so taking it out of the pieces, weighted by how often each occurs, does the same.
    """
    weighted = embeddings * np.sqrt(occurrences)[:, None]  # (pieces, dim)
    _, directions = np.linalg.eigh(weighted.T @ weighted)  # (dim, dim), ascending
    shared = directions[:, -1]  # (dim,)
    return (embeddings - np.outer(embeddings @ shared, shared)).astype(np.float32)


def _with_random_rows(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=1)
    unknown = norms < 0.02
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal(embeddings.shape).astype(np.float32)  # (vocabulary, dim)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.where(
        unknown[:, None], directions * (_UNKNOWN_SHARE * float(np.median(norms[~unknown]))), embeddings
    ).astype(np.float32)
