"""Turn a model into the model directory that the service loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer

from kosearch.architecture import read_architecture
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory, remove_export, seal_model_directory
from kosearch.text import normalise
from trainer.encoders.model_source import find_model
from trainer.evaluation.encoding import encode
from trainer.publishing.golden_texts import GOLDEN_TEXTS
from trainer.publishing.portable import make_portable

# With these the files are taken as they are; sentence-transformers writes anew what lacks one of them.
_COMPLETE = ("modules.json", "config.json", "model.safetensors", "tokenizer.json", "1_Pooling/config.json")
# What a former export has written and this one writes anew, and weights for other runtimes.
_NOT_EXPORTED = (
    *("golden", "kosearch.json"),
    *("*.bin", "*.h5", "*.ot", "*.msgpack", "*.onnx", "onnx", "openvino", ".git*", ".cache", "checkpoint-*"),
)
# Whatever a tokenizer can be loaded from; without any, transformers makes an empty one that knows no word.
_VOCABULARIES = ("tokenizer.json", "vocab.*", "*.model")
# Damaged or foreign files make the libraries raise about anything; each of these was seen.
_LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError, SafetensorError)


def export_model(source: str | Path, output: Path, name: str | None = None) -> ModelDirectory:
    """Write a sealed model directory: weights rounded to float16, golden embeddings and token ids of the exact model.

    source: directory of a sentence-transformers model, or its id on the hub; sealed in place when it is `output`
    name: to be written in the manifest; that of `output` by default
    Raises ModelError when the model is none that the service runs, or `output` cannot be written.
    """
    folder = find_model(str(source))
    encoder = _load(folder)
    golden = encode(encoder, list(GOLDEN_TEXTS))  # (texts, dim)
    if not np.isfinite(golden).all():
        raise ModelError(f"{source}: golden embeddings are not finite; the training has diverged, train again")
    max_tokens = int(encoder.max_seq_length or 0)
    token_ids = _token_ids(encoder, max_tokens)
    try:
        _write_files(folder, encoder, output)
        _write_tokenizer(encoder, output, token_ids, max_tokens)
        round_weights(output)
        make_portable(output, max_tokens)
        return seal_model_directory(output, name or output.resolve().name, max_tokens, GOLDEN_TEXTS, golden, token_ids)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{output} cannot be written: {error}; make room or choose another place") from error


def _load(folder: Path) -> SentenceTransformer:
    """Load for float32 arithmetic on what the service reads: no prompt, no more tokens than there are positions."""
    if not any(path for pattern in _VOCABULARIES for path in folder.rglob(pattern)):
        raise ModelError(f"{folder} has no tokenizer (tokenizer.json, vocab.txt or *.model); copy it again")
    try:
        encoder = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    except _LOAD_ERRORS as error:
        raise ModelError(
            f"{folder} cannot be loaded by sentence-transformers ({type(error).__name__}: {error}); "
            "copy or train the model again"
        ) from error
    encoder.default_prompt_name = None
    positions = read_architecture(folder).bert.max_positions
    encoder.max_seq_length = min(encoder.max_seq_length or positions, positions)
    return encoder


def _token_ids(encoder: SentenceTransformer, max_tokens: int) -> list[list[int]]:
    """The golden texts' ids by the model's own tokenizer."""
    texts = [normalise(text) for text in GOLDEN_TEXTS]
    return [list(ids) for ids in encoder.tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]]


def _write_files(folder: Path, encoder: SentenceTransformer, output: Path) -> None:
    """Copy the model's files as they are, or have them written anew where one is missing."""
    in_place = output.resolve() == folder.resolve()
    if all((folder / name).is_file() for name in _COMPLETE):
        if not in_place:
            shutil.copytree(folder, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_NOT_EXPORTED))
        return
    remove_export(output)
    encoder.save(str(output), create_model_card=False)
    for extra in (*folder.glob("README.md"), *folder.glob("LICENSE*"), *folder.glob("NOTICE*")):
        if not in_place:
            shutil.copyfile(extra, output / extra.name)


def _write_tokenizer(encoder: SentenceTransformer, output: Path, token_ids: list[list[int]], max_tokens: int) -> None:
    """Make sure that tokenizer.json alone gives the ids of the model's own tokenizer; write it anew if it does not."""
    path = output / "tokenizer.json"
    if not path.is_file() or _ids_of_file(path, max_tokens) != token_ids:
        encoder.tokenizer.save_pretrained(str(output))
    if not path.is_file():
        raise ModelError(
            f"{type(encoder.tokenizer).__name__} has no fast form (tokenizer.json), which the service needs; convert "
            "it with transformers, or choose another model"
        )
    if _ids_of_file(path, max_tokens) != token_ids:
        raise ModelError(f"{path} gives other token ids than {type(encoder.tokenizer).__name__}; choose another model")
    forget_lengths(path)


def _ids_of_file(path: Path, max_tokens: int) -> list[list[int]]:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return [encoding.ids for encoding in tokenizer.encode_batch([normalise(text) for text in GOLDEN_TEXTS])]


def round_weights(folder: Path) -> None:
    """Store the weights as float16, and have libraries load them as float32.

    The pooler, which sentence-transformers loads but never uses, holds random numbers: zeros take no room in archives.
    """
    path = folder / "model.safetensors"
    rounded = {
        name: tensor.to(torch.float16).contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in load_file(path).items()
    }
    for name, tensor in rounded.items():
        if not torch.isfinite(tensor).all():
            raise ModelError(f"{path}: {name} does not fit float16; the training has diverged, train again")
        if name.startswith("pooler."):
            rounded[name] = torch.zeros_like(tensor)
    # Beside, then renamed: tensors that needed no rounding still lie in the mapped file.
    beside = path.with_suffix(".rounded")
    try:
        save_file(rounded, beside, metadata={"format": "pt"})
        beside.chmod(0o644)  # safetensors writes for its owner only, and a container reads as somebody else
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    # transformers loads in the dtype that config.json names, and float16 arithmetic is slow on CPUs.
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def forget_lengths(path: Path) -> None:
    """Take the last batch's truncation and padding out of tokenizer.json: training cuts texts shorter than serving."""
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer |= {"truncation": None, "padding": None}
    path.write_text(json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
