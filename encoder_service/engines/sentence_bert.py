"""Reads a sentence-transformers directory: says no to what the CPU engine cannot run, returns config and weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from encoder_service.engines.bert_graph import BertConfig
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


def read_sentence_bert(model: ModelDirectory) -> tuple[BertConfig, dict[str, NDArray[np.float32]]]:
    """Return config and weights. Raises ModelError when the model is anything but BERT, mean pooling, unit length."""
    config = BertConfig.parse(model.config())
    if config.dim != model.dim:
        raise ModelError(f"{model.path}: kosearch.json says dim {model.dim}, config.json {config.dim}; export again")
    if model.max_tokens > config.max_positions:
        raise ModelError(
            f"{model.path}: max_tokens {model.max_tokens} is more than the model's {config.max_positions} positions"
        )
    _check_modules(model.path)
    _check_pooling(model.path)
    return config, _read_weights(model.path / "model.safetensors")


def _check_modules(path: Path) -> None:
    modules = [str(module.get("type", "")).rpartition(".")[2] for module in _read_json(path / "modules.json")]
    if modules not in _MODULES:
        raise ModelError(
            f"{path / 'modules.json'} lists {', '.join(modules)}; the CPU engine runs Transformer, Pooling, Normalize"
        )
    options = path / "sentence_bert_config.json"
    if options.exists() and _read_json(options).get("do_lower_case"):
        raise ModelError(f"{options} has do_lower_case; make lower case in tokenizer.json instead")


def _check_pooling(path: Path) -> None:
    pooling = _read_json(path / "1_Pooling/config.json")
    # sentence-transformers wrote a truth value for each mode once, and writes the name of the mode now.
    modes = [key.removeprefix("pooling_mode_") for key, on in pooling.items() if key.startswith("pooling_mode_") and on]
    named = pooling.get("pooling_mode")
    if named is not None:
        modes = [named] if isinstance(named, str) else list(named)
    if modes not in (["mean"], ["mean_tokens"]):
        raise ModelError(
            f"{path / '1_Pooling/config.json'} asks for pooling {', '.join(map(str, modes)) or 'of no kind'}; "
            "the CPU engine runs mean pooling only"
        )


def _read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export it again as float32 or float16") from error
    wrong = sorted(name for name, tensor in tensors.items() if tensor.dtype.kind not in "fi")
    if wrong:
        raise ModelError(f"{path}: {wrong[0]} is {tensors[wrong[0]].dtype}; export the weights as float32 or float16")
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items() if tensor.dtype.kind == "f"}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export the model again") from error
