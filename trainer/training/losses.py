"""The loss of each objective: those of sentence-transformers, and the three that it does not have."""

from __future__ import annotations

from collections.abc import Iterable

import torch
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
from trainer.errors import RecipeError
from trainer.recipe import Objective, Stage

_UNCUTTABLE = {
    Objective.CLASSIFICATION,
    Objective.DISTILLATION,
    Objective.EMBEDDING_DISTILLATION,
    Objective.GROUP_DISTILLATION,
}
# Squared distances of unit rows are a tenth of the cross-entropy beside them.
_EMBEDDING_WEIGHT = 5.0


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
        student = self.model(joined(features))["sentence_embedding"].float()  # (group * batch, dim)
        in_order = labels.float().view(-1, len(features), self.teacher_dim).transpose(0, 1)  # (group, batch, dim)
        teacher = in_order.reshape(-1, self.teacher_dim)  # (group * batch, teacher dim)
        distance = (self.projection(student) - teacher).square().sum(dim=1).mean()
        unit = nn.functional.normalize(student, dim=1)  # (group * batch, dim)
        alike = neighbourhood_cross_entropy(unit, teacher, self.temperature, self.teacher_temperature)
        loss: Tensor = _EMBEDDING_WEIGHT * distance + alike
        return loss


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
