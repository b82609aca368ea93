"""Reads a model directory: says no to what the CPU engine cannot run, returns architecture and weights."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from encoder_service.engines.bert_weights import BertWeights
from kosearch.architecture import Architecture, read_architecture
from kosearch.errors import ModelError
from kosearch.model_directory import ModelDirectory


def read_sentence_bert(model: ModelDirectory) -> tuple[Architecture, BertWeights]:
    """Return architecture and weights. Raises ModelError when the model is anything but BERT with a known pooling."""
    architecture = read_architecture(model.path)
    bert = architecture.bert
    if bert.dim != model.dim:
        raise ModelError(f"{model.path}: kosearch.json says dim {model.dim}, config.json {bert.dim}; export again")
    if model.max_tokens > bert.max_positions:
        raise ModelError(
            f"{model.path}: max_tokens {model.max_tokens} is more than the model's {bert.max_positions} positions"
        )
    return architecture, BertWeights(_read_weights(model.path / "model.safetensors"))


def _read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); export it again as float32 or float16") from error
    wrong = sorted(name for name, tensor in tensors.items() if tensor.dtype.kind not in "fi")
    if wrong:
        raise ModelError(f"{path}: {wrong[0]} is {tensors[wrong[0]].dtype}; export the weights as float32 or float16")
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items() if tensor.dtype.kind == "f"}
