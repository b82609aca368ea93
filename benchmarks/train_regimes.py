"""Do the three regimes of the SentenceBERT-KoBERT README run on an encoder of KoBERT's shape? How fast? Prints JSON.

    python benchmarks/train_regimes.py --data ../shared/data [--steps 16] [--dev-pairs 40] [--test]

The encoder has KoBERT's tokenizer and shape (12 layers, 768 dimensions, vocabulary of 8,002) and random weights, so its
figures show that training works and say nothing about KoBERT: the README's own need the pretrained weights. Each stage
ends after `--steps` steps; only the first pairs of KorSTS dev are used, for they are encoded nine times a stage.
"""

import argparse
import itertools
import json
import resource
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from report import print_report

from kosearch.sts_metrics import read_sts_pairs
from trainer.evaluation.evaluate import evaluate_sts
from trainer.recipe import Recipe, Stage
from trainer.recipes import find_recipe
from trainer.training.train import run_recipe

REGIMES = ("nli", "sts", "nli-sts")
# What the regimes read; development pairs are written anew.
_READ = ("klue/klue_nli_train.tsv", "kornlu/sts-train.tsv", "kornlu/sts-test.tsv")
_READ_IF_THERE = ("kornlu/snli_1.0_train.ko.tsv", "kornlu/multinli.train.ko.tsv")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="data folder of docs/trainer.md")
    parser.add_argument("--steps", type=int, default=16, help="optimiser steps of each stage")
    parser.add_argument("--dev-pairs", type=int, default=40, help="pairs of KorSTS dev that choose a checkpoint")
    parser.add_argument("--test", action="store_true", help="measure the models on KorSTS test too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data = data_view(arguments.data.resolve(), Path(place) / "data", arguments.dev_pairs)
        regimes = {name: run_regime(name, data, Path(place), arguments) for name in REGIMES}
    figures = {
        "steps_per_stage": arguments.steps,
        "dev_pairs": arguments.dev_pairs,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "regimes": regimes,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print_report("train_regimes", figures)


def run_regime(name: str, data: Path, place: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one regime from random weights. Seconds include evaluations and checkpoints."""
    recipe = shortened(find_recipe(name), arguments.steps)
    output = place / name
    model = run_recipe(recipe, data, output, str(arguments.data / "kobert" / "config.json"))
    report = json.loads((output / "run.json").read_text(encoding="utf-8"))
    batch_sizes = {stage.name: stage.batch_size for stage in recipe.stages}
    figures: dict[str, Any] = {
        "seed": recipe.seed,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "stages": {
            stage: {
                "seconds": seconds,
                "pairs_per_s": round(arguments.steps * batch_sizes[stage] / seconds, 2),
            }
            for stage, seconds in report["seconds"].items()
            if stage in batch_sizes
        },
    }
    if arguments.test:
        figures["korsts_test"] = asdict(evaluate_sts(model, read_sts_pairs(data / "kornlu" / "sts-test.tsv")))
    return figures


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """The recipe with each stage ended after so many steps."""
    stages = (replace(stage, max_steps=steps) for stage in recipe.stages if isinstance(stage, Stage))
    return replace(recipe, stages=tuple(stages))


def data_view(data: Path, view: Path, dev_pairs: int) -> Path:
    """A folder that shows the files of `data` and the first pairs of KorSTS dev."""
    for name in (*_READ, *(name for name in _READ_IF_THERE if (data / name).is_file())):
        (view / name).parent.mkdir(parents=True, exist_ok=True)
        (view / name).symlink_to(data / name)
    with (data / "kornlu" / "sts-dev.tsv").open(encoding="utf-8") as lines:
        kept = "".join(itertools.islice(lines, dev_pairs + 1))  # and the header
    (view / "kornlu" / "sts-dev.tsv").write_text(kept, encoding="utf-8")
    return view


if __name__ == "__main__":
    main()
