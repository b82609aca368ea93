"""`kosearch model add`, `list` and `check` as processes."""

import json
import re
import resource
import subprocess
import sysconfig
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kosearch.model_directory import ModelDirectory

KOSEARCH = Path(sysconfig.get_path("scripts")) / "kosearch"


def run(
    environment: dict[str, str], *arguments: str, file_limit: int | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `kosearch model ...`; `file_limit`: bytes that it may write into one file."""
    limit = None if file_limit is None else partial(resource.setrlimit, resource.RLIMIT_FSIZE, (file_limit, file_limit))
    return subprocess.run(
        [KOSEARCH, "model", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        preexec_fn=limit,
    )


def models_in(folder: Path) -> list[str]:
    """Everything in the models directory but the lock, hidden leftovers included."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.exists() else []


def test_a_model_of_the_hub_is_brought_in_and_listed_and_checked(
    make_model: Any, hub: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    hub.models["someone/tiny-e5"] = make_model(tokenizer="unigram", options=prompts)
    models_dir = tmp_path / "data/models"

    added = run({**environment, "HF_ENDPOINT": hub.url}, "add", "someone/tiny-e5")
    assert added.returncode == 0, added.stderr
    model = ModelDirectory.open(models_dir / "tiny-e5")
    assert models_in(models_dir) == ["tiny-e5"]
    agreement = re.search(
        r"embeddings and token ids of 32 golden texts agree; lowest cosine f32 ([\d.]+)", added.stdout
    )
    assert agreement is not None
    assert float(agreement[1]) > 0.99999
    assert f"32 dimensions, 64 tokens, 0.1 MiB, fingerprint {model.fingerprint}" in added.stdout
    assert f"KOSEARCH_ENCODER__MODEL={model.path} kosearch up" in added.stdout
    assert (model.prompt("query"), model.prompt("document")) == ("query: ", "passage: ")

    listed = run({**environment, "KOSEARCH_ENCODER__MODEL": str(model.path)}, "list", "--json")
    (row,) = json.loads(listed.stdout)["models"]
    assert (row["used"], row["name"], row["dim"], row["path"]) == ("*", "tiny-e5", 32, str(model.path))

    checked = run(environment, "check", "tiny-e5")
    assert checked.returncode == 0
    assert "golden texts agree" in checked.stdout

    (model.path / "model.safetensors").write_bytes(b"half")
    damaged = run(environment, "check", "tiny-e5")
    assert damaged.returncode == 1
    assert damaged.stderr.count("do not match the fingerprint") == 1
    listed = run(environment, "list")
    assert listed.returncode == 1
    assert "do not match the fingerprint" in listed.stderr


def test_a_taken_name_is_refused_and_force_replaces(
    make_model: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    taken = tmp_path / "models/mine"
    taken.mkdir(parents=True)
    (taken / "notes.txt").write_text("old")
    arguments = ["add", str(make_model()), "--name", "mine", "--models-dir", str(taken.parent)]
    refused = run(environment, *arguments)
    assert refused.returncode == 1
    assert "exists; choose another name with --name, or replace it with --force" in refused.stderr
    assert (taken / "notes.txt").exists()
    replaced = run(environment, *arguments, "--force")
    assert replaced.returncode == 0, replaced.stderr
    assert models_in(taken.parent) == ["mine"]
    assert not (taken / "notes.txt").exists()
    assert ModelDirectory.open(taken).name == "mine"
    assert "int8 0.99" in replaced.stdout


def test_a_model_that_cannot_be_had_is_one_message_and_leaves_nothing(
    make_model: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    models_dir = tmp_path / "models"
    failed = run({**environment, "HF_HUB_OFFLINE": "1"}, "add", "no/such", "--models-dir", str(models_dir))
    assert failed.returncode == 1
    assert failed.stderr.count("no/such cannot be downloaded (HF_HUB_OFFLINE is set)") == 1
    assert "Traceback" not in failed.stderr
    assert models_in(models_dir) == []


def test_a_full_disk_is_one_message_and_leaves_nothing(
    make_model: Any, environment: dict[str, str], tmp_path: Path
) -> None:
    models_dir = tmp_path / "models"
    failed = run(environment, "add", str(make_model()), "--models-dir", str(models_dir), file_limit=8192)
    assert failed.returncode == 1
    assert failed.stderr.count("cannot be written") == 1
    assert "make room" in failed.stderr
    assert models_in(models_dir) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["add", "owner/name", "--name", "../out"], 2, "is no name for a folder"),
        (["check", "nowhere"], 2, "there is no model nowhere"),
    ],
)
def test_a_wrong_name_is_bad_input(arguments: list[str], code: int, message: str, environment: dict[str, str]) -> None:
    failed = run(environment, *arguments)
    assert failed.returncode == code
    assert message in failed.stderr
