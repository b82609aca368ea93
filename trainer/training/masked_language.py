"""Masked-language pretraining of an encoder on Wikipedia.

Source: Devlin et al., NAACL 2019 (BERT); texts follow one another in full rows, without next-sentence prediction, as in
Liu et al., 2019 (RoBERTa).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, cast
from zlib import crc32

import numpy as np
import structlog
import torch
from datasets import Dataset, load_from_disk  # type: ignore[import-untyped]  # it ships no types
from sentence_transformers import SentenceTransformer
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainingArguments,
)

from trainer.encoders.encoder import encoder_of
from trainer.errors import RecipeError
from trainer.recipe import MaskedLanguageStage
from trainer.training.checkpoints import mark_complete, newest_checkpoint, written_whole
from trainer.training.run import Run
from trainer.training.stage_trainer import Watch, WatchedTrainer, shared_arguments, train_from

log = structlog.get_logger()

_CHECKPOINTS_PER_STAGE = 10


class RepeatableMasking(DataCollatorForLanguageModeling):
    """Hides the same tokens of a batch however often the run was resumed; another epoch has other batches.

    The library's collator draws from a generator whose state no checkpoint holds, so a resumed run would see other
    tokens hidden.
    """

    def torch_call(self, examples: list[Any]) -> dict[str, Any]:
        """Pad and mask `examples`, rows with `input_ids`."""
        content = b"".join(np.asarray(example["input_ids"], dtype=np.int32).tobytes() for example in examples)
        self.generator = torch.Generator().manual_seed((self.seed or 0) + crc32(content))
        masked: dict[str, Any] = super().torch_call(examples)
        return masked


def run_masked_language_stage(
    model: SentenceTransformer, stage: MaskedLanguageStage, run: Run
) -> tuple[SentenceTransformer, float]:
    """Pretrain the encoder of `model` in place. Returns it, and the seconds it took with all resumptions."""
    encoder = encoder_of(model)
    tokenizer: PreTrainedTokenizerBase = model.tokenizer
    language_model = with_language_head(encoder)
    rows = _prepare_rows(run, stage, tokenizer)
    steps = stage.max_steps or len(rows) // stage.batch_size * stage.epochs
    if steps == 0:
        raise RecipeError(f"stage {stage.name!r} has not one batch of {stage.batch_size} rows; is the corpus complete?")
    trainer = WatchedTrainer(
        model=language_model,
        args=TrainingArguments(**shared_arguments(stage, run, save_steps=max(1, steps // _CHECKPOINTS_PER_STAGE))),
        train_dataset=rows,
        data_collator=RepeatableMasking(tokenizer, mlm_probability=stage.masked_share, seed=run.recipe.seed),
        processing_class=tokenizer,
    )
    trainer.watch = Watch(stage.name, run.stop)
    log.info("stage.started", stage=stage.name, rows=len(rows), steps=steps)
    train_from(trainer, newest_checkpoint(run.work / stage.name))
    _copy_encoder(cast("PreTrainedModel", language_model.base_model), encoder)
    return model.to("cpu"), round(trainer.watch.seconds, 1)


def with_language_head(encoder: PreTrainedModel) -> PreTrainedModel:
    """A masked-language model round a copy of the encoder, with a new head. Raises RecipeError where there is none."""
    try:
        language_model: PreTrainedModel = AutoModelForMaskedLM.from_config(encoder.config)  # type: ignore[no-untyped-call]
    except ValueError as error:
        kind = type(encoder).__name__
        raise RecipeError(f"transformers has no masked-language model for {kind}; take another --base-model") from error
    _copy_encoder(encoder, cast("PreTrainedModel", language_model.base_model))
    language_model.tie_weights()
    return language_model


def full_rows(texts: Iterable[list[int]], row_tokens: int, first: int, last: int) -> Iterator[list[int]]:
    """Rows of exactly `row_tokens` ids: `first`, texts one after the other with `last` between them, `last`.

    What does not fill the last row is left out.
    """
    room = row_tokens - 2
    waiting: list[int] = []
    for text in texts:
        waiting += [*text, last]
        while len(waiting) >= room:
            yield [first, *waiting[:room], last]
            waiting = waiting[room:]


def _prepare_rows(run: Run, stage: MaskedLanguageStage, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    folder = run.work / stage.name / "examples"
    if run.process.is_main_process and not folder.is_dir():
        texts = run.sources.wikipedia_texts(stage.page_limit)
        ids = (tokenizer(text, add_special_tokens=False, truncation=False)["input_ids"] for text in texts)
        rows = list(full_rows(ids, stage.max_tokens, tokenizer.cls_token_id, tokenizer.sep_token_id))
        with written_whole(folder) as partial:
            Dataset.from_dict({"input_ids": rows}).save_to_disk(str(partial))
            mark_complete(partial, {"removed": run.sources.leak_check.removed})
    run.process.wait_for_everyone()
    return load_from_disk(str(folder))


def _copy_encoder(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy the weights that both have; a pooler may be in one only, and mean pooling does not use it."""
    outcome = target.load_state_dict({name: weight.cpu() for name, weight in source.state_dict().items()}, strict=False)
    strange = [name for name in (*outcome.missing_keys, *outcome.unexpected_keys) if not name.startswith("pooler.")]
    if strange:
        raise RecipeError(f"the masked-language model has other weights than the encoder: {', '.join(strange[:3])}")
