"""Write the README.md of a model directory: what the files say about the model, and what people have added by hand.

What stands between `<!-- kept: NAME -->` and `<!-- /kept -->` is taken over when the card is written again.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kosearch.architecture import read_architecture
from kosearch.errors import ModelError
from trainer.data.credits import (
    FOUNDATION_CREDITS,
    MODEL_CREDITS,
    PRETRAINING_CREDITS,
    DataSet,
    credits_of,
    licence_of,
)
from trainer.data.leak_check import NEAR
from trainer.evaluation.figures import Evaluation, EvaluationRun
from trainer.reports.tables import evaluation_parts, markdown_table

_KEPT = re.compile(r"<!-- kept: (\S+) -->\n(.*?)<!-- /kept -->", re.DOTALL)
_PACKAGES = ("torch", "sentence-transformers", "transformers", "kiwipiepy")
_HASHED_MODEL_FILES = ("model.safetensors", "tokenizer.json", "config.json")
_LICENCE_URLS = {
    "CC BY-SA 4.0": "https://creativecommons.org/licenses/by-sa/4.0/legalcode",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
}
_FIRST_WORDS = {
    "summary": "",
    "weaknesses": "## What it is bad at\nNobody has looked yet.\n",
    "notes": "",
}


@dataclass(frozen=True, slots=True)
class CardFacts:
    """Everything a card says that comes from files.

    run: the model's `run.json`
    used: data set -> what it was used for, in the order of use
    data_hashes: path inside the data folder -> SHA-256 in hex; empty without a data folder
    model_hashes: the same of the model's own files
    removed: "source | evaluation set" -> examples that the leak check left out, those of the base model among them
    """

    name: str
    dim: int
    layer_count: int
    parameter_count: int
    size_bytes: int
    max_tokens: int
    pooling: str
    run: Mapping[str, Any]
    used: dict[DataSet, list[str]]
    data_hashes: dict[str, str]
    model_hashes: dict[str, str]
    removed: dict[str, int]


def write_card(model: Path, data: Path | None, figures: Sequence[EvaluationRun], *, overwrite: bool) -> Path:
    """Write `README.md` into a model directory and return its path.

    Raises ModelError when `run.json` is missing, and when a card is there that has no marks and `overwrite` is false.
    """
    path = model / "README.md"
    former = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = kept_parts(former)
    if former and not kept and not overwrite:
        raise ModelError(
            f"{path} was written by hand; put what is to stay between `<!-- kept: notes -->` and `<!-- /kept -->`, "
            "or discard it with --overwrite"
        )
    path.write_text(card_text(read_facts(model, data), figures, kept), encoding="utf-8")
    return path


def kept_parts(card: str) -> dict[str, str]:
    """Name of each part written by hand -> its text."""
    return dict(_KEPT.findall(card))


def read_facts(model: Path, data: Path | None) -> CardFacts:
    """Read a model directory, and hash the training files it was made of when the data folder is given."""
    run = _read_json(model / "run.json", "train the model with `trainer train`, which writes it")
    config = _read_json(model / "config.json", "it is no sentence-transformers directory")
    weights = model / "model.safetensors"
    used = used_data(run["recipe"], data)
    return CardFacts(
        name=model.resolve().name,
        dim=int(config["hidden_size"]),
        layer_count=int(config["num_hidden_layers"]),
        parameter_count=count_parameters(weights),
        size_bytes=weights.stat().st_size,
        max_tokens=_max_tokens(model, config),
        pooling=read_architecture(model).pooling,
        run=run,
        used=used,
        data_hashes={} if data is None else hash_data(data, used),
        model_hashes={name: sha256(model / name) for name in _HASHED_MODEL_FILES if (model / name).is_file()},
        removed=removed_examples(run),
    )


def removed_examples(run: Mapping[str, Any]) -> dict[str, int]:
    """What the leak check removed, the base model's training included where its `run.json` is at hand.

    A source that was read in both is counted once, where more was removed: it is the same examples.
    """
    removed: dict[str, int] = {}
    base = run["recipe"].get("base_model")
    if base is not None and (Path(base) / "run.json").is_file():
        removed = removed_examples(_read_json(Path(base) / "run.json", "train the model again"))
    for name, count in run.get("leak_check_removed", {}).items():
        removed[name] = max(count, removed.get(name, 0))
    return removed


def used_data(recipe: Mapping[str, Any], data: Path | None) -> dict[DataSet, list[str]]:
    """Every data set of a recipe (as `run.json` holds it) with the sources that read it, in the order of use.

    An optional set counts only when the data folder is given and has it.
    """
    used: dict[DataSet, list[str]] = {}
    for purpose, data_sets in _purposes(recipe):
        for data_set in data_sets:
            if not data_set.is_optional or (data is not None and list(files_of(data_set, data))):
                purposes = used.setdefault(data_set, [])
                if purpose not in purposes:
                    purposes.append(purpose)
    return used


def _purposes(recipe: Mapping[str, Any]) -> Iterator[tuple[str, tuple[DataSet, ...]]]:
    if recipe.get("foundation"):
        yield "foundation", FOUNDATION_CREDITS
    for stage in recipe["stages"]:
        if "masked_share" in stage:
            yield "masked-language pretraining", PRETRAINING_CREDITS
        for source in stage.get("sources", ()):
            yield source["name"], credits_of(source["name"])
    for role in ("base_model", "teacher"):
        yield from _inherited(recipe.get(role), role.replace("_", " "))


def _inherited(model: str | None, role: str) -> Iterator[tuple[str, tuple[DataSet, ...]]]:
    """What a base model or teacher is made of, as far as it is known or its own `run.json` is at hand."""
    if model in MODEL_CREDITS:
        yield role, (MODEL_CREDITS[model],)
    elif model is not None and (Path(model) / "run.json").is_file():
        run = _read_json(Path(model) / "run.json", "train the model again")
        for _, data_sets in _purposes(run["recipe"]):
            yield f"{role} {Path(model).resolve().name}", data_sets


def files_of(data_set: DataSet, data: Path) -> Iterator[Path]:
    """The files of a data set that a data folder has, by name."""
    return (path for pattern in data_set.files for path in sorted(data.glob(pattern)))


def hash_data(data: Path, used: Iterable[DataSet]) -> dict[str, str]:
    """Path inside the data folder -> SHA-256 of every file that the data sets have there."""
    paths = {path for data_set in used for path in files_of(data_set, data)}
    return {path.relative_to(data).as_posix(): sha256(path) for path in sorted(paths)}


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, read from its header alone; without the pooler, which nothing uses."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    shapes = (tensor["shape"] for name, tensor in header.items() if name != "__metadata__" and "pooler." not in name)
    return sum(math.prod(shape) for shape in shapes)


def card_text(facts: CardFacts, figures: Sequence[EvaluationRun], kept: Mapping[str, str]) -> str:
    """The whole card."""
    kept = {**_FIRST_WORDS, **kept}
    licence = licence_of(facts.used)
    parts = [
        _head(licence),
        f"# {facts.name}",
        _kept("summary", kept),
        *_introduction(facts),
        *_figures_part(facts, figures),
        *_making_part(facts),
        _kept("weaknesses", kept),
        *_data_part(facts),
        *_leak_part(facts.removed),
        *_hash_part(facts),
        *(_kept(name, kept) for name in kept if name not in ("summary", "weaknesses")),
        *_licence_part(licence),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(licence: str) -> str:
    return "\n".join(
        [
            "---",
            "language: ko",
            f"license: {licence.lower().replace(' ', '-')}",
            "library_name: sentence-transformers",
            "pipeline_tag: sentence-similarity",
            "tags: [sentence-transformers, sentence-similarity, feature-extraction, korean]",
            "---",
        ]
    )


def _kept(name: str, kept: Mapping[str, str]) -> str:
    return f"<!-- kept: {name} -->\n{kept[name]}<!-- /kept -->"


def _introduction(facts: CardFacts) -> list[str]:
    return [
        f"A Korean sentence encoder: {facts.dim} dimensions, at most {facts.max_tokens} tokens, {facts.layer_count} "
        f"layers, {facts.parameter_count / 1e6:.1f} million parameters, {facts.size_bytes / 1e6:.1f} MB of weights, "
        f"{facts.pooling} pooling, unit embeddings.",
        "```python\n"
        "from sentence_transformers import SentenceTransformer\n\n"
        f'model = SentenceTransformer("models/{facts.name}")\n'
        f'model.encode(["한 남자가 파스타를 먹는다."])  # (1, {facts.dim}), unit rows\n'
        "```",
    ]


def _figures_part(facts: CardFacts, figures: Sequence[EvaluationRun]) -> list[str]:
    if not figures:
        return []
    parts = ["## Figures", "Correlations, nDCG and recall x 100."]
    for run in figures:
        evaluations = _evaluations_of(facts, run)
        parts += [*evaluation_parts(evaluations), f"```\n{run.command}\n```"]
    return parts


def _evaluations_of(facts: CardFacts, run: EvaluationRun) -> list[Evaluation]:
    names = [Path(evaluation.model).name for evaluation in run.evaluations]
    recipe = facts.run["recipe"]["name"]
    if facts.name not in names and all(evaluation.recipe != recipe for evaluation in run.evaluations):
        raise ModelError(f"the figures are of {', '.join(names)}, but the card is that of {facts.name}")
    return run.evaluations


def _making_part(facts: CardFacts) -> list[str]:
    recipe, seconds = facts.run["recipe"], facts.run.get("seconds", {})
    commands = [f"python -m trainer train --recipe {recipe['name']} --output models/{facts.name}"]
    for option, name in _origins(recipe).items():
        commands[0] += f" {option} {name}"
    commands += [f"python -m trainer export models/{facts.name}"]
    spent = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    minutes = sum(seconds.values()) / 60
    software = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    return [
        "## How it was made",
        "```\n" + "\n".join(commands) + "\n```",
        f"Seed {recipe['seed']}, {minutes:.0f} minutes ({spent}). `run.json` holds the recipe in full.",
        f"Method: {recipe['source']}",
        f"Software at the time this card was written: {software}.",
    ]


def _origins(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Option of `train` -> the model that the recipe started from or imitated; of a directory only its name."""
    named = {"--base-model": recipe.get("base_model"), "--teacher": recipe.get("teacher")}
    return {option: Path(name).name if Path(name).is_absolute() else name for option, name in named.items() if name}


def _data_part(facts: CardFacts) -> list[str]:
    rows = [
        [data_set.name, data_set.credit, ", ".join(purposes), data_set.licence]
        for data_set, purposes in facts.used.items()
    ]
    models = list(_origins(facts.run["recipe"]).values())
    begun = f"It also builds on {' and '.join(models)}; what they are licensed under holds as well." if models else ""
    return ["## Data, licences, credits", markdown_table(["Data", "By", "Used for", "Licence"], rows), begun]


def _leak_part(removed: Mapping[str, int]) -> list[str]:
    if not removed:
        return ["## Leak check", "No training example had a text of an evaluation set, or almost one."]
    rows = []
    for name, count in removed.items():
        source, protected = name.split(" | ", 1)
        kind = "almost equal" if protected.endswith(NEAR) else "equal"
        rows.append([source, protected.removesuffix(NEAR), kind, f"{count:,}"])
    return [
        "## Leak check",
        "Training examples with a text that equals one of an evaluation set, but for case, spaces and punctuation, or "
        "shares most of its character 4-grams with one, were removed before training:",
        markdown_table(["Examples of", "Text of", "Match", "Removed"], rows),
    ]


def _hash_part(facts: CardFacts) -> list[str]:
    def lines(hashes: Mapping[str, str]) -> str:
        return "```\n" + "\n".join(f"{digest}  {name}" for name, digest in hashes.items()) + "\n```"

    parts = ["## Hashes", "SHA-256 of the model's files:", lines(facts.model_hashes)]
    return [*parts, "SHA-256 of the training data:", lines(facts.data_hashes)] if facts.data_hashes else parts


def _licence_part(licence: str) -> list[str]:
    reason = "for it is trained on data that asks for it" if "BY-SA" in licence else "as is the project"
    duty = (
        " Whoever passes it on, changed or not, names the makers of the data above and keeps this licence."
        if "BY-SA" in licence
        else ""
    )
    return ["## Licence", f"The model is published under {licence}, {reason}: <{_LICENCE_URLS[licence]}>.{duty}"]


def _max_tokens(model: Path, config: Mapping[str, Any]) -> int:
    for name, key in (("kosearch.json", "max_tokens"), ("sentence_bert_config.json", "max_seq_length")):
        path = model / name
        if path.is_file():
            value = json.loads(path.read_text(encoding="utf-8")).get(key)
            if value:
                return int(value)
    tokenizer = _read_json(model / "tokenizer_config.json", "it has no tokenizer")
    return int(
        min(tokenizer.get("model_max_length") or config["max_position_embeddings"], config["max_position_embeddings"])
    )


def _read_json(path: Path, advice: str) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ModelError(f"{path} is missing: {advice}") from None
    except (json.JSONDecodeError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
