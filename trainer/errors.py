"""What can go wrong with a training run, in words that say what to do.

KosearchError
`-- TrainerError
    |-- TrainingDataError         a data file is missing, truncated or malformed; named by file and line
    |-- RecipeError               a recipe is unknown or cannot be run as asked
    |-- ResumeError               a run cannot be continued, or a new one would destroy an old one
    |-- TrainingDivergedError     the loss is no longer a number
    |-- DiskFullError             no disk left for a checkpoint or a model
    `-- TrainingInterruptedError  Ctrl-C or SIGTERM; the run can be continued
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


class ResumeError(TrainerError):
    """A run cannot be continued as asked, or a new one would destroy what an old one has left."""


class TrainingDivergedError(TrainerError):
    """A loss, a gradient or a weight is infinite or not a number; no checkpoint holds it."""

    def __init__(self, stage: str, step: int) -> None:
        self.stage = stage
        self.step = step
        super().__init__(
            f"stage {stage!r}, step {step}: loss or weights are no finite numbers any more. The last checkpoint is "
            "from before; --resume would come to the same point, so lower the stage's learning rate or look at its data"
        )


class DiskFullError(TrainerError):
    """The disk, or the quota, has no room for what was to be written."""


class TrainingInterruptedError(TrainerError):
    """The user, or the machine, asked the run to stop."""
