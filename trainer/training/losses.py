"""The loss of each objective: those of sentence-transformers, and those that it does not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    CoSENTLoss,
    CosineSimilarityLoss,
    EmbedDistillLoss,
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
    SoftmaxLoss,
)
from torch import Tensor, nn

from trainer.data.datasets import NLI_LABELS
from trainer.encoders.words import number_words, word_means, word_starts
from trainer.errors import RecipeError
from trainer.recipe import Objective, Stage

_UNCUTTABLE = {
    Objective.CLASSIFICATION,
    Objective.DISTILLATION,
    Objective.EMBEDDING_DISTILLATION,
    Objective.GROUP_DISTILLATION,
    Objective.WORD_DISTILLATION,
}
# Squared distances of unit rows are a tenth of the cross-entropy beside them.
_EMBEDDING_WEIGHT = 5.0
# Mean squared errors of standardised words are near 1 at first, the cross-entropy beside them is near 4.
_WORD_WEIGHT = 3.0


def build_loss(
    objective: Objective,
    model: SentenceTransformer,
    stage: Stage,
    teacher_dim: int = 0,
    *,
    is_distributed: bool = False,
) -> nn.Module:
    """The loss of an objective, on every Matryoshka dimension when the stage names some.

    `teacher_dim` is the length of the labels of an embedding distillation. When `is_distributed`, negatives come from
    the batches of all processes. Raises RecipeError for Matryoshka dimensions that the model does not have.
    """
    loss = _whole_embedding_loss(objective, model, stage, teacher_dim, is_distributed)
    # A classifier reads the whole embedding and a teacher has its own length: neither can be cut.
    if not stage.matryoshka_dims or objective in _UNCUTTABLE:
        return loss
    dim = embedding_dim(model)
    if max(stage.matryoshka_dims) > dim:
        raise RecipeError(
            f"stage {stage.name!r} wants {max(stage.matryoshka_dims)} dimensions and the model has {dim}; "
            "take a wider --base-model"
        )
    return MatryoshkaLoss(model, loss, sorted({*stage.matryoshka_dims, dim}, reverse=True))


def embedding_dim(model: SentenceTransformer) -> int:
    """Length of the model's embeddings."""
    dim = model.get_embedding_dimension()
    if dim is None:
        raise RecipeError("the base model does not say how long its embeddings are; take another --base-model")
    return dim


def _whole_embedding_loss(  # noqa: PLR0911  (one return an objective)
    objective: Objective, model: SentenceTransformer, stage: Stage, teacher_dim: int, is_distributed: bool
) -> nn.Module:
    match objective:
        case Objective.RANKING:
            scale = 1.0 / stage.temperature
            return MultipleNegativesRankingLoss(model, scale=scale, gather_across_devices=is_distributed)
        case Objective.SIMILARITY:
            return CorrelationLoss(model)
        case Objective.REGRESSION:
            return CosineSimilarityLoss(model)
        case Objective.COSENT:
            return CoSENTLoss(model)
        case Objective.CLASSIFICATION:
            return SoftmaxLoss(model, embedding_dim(model), num_labels=len(NLI_LABELS))
        case Objective.DISTILLATION:
            return NeighbourhoodDistillationLoss(model, stage.temperature)
        case Objective.EMBEDDING_DISTILLATION:
            return EmbeddingDistillationLoss(model, teacher_dim, stage.temperature)
        case Objective.GROUP_DISTILLATION:
            return GroupDistillationLoss(model, teacher_dim, stage.temperature, stage.teacher_temperature)
        case Objective.WORD_DISTILLATION:
            return WordDistillationLoss(model, teacher_dim, stage.temperature, stage.teacher_temperature)


class NeighbourhoodDistillationLoss(nn.Module):
    """Teach which sentences of a batch are alike, whatever space the teacher uses.

    For each sentence the student's distribution over the other sentences of the batch, softmax(cosine / temperature),
    should be the teacher's. Labels are the teacher's unit embeddings of the same sentences (or of their translations).
    Source: relational distillation as in SEED, Fang et al., ICLR 2021, with the batch in place of a queue.
    """

    def __init__(self, model: SentenceTransformer, temperature: float = 0.05) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """`labels` (batch, teacher dim). Returns the mean cross-entropy, a scalar."""
        student = self.model(next(iter(sentence_features)))["sentence_embedding"].float()  # (batch, dim)
        unit = nn.functional.normalize(student, dim=1)  # (batch, dim)
        return neighbourhood_cross_entropy(unit, labels.float(), self.temperature)


class EmbeddingDistillationLoss(nn.Module):
    """Teach the teacher's embedding itself, through a learned projection where it is of another length, and who is
    whose neighbour.

    Source: Reimers & Gurevych, EMNLP 2020 (embeddings as targets; by cosine here, so that lengths do not matter), with
    the neighbourhoods of `NeighbourhoodDistillationLoss`, which need no projection and so form the student's own space.
    """

    def __init__(self, model: SentenceTransformer, teacher_dim: int, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        projection_dim = None if teacher_dim == embedding_dim(model) else teacher_dim
        self.embedding = EmbedDistillLoss(model, distance_metric="cosine", projection_dim=projection_dim)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """`labels` (batch, teacher dim), unit rows. Returns a scalar."""
        student = self.model(next(iter(sentence_features)))["sentence_embedding"].float()  # (batch, dim)
        distance = self.embedding.compute_loss_from_embeddings([student], [labels.float()])
        unit = nn.functional.normalize(student, dim=1)  # (batch, dim)
        return distance + neighbourhood_cross_entropy(unit, labels.float(), self.temperature)


class GroupDistillationLoss(nn.Module):
    """Teach embeddings and neighbourhoods on groups of texts that the teacher finds alike.

    A batch of random texts hardly ever holds two worth comparing; one of groups holds some for every text. Student and
    teacher have temperatures of their own, so that the student may use the whole range of cosines where the teacher
    uses a small part. The projection has a bias, which takes over what is the same in all of the teacher's embeddings.
    Source: as `EmbeddingDistillationLoss`; hard examples in one batch as in NGAME, Dahiya et al., WSDM 2023.
    """

    def __init__(
        self, model: SentenceTransformer, teacher_dim: int, temperature: float, teacher_temperature: float
    ) -> None:
        super().__init__()
        self.model = model
        self.teacher_dim = teacher_dim
        self.temperature = temperature
        self.teacher_temperature = teacher_temperature
        self.projection = nn.Linear(embedding_dim(model), teacher_dim)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """`labels` (batch, group * teacher dim): unit rows of the texts of a group, one after the other. A scalar."""
        features = list(sentence_features)
        student = self.model(joined(features))["sentence_embedding"]  # (group * batch, dim)
        return self.compare(student.float(), self._in_order(labels.float(), len(features)))

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of embeddings (texts, dim) against the teacher's unit rows (texts, teacher dim). A scalar."""
        distance = (self.projection(student) - teacher).square().sum(dim=1).mean()
        unit = nn.functional.normalize(student, dim=1)  # (texts, dim)
        alike = neighbourhood_cross_entropy(unit, teacher, self.temperature, self.teacher_temperature)
        loss: Tensor = _EMBEDDING_WEIGHT * distance + alike
        return loss

    def _in_order(self, labels: Tensor, group_size: int) -> Tensor:
        """Labels (batch, group * teacher dim) in the order of `joined`: (group * batch, teacher dim)."""
        return labels.view(-1, group_size, self.teacher_dim).transpose(0, 1).reshape(-1, self.teacher_dim)


class WordDistillationLoss(GroupDistillationLoss):
    """Teach what each word means in its sentence, beside embeddings and neighbourhoods.

    A text gives one embedding but many words, so that the teacher says far more about it: its last layer's tokens,
    averaged over each word, since the tokenizers differ, and standardised. The student's tokens, averaged likewise,
    should give them through a linear projection.
    Source: hidden states as targets as in TinyBERT, Jiao et al., Findings of EMNLP 2020, by words instead of tokens.
    """

    def __init__(
        self, model: SentenceTransformer, teacher_dim: int, temperature: float, teacher_temperature: float
    ) -> None:
        super().__init__(model, teacher_dim, temperature, teacher_temperature)
        self.word_projection = nn.Linear(embedding_dim(model), teacher_dim)
        self._starts = word_starts(model.tokenizer)  # (vocabulary,)
        self._special = torch.tensor(model.tokenizer.all_special_ids)

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """`labels` (batch, longest): rows of `word_label`, padded at the end. A scalar."""
        features = list(sentence_features)
        group_size, batch = len(features), len(labels)
        inputs = joined(features)
        is_word = inputs["attention_mask"].bool() & ~torch.isin(inputs["input_ids"], self._special.to(labels.device))
        numbers = number_words(inputs["input_ids"], is_word, self._starts)  # (group * batch, length)
        output = self.model(inputs)
        counts, embeddings, words = read_word_labels(labels.float(), group_size, self.teacher_dim)
        teacher = self._in_order(embeddings, group_size)  # (group * batch, teacher dim)

        # Labels stand group by group, the joined texts do not: (group * batch,) -> place among the joined.
        order = torch.arange(group_size * batch, device=labels.device).view(group_size, batch).T.flatten()
        numbers, tokens = numbers[order], output["token_embeddings"].float()[order]
        shared = torch.minimum(counts, numbers.amax(dim=1) + 1)  # (group * batch,): either side may have cut a text
        place = torch.arange(len(words), device=labels.device) - (counts.cumsum(0) - counts).repeat_interleave(counts)
        theirs = words[place < shared.repeat_interleave(counts)]  # (shared words, teacher dim)
        ours = self.word_projection(word_means(tokens, numbers, shared))  # (shared words, teacher dim)
        loss: Tensor = self.compare(output["sentence_embedding"].float(), teacher)
        return loss + _WORD_WEIGHT * nn.functional.mse_loss(ours, theirs)


def word_label(embeddings: NDArray[np.float32], words: Sequence[NDArray[np.float32]]) -> NDArray[np.float16]:
    """What a teacher says about a group of texts in one row: numbers of words, embeddings, words.

    `embeddings` (group, teacher dim), `words` for each text (its words, teacher dim). Half precision, for these rows
    are most of what a run stores; it is exact for numbers of words up to 2,048.
    """
    counts = np.array([len(of_text) for of_text in words])  # (group,)
    return np.concatenate([counts, embeddings.ravel(), *(of_text.ravel() for of_text in words)]).astype(np.float16)


def word_label_dim(label: Tensor, group_size: int) -> int:
    """The teacher's dimensions, from one row of `word_label`."""
    return (len(label) - group_size) // (group_size + int(label[:group_size].sum()))


def read_word_labels(labels: Tensor, group_size: int, teacher_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """The parts of padded rows of `word_label`, `labels` (batch, longest), group by group.

    Returns numbers of words (batch * group,), embeddings (batch, group * teacher dim), words (their sum, teacher dim).
    """
    counts = labels[:, :group_size].long()  # (batch, group)
    rest = labels[:, group_size:]
    embeddings, values = rest[:, : group_size * teacher_dim], rest[:, group_size * teacher_dim :]
    wanted = torch.arange(values.shape[1], device=labels.device) < counts.sum(dim=1, keepdim=True) * teacher_dim
    return counts.flatten(), embeddings, values[wanted].view(-1, teacher_dim)


def joined(features: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Several padded batches, tensors (batch, length), as one, so that the encoder runs once."""
    longest = max(part["input_ids"].shape[1] for part in features)
    names = ("input_ids", "attention_mask")  # pads are hidden by the mask, so that any token will do
    return {
        name: torch.cat([nn.functional.pad(part[name], (0, longest - part[name].shape[1])) for part in features])
        for name in names
    }


class CorrelationLoss(nn.Module):
    """Have cosines rise and fall with gold scores: 1 - Pearson's correlation over the batch.

    Measured on KorSTS dev from one checkpoint, one pass over KorSTS and half of KLUE-STS: CoSENT at its usual scale 20
    lost 3 points, for a model this small lowers it by making all cosines alike; at scale 5 it gained 1.7, squared error
    2.0, this one 3.3. Correlation cannot be improved by shrinking or shifting all cosines.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """`labels` (batch,) gold scores on any scale. Returns a scalar in [0, 2]."""
        first, second = (self.model(features)["sentence_embedding"].float() for features in sentence_features)
        return correlation_loss(torch.cosine_similarity(first, second), labels.float())


def correlation_loss(cosines: Tensor, gold: Tensor) -> Tensor:
    """1 - Pearson's correlation of two vectors (batch,). Scalar in [0, 2]; 1 when either is constant."""
    ours, theirs = cosines - cosines.mean(), gold - gold.mean()  # (batch,)
    correlation: Tensor = (ours @ theirs) / (ours.norm() * theirs.norm()).clamp_min(1e-6)
    return 1.0 - correlation


def neighbourhood_cross_entropy(
    student: Tensor, teacher: Tensor, temperature: float, teacher_temperature: float | None = None
) -> Tensor:
    """Cross-entropy between neighbour distributions of unit rows (batch, dim) and (batch, teacher dim). Scalar.

    Without a `teacher_temperature` both have the same.
    """
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)  # (batch, batch)
    ours = (student @ student.T / temperature).masked_fill(itself, -1e4)  # (batch, batch)
    theirs = (teacher @ teacher.T / (teacher_temperature or temperature)).masked_fill(itself, -1e4)  # (batch, batch)
    return -(theirs.softmax(dim=1) * ours.log_softmax(dim=1)).sum(dim=1).mean()
