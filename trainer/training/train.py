"""Run a recipe: foundation or base model, then stage after stage of the sentence-transformers trainer."""

from __future__ import annotations

import ctypes
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import structlog
import torch
from accelerate import PartialState  # type: ignore[import-untyped]  # it ships no types
from datasets import DatasetDict  # type: ignore[import-untyped]  # it ships no types
from kiwipiepy import Kiwi
from rich.progress import track
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from trainer.encoders.base_model import load_base_model
from trainer.encoders.encoder import (
    add_layers,
    as_sentence_transformer,
    build_static_encoder,
    encoder_of,
    place_embeddings,
)
from trainer.encoders.foundation import initial_piece_embeddings, morpheme_table
from trainer.encoders.morpheme_vectors import MORPHEME_DIM
from trainer.encoders.packing import packed_if_possible
from trainer.encoders.tokenizer import build_tokenizer, choose_pieces
from trainer.encoders.word_statistics import count_words
from trainer.errors import RecipeError
from trainer.evaluation.evaluate import DevEvaluator
from trainer.recipe import PACKAGED_E5, AnyStage, Foundation, MaskedLanguageStage, Objective, Recipe, Stage
from trainer.teachers.e5 import load_packaged_e5
from trainer.training.checkpoints import (
    delete_incomplete,
    delete_leftovers,
    disk_failures_named,
    facts_of,
    mark_complete,
    newest_checkpoint,
    written_whole,
)
from trainer.training.losses import build_loss, word_label_dim
from trainer.training.masked_language import run_masked_language_stage
from trainer.training.mixture import ExampleSources, dataset_name, objective_of
from trainer.training.run import Run, Start, prepare_examples, settle_former_run, work_folder
from trainer.training.stage_trainer import EvaluateAtEnd, StageTrainer, Watch, heads_of, shared_arguments, train_from
from trainer.training.stop_request import StopRequest

log = structlog.get_logger()

_EVALUATIONS_PER_STAGE = 6
# Other processes wait while the first lays the foundation, asks a teacher or mines negatives.
_LONGEST_PREPARATION = timedelta(hours=12)
# Source: glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Have glibc reuse freed memory instead of giving it back to the kernel after every step.

    Activations of tens of megabytes are otherwise mapped and zeroed anew each time: 2.5 times slower in the static
    stage.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def run_recipe(
    recipe: Recipe,
    folder: Path,
    output: Path,
    base_model: str | None = None,
    teacher: str | None = None,
    start: Start = Start.NEW,
) -> SentenceTransformer:
    """Train as the recipe says and write the model and its run report to `output`.

    Checkpoints and TensorBoard logs go to the folder beside it that ends in `-training`; the checkpoints are deleted
    when the model is written. `base_model` (hub id or directory) replaces the recipe's foundation or base model,
    `teacher` its teacher. Under `accelerate launch` every process runs this and the first one writes.

    Raises ResumeError when `start` does not fit what lies there, TrainingDivergedError, DiskFullError, and
    TrainingInterruptedError after Ctrl-C or SIGTERM.
    """
    keep_freed_memory()
    recipe = _with_models(recipe, base_model, teacher)
    process = PartialState(timeout=_LONGEST_PREPARATION)
    work = work_folder(output)
    with StopRequest().listening() as stop, disk_failures_named(work):
        settle_former_run(recipe, folder, output, process, start)
        run = Run(recipe, work, ExampleSources(folder, recipe.seed, recipe.teacher), process, stop)
        model, seconds = _run_stages(run)
        if process.is_main_process:
            output.mkdir(parents=True, exist_ok=True)
            model.save_pretrained(str(output), create_model_card=False)
            write_run_report(recipe, run.sources, seconds, output)
            delete_leftovers(work)
        process.wait_for_everyone()
    return model


def _with_models(recipe: Recipe, base_model: str | None, teacher: str | None) -> Recipe:
    recipe = replace(recipe, teacher=teacher or recipe.teacher)
    if base_model is not None:
        max_tokens = recipe.max_tokens or (recipe.foundation.max_tokens if recipe.foundation is not None else 0)
        recipe = replace(recipe, base_model=base_model, foundation=None, max_tokens=max_tokens)
    if recipe.foundation is None and recipe.base_model is None:
        raise RecipeError(f"recipe {recipe.name!r} continues a model: give one with --base-model")
    return recipe


def _run_stages(run: Run) -> tuple[SentenceTransformer, dict[str, float]]:
    """The trained model, and the seconds that each part took. What was finished before a resumption is not redone."""
    done = _first_model_once(run)
    seconds: dict[str, float] = {"foundation": facts_of(done)["seconds"]}
    for stage in run.recipe.stages:
        done = _stage_once(run, stage, done)
        seconds[stage.name] = facts_of(done)["seconds"]
    model = load_start(done)
    if run.recipe.max_tokens:
        model.max_seq_length = run.recipe.max_tokens
    elif run.recipe.foundation is not None:
        model.max_seq_length = run.recipe.foundation.max_tokens
    return model, seconds


def _first_model_once(run: Run) -> Path:
    folder = run.work / "start"
    if run.process.is_main_process and not folder.is_dir():
        started = time.monotonic()
        set_seed(run.recipe.seed)
        with tempfile.TemporaryDirectory() as parts:
            model = _first_model(run, Path(parts))
            _write_model(model, folder, {"seconds": round(time.monotonic() - started, 1)})
    run.process.wait_for_everyone()
    return folder


def _first_model(run: Run, parts: Path) -> SentenceTransformer:
    if run.recipe.foundation is not None:
        return lay_foundation(run.recipe.foundation, run.sources, run.recipe.seed, parts)
    if run.recipe.base_model is None:
        raise RecipeError(f"recipe {run.recipe.name!r} has neither a foundation nor a base model")
    if run.recipe.base_model == PACKAGED_E5:
        return load_packaged_e5()
    max_tokens = run.recipe.max_tokens or max(stage.max_tokens for stage in run.recipe.stages)
    return load_base_model(run.recipe.base_model, max_tokens)


def _stage_once(run: Run, stage: AnyStage, start: Path) -> Path:
    """The folder with the model at the end of a stage that starts from the model in `start`.

    Every stage starts from files, so that a resumed run takes the very same way as an uninterrupted one.
    """
    folder = run.work / stage.name / "finished"
    check = run.sources.leak_check
    if not folder.is_dir():
        if run.process.is_main_process:
            delete_incomplete(folder.parent)
        run.process.wait_for_everyone()
        set_seed(run.recipe.seed)
        model, seconds = run_stage(load_start(start), stage, run)
        if isinstance(stage, Stage) and stage.share_of_start:
            mix_weights(model, load_start(start), stage.share_of_start)
        log.info("stage.finished", stage=stage.name, seconds=seconds)
        if run.process.is_main_process:
            _write_model(model, folder, {"seconds": seconds, "removed": check.removed})
        run.process.wait_for_everyone()
    check.removed |= Counter(facts_of(folder)["removed"])
    return folder


def _write_model(model: SentenceTransformer, folder: Path, facts: dict[str, object]) -> None:
    with written_whole(folder) as partial:
        model.save_pretrained(str(partial), create_model_card=False)
        mark_complete(partial, facts)


def load_start(folder: Path) -> SentenceTransformer:
    """Load what an earlier part of the run has written, with float32 weights."""
    return SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})


def mix_weights(model: SentenceTransformer, other: SentenceTransformer, share: float) -> None:
    """Replace each weight of `model` by a mean with `other`'s, which has `share`. Raises RecipeError."""
    others = other.state_dict()
    for name, weight in model.state_dict().items():
        if name not in others or others[name].shape != weight.shape:
            raise RecipeError(f"share_of_start: {name} is not in the first model, or of another shape there")
        if weight.is_floating_point():
            weight.lerp_(others[name].to(weight), share)


def lay_foundation(foundation: Foundation, sources: ExampleSources, seed: int, work: Path) -> SentenceTransformer:
    """Learn the tokenizer and take the first embeddings over from Kiwi: an encoder without layers."""
    kiwi = Kiwi(num_workers=2, model_type="cong")
    texts = list(sources.foundation_texts(foundation.corpus_step))
    statistics = count_words(kiwi, track(texts, description="Analysing morphemes"))
    log.info("words.counted", words=len(statistics.words), morphemes=len(statistics.morphemes))
    tokenizer = build_tokenizer(choose_pieces(statistics.parts, foundation.piece_count), foundation.max_tokens)
    meaning = initial_piece_embeddings(statistics, morpheme_table(kiwi, statistics.morphemes), tokenizer, seed)
    config = BertConfig(
        hidden_size=foundation.dim,
        num_attention_heads=foundation.head_count,
        intermediate_size=foundation.intermediate_dim,
        max_position_embeddings=foundation.max_tokens,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
    )
    placed = place_embeddings(meaning, foundation.dim)  # (pieces, dim)
    bert = build_static_encoder(placed, MORPHEME_DIM, config, tokenizer)
    return as_sentence_transformer(bert, tokenizer, str(work), foundation.max_tokens)


def run_stage(model: SentenceTransformer, stage: AnyStage, run: Run) -> tuple[SentenceTransformer, float]:
    """Train one stage from its last checkpoint, or from `model` when there is none.

    Returns the model at its end, or at its best development score when the stage selects, and the seconds it took
    with all resumptions.
    """
    if isinstance(stage, MaskedLanguageStage):
        return run_masked_language_stage(model, stage, run)
    model = _with_layers(model, stage)
    freeze_lowest(model, stage.frozen_layers)
    examples = prepare_examples(run, stage, model)
    losses = _losses(model, stage, examples, run)
    evaluator = _dev_evaluator(run.sources.folder, stage)
    trainer = StageTrainer(
        model=model,
        args=_arguments(stage, run, _steps_of_epoch(examples, stage), is_evaluated=evaluator is not None),
        train_dataset=examples,
        loss=losses,
        evaluator=evaluator,
        callbacks=[] if evaluator is None else [EvaluateAtEnd()],
    )
    trainer.watch = Watch(stage.name, run.stop, heads_of(losses, model))
    log.info("stage.started", stage=stage.name, examples={name: len(rows) for name, rows in examples.items()})
    with packed_if_possible(model):
        train_from(trainer, newest_checkpoint(run.work / stage.name))
    return model, round(trainer.watch.seconds, 1)


def _with_layers(model: SentenceTransformer, stage: Stage) -> SentenceTransformer:
    bert = model[0].auto_model
    if isinstance(bert, BertModel) and bert.config.num_hidden_layers == 0 and stage.layer_count > 0:
        tokenizer: PreTrainedTokenizerFast = model.tokenizer
        with tempfile.TemporaryDirectory() as parts:
            model = as_sentence_transformer(add_layers(bert, stage.layer_count), tokenizer, parts, stage.max_tokens)
    model.max_seq_length = stage.max_tokens
    return model


def freeze_lowest(model: SentenceTransformer, layer_count: int) -> None:
    """Keep the token embeddings and the lowest layers as they are; 0 keeps nothing."""
    if layer_count:
        bert = cast("BertModel", encoder_of(model))
        bert.embeddings.requires_grad_(False)
        for layer in list(bert.encoder.layer)[:layer_count]:
            layer.requires_grad_(False)


def _losses(model: SentenceTransformer, stage: Stage, examples: DatasetDict, run: Run) -> dict[str, nn.Module]:
    losses: dict[str, nn.Module] = {}
    for source in stage.sources:
        name, objective = dataset_name(source), objective_of(source)
        teacher_dim, text_count = 0, len(examples[name].column_names) - 1
        if objective in {Objective.EMBEDDING_DISTILLATION, Objective.GROUP_DISTILLATION}:
            teacher_dim = len(examples[name][0]["label"]) // text_count
        elif objective is Objective.WORD_DISTILLATION:
            teacher_dim = word_label_dim(torch.tensor(examples[name][0]["label"]), text_count)
        is_distributed = run.process.num_processes > 1
        losses[name] = build_loss(objective, model, stage, teacher_dim, is_distributed=is_distributed)
    return losses


def _dev_evaluator(folder: Path, stage: Stage) -> DevEvaluator | None:
    """KorSTS dev; none when the folder lacks it and the stage does not choose by it."""
    if not stage.selects_on_dev and not (folder / "kornlu" / "sts-dev.tsv").is_file():
        log.warning("evaluation.skipped", stage=stage.name, reason="kornlu/sts-dev.tsv is not there")
        return None
    return DevEvaluator.from_folder(folder)


def _steps_of_epoch(examples: DatasetDict, stage: Stage) -> int:
    steps = sum(len(rows) // stage.batch_size for rows in examples.values())
    if steps == 0:
        raise RecipeError(
            f"stage {stage.name!r} has not one batch of {stage.batch_size} examples; is the data complete?"
        )
    return steps


def _arguments(
    stage: Stage, run: Run, steps_of_epoch: int, *, is_evaluated: bool
) -> SentenceTransformerTrainingArguments:
    steps = stage.max_steps or steps_of_epoch * stage.epochs
    every = max(1, steps // max(_EVALUATIONS_PER_STAGE, 2 * stage.epochs))
    embedding_rate = stage.embedding_learning_rate
    return SentenceTransformerTrainingArguments(
        learning_rate_mapping={} if embedding_rate is None else {r"word_embeddings": embedding_rate},
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        prompts=stage.prompt or None,
        eval_strategy="steps" if is_evaluated else "no",
        eval_steps=every if is_evaluated else None,
        load_best_model_at_end=stage.selects_on_dev,
        metric_for_best_model="eval_cosine_spearman" if stage.selects_on_dev else None,
        **shared_arguments(stage, run, save_steps=every),
    )


def write_run_report(recipe: Recipe, sources: ExampleSources, seconds: dict[str, float], output: Path) -> None:
    """Write `run.json`: the recipe in full, seconds of each part, and what the leak check removed."""
    report = {"recipe": asdict(recipe), "seconds": seconds, "leak_check_removed": dict(sources.leak_check.removed)}
    (output / "run.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
