"""What a recipe is: every hyperparameter of a reproducible run, its source and the result to expect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Objective(StrEnum):
    """What a stage's examples are trained with."""

    RANKING = "ranking"  # (anchor, positive[, hard negative]): multiple negatives ranking
    SIMILARITY = "similarity"  # (text, text, score): correlation of cosines with scores
    DISTILLATION = "distillation"  # (text, teacher embedding): neighbourhood distillation


@dataclass(frozen=True, slots=True)
class Source:
    """One source of examples inside a stage.

    name: a key of `mixture.SOURCES`
    limit: at most so many examples, drawn evenly; 0 takes all
    repeat: how often the examples are seen in the stage
    """

    name: str
    limit: int = 0
    repeat: int = 1


@dataclass(frozen=True, slots=True)
class Foundation:
    """A first encoder from a corpus: own tokenizer, and embeddings taken over from Kiwi's morpheme vectors.

    piece_count: size of the vocabulary without special tokens and bytes
    corpus_step: every so many-th Wikipedia page is analysed (statutes and precedents: a fifth of that rate)
    """

    piece_count: int
    corpus_step: int
    dim: int
    head_count: int
    intermediate_dim: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Stage:
    """One run of the sentence-transformers trainer over a mixture of sources, one source a batch.

    layer_count: layers the encoder is given before the stage (added so that its function does not change)
    embedding_learning_rate: of the token embeddings; a row is touched by few batches and its entries are near 1, so it
        needs a hundred times the rate of the layers
    max_tokens: texts are cut to so many tokens while training, for speed
    """

    name: str
    sources: tuple[Source, ...]
    layer_count: int
    batch_size: int
    learning_rate: float
    embedding_learning_rate: float
    max_tokens: int
    warmup_share: float = 0.05
    temperature: float = 0.05
    is_bf16: bool = True
    selects_on_dev: bool = False


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named, reproducible run. `source` says where the method is from, `expected` what it gave us."""

    name: str
    source: str
    expected: str
    stages: tuple[Stage, ...]
    foundation: Foundation | None = None
    seed: int = 42
