"""STS pairs of either kind of file that people have: KorSTS and KLUE-STS."""

from __future__ import annotations

from pathlib import Path

from kosearch.errors import InvalidRequestError
from kosearch.sts_metrics import StsPair, read_sts_pairs
from trainer.data.datasets import read_table

_HIGHEST_SCORE = 5.0


def read_sts_file(path: Path) -> list[StsPair]:
    """Read STS pairs: a `.csv` has `sentence1,sentence2,label` as KLUE-STS, anything else 7 columns as KorSTS.

    Raises an error that names file and line for a wrong column count or a label outside 0-5.
    """
    if path.suffix != ".csv":
        return read_sts_pairs(path)
    pairs: list[StsPair] = []
    for line_number, (first, second, label) in read_table(path, 3, delimiter=","):
        try:
            score = float(label)
        except ValueError:
            raise InvalidRequestError(f"{path}:{line_number}: label {label!r} is not a number") from None
        if not 0.0 <= score <= _HIGHEST_SCORE:
            raise InvalidRequestError(f"{path}:{line_number}: label {score} is outside 0-5")
        pairs.append(StsPair(first, second, score))
    if not pairs:
        raise InvalidRequestError(f"{path}: no pairs after the header line")
    return pairs
