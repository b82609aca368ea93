"""The trainers of the stages: the libraries' own, with checkpoints that continue exactly and a watch on the loss."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import torch
from datasets import Dataset, List  # type: ignore[import-untyped]  # it ships no types
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformerTrainer
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch import Tensor, nn
from torch.utils.data import BatchSampler, RandomSampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from trainer.errors import TrainingDivergedError
from trainer.recipe import AnyStage
from trainer.training.checkpoints import facts_of, mark_complete, point_to_best
from trainer.training.run import Run
from trainer.training.stop_request import StopRequest

log = structlog.get_logger()

_HEADS = "loss_heads.safetensors"
# The newest, to go on from, and one before it; the best is kept as well.
_CHECKPOINTS_KEPT = 2


@dataclass(slots=True)
class Watch:
    """What the trainer of a stage keeps an eye on.

    heads: parameters of losses that are not the model's (a classifier, a projection), by name
    seconds_before: what the run had spent on the stage before it was resumed
    """

    stage: str
    stop: StopRequest
    heads: dict[str, nn.Parameter] = field(default_factory=dict)
    seconds_before: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds spent on the stage so far, before every resumption too."""
        return self.seconds_before + time.monotonic() - self.started


class WatchedTrainer(Trainer):
    """A trainer that stops at the first loss that is no number and whose checkpoints are whole or absent.

    `_save_checkpoint` and `_clip_grad_norm` are not public; the integration tests of resuming and of divergence fail if
    a later version no longer calls them.
    """

    watch: Watch

    def training_step(
        self, model: nn.Module, inputs: dict[str, Tensor | Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """One forward and backward pass. Raises TrainingDivergedError before the optimiser moves any weight."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._average_head_gradients()
        # Every process must come to the same decision, or one waits for the others for ever.
        facts = torch.stack([loss.detach().float(), loss.new_tensor(self.watch.stop.is_made, dtype=torch.float32)])
        losses, stops = self.accelerator.gather(facts[None]).unbind(dim=1)  # (processes,) each
        if not torch.isfinite(losses).all():
            raise TrainingDivergedError(self.watch.stage, self.state.global_step + 1)
        if stops.any():
            self.watch.stop.is_made = True
            self.control.should_save = True
            self.control.should_training_stop = True
        return loss

    def _average_head_gradients(self) -> None:
        """A loss's own parameters lie outside of the distributed model, so nothing else makes processes agree."""
        if self.accelerator.num_processes == 1:
            return
        for parameter in self.watch.heads.values():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.accelerator.reduce(gradient, reduction="mean")

    def _clip_grad_norm(self, model: nn.Module) -> Tensor | float | None:
        norm: Tensor | float | None = super()._clip_grad_norm(model)  # type: ignore[no-untyped-call]  # it is private
        if norm is not None and not torch.isfinite(torch.as_tensor(norm)):
            raise TrainingDivergedError(self.watch.stage, self.state.global_step + 1)
        return norm

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
            raise TrainingDivergedError(self.watch.stage, self.state.global_step)
        output = str(self.args.output_dir)
        folder = Path(output) / f"checkpoint-{self.state.global_step}"
        with _removed_on_failure(folder, self.args.should_save):
            super()._save_checkpoint(model, trial)
            if self.args.should_save and self.watch.heads:
                save_file(
                    {name: head.detach().contiguous() for name, head in self.watch.heads.items()}, folder / _HEADS
                )
            self.accelerator.wait_for_everyone()  # each process has written the state of its random numbers
            if self.args.should_save:
                mark_complete(folder, {"seconds": round(self.watch.seconds, 1)})
        if self.args.should_save:
            rotate_checkpoints(
                output,
                save_total_limit=_CHECKPOINTS_KEPT,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )


class PaddingCollator(SentenceTransformerDataCollator):
    """The library's collator, for labels of different lengths as well: the shorter are padded with zeros at the end."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch of rows as tensors."""
        labels = [label for row in features if isinstance(label := row.get("label"), Tensor)]
        if len({label.shape for label in labels}) > 1:
            padded = nn.utils.rnn.pad_sequence(labels, batch_first=True)
            features = [{**row, "label": label} for row, label in zip(features, padded, strict=True)]
        batch: dict[str, Any] = super().__call__(features)
        return batch


class StageTrainer(WatchedTrainer, SentenceTransformerTrainer):
    """The trainer of a `Stage`."""

    data_collator_class = PaddingCollator

    def add_dataset_name_column(self, dataset: Any, dataset_name: str | None = None) -> Any:
        """Labels of many numbers are read as tensors: as lists they would take longer to read than to learn from.

        The library adds the name of the dataset in a way that only lists get through.
        """
        is_long = isinstance(dataset, Dataset) and isinstance(dataset.features.get("label"), List)
        if dataset_name is None or not is_long:
            return super().add_dataset_name_column(dataset, dataset_name)
        named = dataset.add_column("dataset_name", [dataset_name] * len(dataset))
        return named.with_format("torch", columns=["label"], output_all_columns=True)

    def get_batch_sampler(
        self,
        dataset: Dataset,
        batch_size: int,
        drop_last: bool,
        valid_label_columns: list[str] | None = None,
        generator: torch.Generator | None = None,
        seed: int = 0,
    ) -> BatchSampler | None:
        """No text twice in a batch whose other rows are negatives or neighbours, plain shuffling of scored pairs.

        The library's sampler without duplicates compares labels too: KorSTS has 205 different scores, so it finds no
        batch of 512 at all, and would spread scores unnaturally in smaller ones.
        """
        if self.args.batch_sampler is BatchSamplers.NO_DUPLICATES and not _needs_distinct_texts(dataset):
            shuffled = RandomSampler(dataset, generator=generator)
            return DefaultBatchSampler(shuffled, batch_size, drop_last, valid_label_columns, generator, seed)
        return super().get_batch_sampler(dataset, batch_size, drop_last, valid_label_columns, generator, seed)


def shared_arguments(stage: AnyStage, run: Run, save_steps: int) -> dict[str, Any]:
    """The arguments that the trainers of every kind of stage have in common."""
    is_bf16 = run.uses_bf16(stage)
    log.info("precision.chosen", stage=stage.name, device=str(run.process.device), bf16=is_bf16)
    return {
        "output_dir": str(run.work / stage.name),
        "num_train_epochs": stage.epochs,
        "max_steps": stage.max_steps or -1,
        "per_device_train_batch_size": run.split_batch(stage),
        # All processes work on one batch of the recipe, so that their number does not change what is trained.
        "accelerator_config": {"split_batches": True},
        "learning_rate": stage.learning_rate,
        "warmup_steps": stage.warmup_share,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
        "bf16": is_bf16,
        "use_cpu": run.process.device.type == "cpu",  # without, the library takes bf16 to be a matter of GPUs
        "seed": run.recipe.seed,
        "save_strategy": "steps",
        "save_steps": save_steps,
        "save_total_limit": None,  # `WatchedTrainer` deletes old checkpoints once the new one is complete
        "logging_steps": 20,
        "logging_nan_inf_filter": False,  # it would hide what `WatchedTrainer` stops at
        "report_to": "tensorboard",
        "dataloader_drop_last": True,
        "dataloader_num_workers": 0,
    }


def train_from(trainer: WatchedTrainer, checkpoint: Path | None) -> None:
    """Train to the end of the stage, exactly as if it had never stopped at `checkpoint`.

    Raises TrainingInterruptedError, after another checkpoint, when a stop was asked for.
    """
    watch = trainer.watch
    trainer.args._n_gpu = min(trainer.args.n_gpu, 1)  # one process drives one GPU; `accelerate launch` starts several
    if checkpoint is not None:
        if trainer.args.should_save:
            point_to_best(checkpoint)
        trainer.accelerator.wait_for_everyone()
        load_heads(checkpoint, watch.heads)
        watch.seconds_before = facts_of(checkpoint)["seconds"]
        log.info("stage.resumed", stage=watch.stage, checkpoint=checkpoint.name)
    with watch.stop.after_step():
        trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    watch.stop.raise_if_made(f"stage {watch.stage!r}, step {trainer.state.global_step}")


class EvaluateAtEnd(TrainerCallback):
    """Evaluate after the last step too, so that the end of a stage can be its best checkpoint."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Called by the trainer after each step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
        return control


def heads_of(losses: Mapping[str, nn.Module], model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of losses that are not the model's, which the library's checkpoints leave out."""
    own = {id(parameter) for parameter in model.parameters()}
    return {
        f"{name}.{part}": parameter
        for name, loss in losses.items()
        for part, parameter in loss.named_parameters()
        if id(parameter) not in own
    }


def load_heads(checkpoint: Path, heads: Mapping[str, nn.Parameter]) -> None:
    """Put the parameters of losses back as they were at a checkpoint."""
    if not heads:
        return
    stored = load_file(checkpoint / _HEADS)
    with torch.no_grad():
        for name, head in heads.items():
            head.copy_(stored[name])


def _needs_distinct_texts(dataset: Dataset) -> bool:
    # See `mixture.Form`: scored and labelled pairs have a second sentence, groups hold every text once.
    return not {"sentence2", "text_1"} & set(dataset.column_names)


@contextmanager
def _removed_on_failure(folder: Path, may_write: bool) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if may_write:
            shutil.rmtree(folder, ignore_errors=True)
        raise
