"""What kind of model a sentence-transformers folder holds, read from its small JSON files alone.

So a model that no engine can run is refused before gigabytes of weights are downloaded or exported.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kosearch.errors import ModelError

_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


class Pooling(StrEnum):
    """How the hidden states of a text become one embedding."""

    MEAN = "mean"
    CLS = "cls"  # the first token alone


# sentence-transformers names a mode, or sets `pooling_mode_<name>` in older files. The mean by the square root of the
# length points where the mean points, and all embeddings are made unit length.
_POOLINGS: dict[tuple[str, ...], Pooling] = {
    ("mean",): Pooling.MEAN,
    ("mean_tokens",): Pooling.MEAN,
    ("mean_sqrt_len_tokens",): Pooling.MEAN,
    ("cls",): Pooling.CLS,
    ("cls_token",): Pooling.CLS,
}


@dataclass(frozen=True, slots=True)
class BertConfig:
    """What of config.json decides the computation."""

    layers: int
    heads: int
    dim: int
    max_positions: int
    layer_norm_eps: float

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> "BertConfig":
        """Read config.json. Raises ModelError naming what the CPU engine cannot run."""
        _require(config, "model_type", "bert", default=None)
        _require(config, "hidden_act", "gelu", default="gelu")
        _require(config, "position_embedding_type", "absolute", default="absolute")
        _require(config, "is_decoder", False, default=False)
        try:
            parsed = cls(
                layers=int(config["num_hidden_layers"]),
                heads=int(config["num_attention_heads"]),
                dim=int(config["hidden_size"]),
                max_positions=int(config["max_position_embeddings"]),
                layer_norm_eps=float(config.get("layer_norm_eps", 1e-12)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"config.json lacks a usable {error}; export the model again") from error
        if parsed.layers < 0 or parsed.heads < 1 or parsed.dim % parsed.heads:
            raise ModelError(
                f"config.json: {parsed.layers} layers of {parsed.heads} heads over {parsed.dim} numbers is no BERT"
            )
        return parsed


@dataclass(frozen=True, slots=True)
class Architecture:
    """A BERT encoder and how its hidden states are pooled; embeddings are always made unit length."""

    bert: BertConfig
    pooling: Pooling


def read_architecture(folder: Path) -> Architecture:
    """Read modules.json and the files it names. Raises ModelError when the model is of a kind no engine runs."""
    transformer, pooling = _module_folders(folder)
    options = folder / transformer / "sentence_bert_config.json"
    if options.exists() and _read_object(options).get("do_lower_case"):
        raise ModelError(f"{options} has do_lower_case; make lower case in tokenizer.json instead")
    bert = BertConfig.parse(_read_object(folder / transformer / "config.json"))
    return Architecture(bert, _read_pooling(folder / pooling / "config.json"))


def _module_folders(folder: Path) -> tuple[str, str]:
    """Return the folders of the transformer and of the pooling, relative to the model's."""
    path = folder / "modules.json"
    modules = _read_json(path)
    try:
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
        folders = [str(module["path"]) for module in modules]
    except (TypeError, KeyError) as error:
        raise ModelError(f"{path} is no list of modules; copy or export the model again") from error
    if kinds not in _MODULES:
        raise ModelError(
            f"{path} lists {', '.join(kinds)}; the CPU engine runs Transformer, Pooling, Normalize: "
            "choose a model made of these"
        )
    return folders[0], folders[1]


def _read_pooling(path: Path) -> Pooling:
    config = _read_object(path)
    named = config.get("pooling_mode")
    if named is None:
        modes = [
            key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on
        ]
    else:
        modes = [named] if isinstance(named, str) else list(named)
    pooling = _POOLINGS.get(tuple(modes))
    if pooling is None:
        raise ModelError(
            f"{path} asks for pooling {', '.join(map(str, modes)) or 'of no kind'}; "
            "the CPU engine runs mean, mean_sqrt_len_tokens or cls: choose a model with one of these"
        )
    return pooling


def _require(config: Mapping[str, Any], key: str, supported: object, *, default: object) -> None:
    found = config.get(key, default)
    if found != supported:
        raise ModelError(
            f"config.json has {key} = {found!r}; the CPU engine runs {supported!r} only: choose another base model"
        )


def _read_object(path: Path) -> dict[str, Any]:
    content = _read_json(path)
    if not isinstance(content, dict):
        raise ModelError(f"{path} is no JSON object; copy or export the model again")
    return content


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(
            f"{path.parent} has no {path.name}: not a sentence-transformers directory, or one without pooling"
        ) from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read ({error}); copy or export the model again") from error
