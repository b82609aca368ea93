"""Read the TensorBoard logs that a training run has left beside its model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

_LOSS, _DEV_SCORE = "train/loss", "eval/cosine_spearman"


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure over the steps of a stage, in ascending order."""

    steps: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class StageLog:
    """What a stage has logged: the training loss, and the cosine Spearman on KorSTS dev (empty when not evaluated)."""

    stage: str
    loss: Curve
    dev_score: Curve


def training_folder(model: Path) -> Path:
    """Where the run that wrote `model` has its logs."""
    return model.resolve().with_name(f"{model.resolve().name}-training")


def read_training_log(folder: Path) -> list[StageLog]:
    """The logs of every stage of a training folder, in the order in which the stages ran; empty when there are none."""
    files = sorted(folder.rglob("events.out.tfevents.*"), key=_order_of)
    by_stage: dict[str, list[Path]] = {}
    for file in files:
        by_stage.setdefault(file.relative_to(folder).parts[0], []).append(file)
    logs = [_stage_log(stage, found) for stage, found in by_stage.items()]
    return [log for log in logs if log.loss.steps or log.dev_score.steps]


def _order_of(file: Path) -> list[int]:
    # events.out.tfevents.SECONDS.HOST.PROCESS.NUMBER, the number being that of the file within the process
    return [int(part) for part in file.name.split(".") if part.isdecimal()]


def _stage_log(stage: str, files: list[Path]) -> StageLog:
    # A resumed run writes a file of its own, which begins before the end of the last one: the later word holds.
    loss: dict[int, float] = {}
    dev_score: dict[int, float] = {}
    for file in files:
        events = EventAccumulator(str(file), size_guidance={SCALARS: 0})
        events.Reload()
        for tag, values in ((_LOSS, loss), (_DEV_SCORE, dev_score)):
            if tag in events.Tags()[SCALARS]:
                values |= {event.step: event.value for event in events.Scalars(tag)}
    return StageLog(stage, _curve(loss), _curve(dev_score))


def _curve(values: dict[int, float]) -> Curve:
    return Curve(sorted(values), [values[step] for step in sorted(values)])
