"""What can go wrong with a user's training data, named by file and line.

KosearchError
`-- TrainerError
    |-- TrainingDataError    a data file is missing, truncated or malformed
    `-- RecipeError          a recipe is unknown or cannot be run as asked
"""

from __future__ import annotations

from pathlib import Path

from kosearch.errors import KosearchError


class TrainerError(KosearchError):
    """Base of everything the trainer raises on purpose."""


class TrainingDataError(TrainerError):
    """A data file is missing, truncated or malformed."""

    def __init__(self, path: Path, reason: str, line_number: int | None = None) -> None:
        self.path = path
        self.line_number = line_number
        place = str(path) if line_number is None else f"{path}:{line_number}"
        super().__init__(f"{place}: {reason}")

    @classmethod
    def from_reader(cls, error: KosearchError) -> TrainingDataError:
        """The same complaint from a reader of `kosearch`, which has named file and line already."""
        made = cls.__new__(cls)
        Exception.__init__(made, str(error))
        return made


class RecipeError(TrainerError):
    """A recipe is unknown or cannot be run as asked."""
