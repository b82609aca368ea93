"""Turn a trained model into the model directory that the service loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory, seal_model_directory
from trainer.evaluate import encode, load_model
from trainer.golden_texts import GOLDEN_TEXTS

# What a former export has written and this one writes anew.
_NOT_EXPORTED = ("golden", "kosearch.json")


def export_model(model: Path, output: Path) -> ModelDirectory:
    """Write a sealed model directory: weights rounded to float16, golden embeddings computed from exactly those.

    Raises ModelError when `model` is no sentence-transformers directory with mean pooling.
    """
    _check_modules(model)
    if output.resolve() != model.resolve():
        shutil.copytree(model, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_EXPORTED))
    round_weights(output)
    forget_lengths(output / "tokenizer.json")
    encoder = load_model(str(output))  # float32 arithmetic on the rounded weights, as the service computes
    golden = encode(encoder, list(GOLDEN_TEXTS))  # (texts, dim)
    if not np.isfinite(golden).all():
        raise ModelError(f"{model}: golden embeddings are not finite; the training has diverged, train again")
    return seal_model_directory(output, output.resolve().name, int(encoder.max_seq_length or 0), GOLDEN_TEXTS, golden)


def round_weights(folder: Path) -> None:
    """Store the weights as float16, and have libraries load them as float32.

    The pooler, which sentence-transformers loads but never uses, holds random numbers: zeros take no room in archives.
    """
    path = folder / "model.safetensors"
    weights = load_file(path)
    rounded = {name: tensor.to(torch.float16).contiguous() for name, tensor in weights.items()}
    for name, tensor in rounded.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} does not fit float16; the training has diverged, train again")
        if name.startswith("pooler."):
            tensor.zero_()
    save_file(rounded, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors writes for its owner only, and a container reads as somebody else
    # transformers loads in the dtype that config.json names, and float16 arithmetic is slow on CPUs.
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def forget_lengths(path: Path) -> None:
    """Take the last batch's truncation and padding out of tokenizer.json: training cuts texts shorter than serving."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_modules(folder: Path) -> None:
    for name in ("modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} has no {name}: not a sentence-transformers directory, or one without pooling")
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    mode = pooling.get("pooling_mode", "mean" if pooling.get("pooling_mode_mean_tokens") else "other")
    if mode != "mean":
        raise ModelError(f"{folder}: pooling mode is {mode!r}; the service computes mean pooling only")
