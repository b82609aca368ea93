"""Embeddings for measures, by the running service."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kosearch.client import Client, Role

_TEXTS_PER_CALL = 256
# sentence-transformers writes it into the card of a model that was trained so, our trainer into run.json.
_TRAINED_DIMENSIONS = re.compile(r'"matryoshka_dims":\s*\[([\d,\s]*)\]')
_CARDS = ("README.md", "run.json")


def encode_all(client: Client, texts: Sequence[str], role: Role = "") -> NDArray[np.float32]:
    """Encode texts as bulk work. Returns shape (len(texts), dim), unit rows."""
    batches = (texts[begin : begin + _TEXTS_PER_CALL] for begin in range(0, len(texts), _TEXTS_PER_CALL))
    return np.concatenate([client.encode(batch, role, is_bulk=True).embeddings for batch in batches])


def trained_dimensions(model: Path) -> list[int]:
    """Return the numbers of dimensions that a model directory's card says it was trained for, beside its own."""
    found: set[int] = set()
    for name in _CARDS:
        path = model / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for numbers in _TRAINED_DIMENSIONS.findall(text):
            found |= {int(number) for number in numbers.split(",") if number.strip()}
    return sorted(found)
