"""Run a recipe: foundation, then stage after stage of the sentence-transformers trainer."""

from __future__ import annotations

import ctypes
import json
import shutil
import sys
import time
from dataclasses import asdict
from pathlib import Path

import structlog
import torch
from datasets import DatasetDict  # type: ignore[import-untyped]  # it ships no types
from kiwipiepy import Kiwi
from rich.progress import track
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.training_args import BatchSamplers
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, set_seed

from trainer.encoder import add_layers, as_sentence_transformer, build_static_encoder, place_embeddings
from trainer.errors import RecipeError
from trainer.evaluate import DevEvaluator
from trainer.foundation import initial_piece_embeddings, morpheme_table
from trainer.losses import CorrelationLoss, NeighbourhoodDistillationLoss
from trainer.mixture import ExampleSources, objective_of
from trainer.morpheme_vectors import MORPHEME_DIM
from trainer.recipe import Foundation, Objective, Recipe, Stage
from trainer.tokenizer import build_tokenizer, choose_pieces
from trainer.word_statistics import count_words

log = structlog.get_logger()

_EVALUATIONS_PER_STAGE = 6
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


def run_recipe(recipe: Recipe, folder: Path, output: Path, base_model: str | None = None) -> SentenceTransformer:
    """Train as the recipe says and write the model and its run report to `output`.

    TensorBoard logs go to the folder beside it that ends in `-training`, as do checkpoints while a stage runs.

    `base_model` replaces the foundation: a hub id or a sentence-transformers directory.
    """
    keep_freed_memory()
    set_seed(recipe.seed)
    output.mkdir(parents=True, exist_ok=True)
    work = output.with_name(f"{output.name}-training")
    started = time.monotonic()
    sources = ExampleSources(folder, recipe.seed)
    if base_model is not None:
        model = SentenceTransformer(base_model, device="cpu")
    elif recipe.foundation is not None:
        model = lay_foundation(recipe.foundation, sources, recipe.seed, work / "foundation")
    else:
        raise RecipeError(f"recipe {recipe.name!r} continues a model: give one with --base-model")
    seconds = {"foundation": round(time.monotonic() - started, 1)}
    for stage in recipe.stages:
        stage_started = time.monotonic()
        model = run_stage(model, stage, sources, recipe.seed, work)
        seconds[stage.name] = round(time.monotonic() - stage_started, 1)
        log.info("stage.finished", stage=stage.name, seconds=seconds[stage.name])
    if recipe.foundation is not None:
        model.max_seq_length = recipe.foundation.max_tokens
    model.save_pretrained(str(output), create_model_card=False)
    write_run_report(recipe, sources, seconds, output)
    for leftover in (*work.glob("*/checkpoint-*"), *work.glob("*-start"), work / "foundation"):
        shutil.rmtree(leftover)
    return model


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


def run_stage(
    model: SentenceTransformer, stage: Stage, sources: ExampleSources, seed: int, work: Path
) -> SentenceTransformer:
    """Train one stage; returns the model at its end, or at its best development score when the stage selects."""
    model = _with_layers(model, stage, work / f"{stage.name}-start")
    examples = DatasetDict({source.name: sources.load(source, objective_of(source.name)) for source in stage.sources})
    losses: dict[str, nn.Module] = {name: _loss(objective_of(name), model, stage) for name in examples}
    log.info("stage.started", stage=stage.name, examples={name: len(rows) for name, rows in examples.items()})
    trainer = SentenceTransformerTrainer(
        model=model,
        args=_arguments(stage, seed, work / stage.name, sum(len(rows) for rows in examples.values())),
        train_dataset=examples,
        loss=losses,
        evaluator=DevEvaluator.from_folder(sources.folder),
    )
    trainer.train()
    return model


def _with_layers(model: SentenceTransformer, stage: Stage, work: Path) -> SentenceTransformer:
    bert = model[0].auto_model
    if isinstance(bert, BertModel) and bert.config.num_hidden_layers == 0 and stage.layer_count > 0:
        tokenizer: PreTrainedTokenizerFast = model.tokenizer
        model = as_sentence_transformer(add_layers(bert, stage.layer_count), tokenizer, str(work), stage.max_tokens)
    model.max_seq_length = stage.max_tokens
    return model


def _loss(objective: Objective, model: SentenceTransformer, stage: Stage) -> nn.Module:
    match objective:
        case Objective.RANKING:
            return MultipleNegativesRankingLoss(model, scale=1.0 / stage.temperature)
        case Objective.SIMILARITY:
            return CorrelationLoss(model)
        case Objective.DISTILLATION:
            return NeighbourhoodDistillationLoss(model, stage.temperature)


def _arguments(stage: Stage, seed: int, folder: Path, example_count: int) -> SentenceTransformerTrainingArguments:
    steps = max(1, example_count // stage.batch_size)
    every = max(1, steps // _EVALUATIONS_PER_STAGE)
    return SentenceTransformerTrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=stage.batch_size,
        learning_rate=stage.learning_rate,
        learning_rate_mapping={r"word_embeddings": stage.embedding_learning_rate},
        warmup_steps=stage.warmup_share,
        weight_decay=0.01,
        max_grad_norm=1.0,
        bf16=stage.is_bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=seed,
        batch_sampler=BatchSamplers.NO_DUPLICATES,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=stage.selects_on_dev,
        metric_for_best_model="eval_cosine_spearman" if stage.selects_on_dev else None,
        logging_steps=20,
        report_to="tensorboard",
        dataloader_drop_last=True,
        dataloader_num_workers=0,
    )


def write_run_report(recipe: Recipe, sources: ExampleSources, seconds: dict[str, float], output: Path) -> None:
    """Write `run.json`: the recipe in full, seconds of each part, and what the leak check removed."""
    report = {"recipe": asdict(recipe), "seconds": seconds, "leak_check_removed": dict(sources.leak_check.removed)}
    (output / "run.json").write_text(json.dumps(report, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
