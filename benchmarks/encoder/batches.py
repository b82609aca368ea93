"""Batches as the engines get them in these benchmarks. Imports nothing that would count as an engine's memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

Ids = TypeVar("Ids", bound=Sequence[int])


def in_batches(token_ids: Iterable[Ids], max_tokens: int) -> Iterator[list[Ids]]:
    """Texts in their order, in batches of at most `max_tokens`."""
    batch: list[Ids] = []
    tokens = 0
    for ids in token_ids:
        if batch and tokens + len(ids) > max_tokens:
            yield batch
            batch, tokens = [], 0
        batch.append(ids)
        tokens += len(ids)
    yield batch
