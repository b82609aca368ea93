"""The two losses that sentence-transformers does not have."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn


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
        return neighbourhood_cross_entropy(student, labels.float(), self.temperature)


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


def neighbourhood_cross_entropy(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Cross-entropy between neighbour distributions of unit rows (batch, dim) and (batch, teacher dim). Scalar."""
    itself = torch.eye(len(student), dtype=torch.bool, device=student.device)  # (batch, batch)
    ours = (student @ student.T / temperature).masked_fill(itself, -1e4)  # (batch, batch)
    theirs = (teacher @ teacher.T / temperature).masked_fill(itself, -1e4)  # (batch, batch)
    return -(theirs.softmax(dim=1) * ours.log_softmax(dim=1)).sum(dim=1).mean()
