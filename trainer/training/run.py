"""One run of a recipe: where it works, whether it may start there, and what all of its stages share."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import structlog
from accelerate import PartialState  # type: ignore[import-untyped]  # it ships no types
from datasets import DatasetDict, load_from_disk  # type: ignore[import-untyped]  # it ships no types
from sentence_transformers import SentenceTransformer

from trainer.errors import RecipeError, ResumeError
from trainer.recipe import AnyStage, Recipe, Stage
from trainer.training.checkpoints import (
    check_record,
    delete_leftovers,
    facts_of,
    fingerprint_data,
    has_record,
    holds_training,
    mark_complete,
    write_record,
    written_whole,
)
from trainer.training.mixture import ExampleSources, dataset_name
from trainer.training.precision import has_bf16
from trainer.training.stop_request import StopRequest

log = structlog.get_logger()


class Start(Enum):
    """What to do about what an earlier run has left."""

    NEW = "new"  # refuse to touch it
    RESUME = "resume"  # go on where it stopped
    OVERWRITE = "overwrite"  # throw it away


@dataclass(frozen=True, slots=True)
class Run:
    """What the stages of a run share. `process` knows the device and the other processes of `accelerate launch`."""

    recipe: Recipe
    work: Path
    sources: ExampleSources
    process: PartialState
    stop: StopRequest

    def uses_bf16(self, stage: AnyStage) -> bool:
        """Whether the stage wants bfloat16 and the device has it."""
        return stage.is_bf16 and has_bf16(self.process.device)

    def split_batch(self, stage: AnyStage) -> int:
        """The stage's batch size, which all processes share. Raises RecipeError when they cannot share it evenly."""
        if stage.batch_size % self.process.num_processes:
            raise RecipeError(
                f"stage {stage.name!r} has batches of {stage.batch_size}, which {self.process.num_processes} processes "
                "cannot share evenly; launch another number of processes"
            )
        return stage.batch_size


def work_folder(output: Path) -> Path:
    """Where a run that will write `output` keeps its checkpoints and TensorBoard logs."""
    return output.resolve().with_name(f"{output.resolve().name}-training")


def settle_former_run(recipe: Recipe, data: Path, output: Path, process: PartialState, start: Start) -> None:
    """Make sure that the run may start as asked, and write down what it is made of.

    Raises ResumeError: for a new run where a finished model or an unfinished run lies, for resuming where there is
    nothing to resume or what lies there is another recipe, seed or data.
    """
    work = work_folder(output)
    if process.is_main_process:
        if start is Start.NEW:
            _refuse_to_destroy(output, work)
            delete_leftovers(work)  # of a run that failed before its first checkpoint
        elif start is Start.OVERWRITE:
            shutil.rmtree(work, ignore_errors=True)
        elif not has_record(work):
            raise ResumeError(_nothing_to_resume(output, work))
        record = _record(recipe, data, process)
        if start is Start.RESUME:
            check_record(work, record)
        else:
            write_record(work, record)
    process.wait_for_everyone()


def prepare_examples(run: Run, stage: Stage, start_model: SentenceTransformer) -> DatasetDict:
    """The examples of a stage by name. The first process reads them once, and a resumed stage gets the very same."""
    folder = run.work / stage.name / "examples"
    check = run.sources.leak_check
    if run.process.is_main_process and not folder.is_dir():
        examples = DatasetDict({dataset_name(s): run.sources.load(s, start_model) for s in stage.sources})
        with written_whole(folder) as partial:
            examples.save_to_disk(str(partial))
            mark_complete(partial, {"removed": check.removed})
    run.process.wait_for_everyone()
    check.removed |= Counter(facts_of(folder)["removed"])
    examples = load_from_disk(str(folder))
    for name, rows in examples.items():
        if len(rows) < stage.batch_size:
            log.warning("source.too_small", stage=stage.name, source=name, examples=len(rows), batch=stage.batch_size)
    return examples


def _record(recipe: Recipe, data: Path, process: PartialState) -> dict[str, Any]:
    is_bf16 = has_bf16(process.device) and any(stage.is_bf16 for stage in recipe.stages)
    return {
        "recipe": asdict(recipe),
        "data": fingerprint_data(data),
        "processes": process.num_processes,
        "precision": "bfloat16" if is_bf16 else "float32",
    }


def _refuse_to_destroy(output: Path, work: Path) -> None:
    if holds_training(work):
        raise ResumeError(f"an unfinished run lies in {work}; continue it with --resume or discard it with --overwrite")
    if (output / "modules.json").exists():
        raise ResumeError(f"{output} holds a finished model; choose another --output, or replace it with --overwrite")


def _nothing_to_resume(output: Path, work: Path) -> str:
    if (output / "modules.json").exists():
        return f"nothing to resume: the run that wrote {output} is finished"
    return f"nothing to resume in {work}; start the run without --resume"
