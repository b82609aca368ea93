"""The three regimes of the SentenceBERT-KoBERT README end to end, and how a stopped run goes on."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from kosearch.sts_metrics import read_sts_pairs
from trainer.cli import app, main
from trainer.evaluation.encoding import load_model
from trainer.evaluation.evaluate import evaluate_sts

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def arguments(recipe: str, data: Path, base_model: Path, output: Path, *more: str) -> list[str]:
    places = ["--data", str(data), "--base-model", str(base_model), "--output", str(output)]
    return ["train", "--recipe", recipe, *places, *more]


def run_here(*words: str) -> None:
    result = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def wait_for(pattern: str, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.002)


@contextmanager
def sigterm_to_ourselves_at(pattern: str, folder: Path) -> Iterator[None]:
    def send() -> None:
        wait_for(pattern, folder)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=send)
    thread.start()
    yield
    thread.join()


@pytest.fixture(scope="module")
def uninterrupted(data_folder: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "whole"
    run_here(*arguments("nli-sts", data_folder, tiny_encoder, output))
    return output


@pytest.mark.parametrize("recipe", ["nli", "sts"])
def test_a_regime_gives_a_model_with_mean_pooling(
    recipe: str, data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    run_here(*arguments(recipe, data_folder, tiny_encoder, tmp_path / "model"))
    pooling = json.loads((tmp_path / "model/1_Pooling/config.json").read_text("utf-8"))
    assert pooling["pooling_mode"] == "mean"
    assert not torch.equal(
        weights(tmp_path / "model")["embeddings.word_embeddings.weight"],
        weights(tiny_encoder)["embeddings.word_embeddings.weight"],
    )


def test_nli_then_sts_learns_the_scores(uninterrupted: Path, data_folder: Path, tiny_encoder: Path) -> None:
    pairs = read_sts_pairs(data_folder / "kornlu/sts-dev.tsv")
    report = json.loads((uninterrupted / "run.json").read_text("utf-8"))
    assert set(report["seconds"]) == {"foundation", "nli", "sts"}
    trained = evaluate_sts(load_model(str(uninterrupted)), pairs).cosine_spearman
    assert trained > evaluate_sts(load_model(str(tiny_encoder)), pairs).cosine_spearman


def test_a_run_killed_in_the_middle_of_a_stage_ends_with_the_same_weights(
    uninterrupted: Path, data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    words = arguments("nli-sts", data_folder, tiny_encoder, tmp_path / "model")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-m", "trainer", *words], cwd=ROOT, stdout=log, stderr=log)
        wait_for("sts/checkpoint-*/complete.json", tmp_path / "model-training")
        process.kill()
    assert process.wait() == -signal.SIGKILL
    assert (tmp_path / "model-training/nli/finished").is_dir()
    assert not (tmp_path / "model").exists()
    run_here(*words, "--resume")
    assert_same_weights(tmp_path / "model", uninterrupted)


def test_sigterm_writes_a_checkpoint_and_says_how_to_go_on(
    uninterrupted: Path,
    data_folder: Path,
    tiny_encoder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = arguments("nli-sts", data_folder, tiny_encoder, tmp_path / "model")
    monkeypatch.setattr("sys.argv", ["trainer", *words])
    with (
        sigterm_to_ourselves_at("nli/checkpoint-*/complete.json", tmp_path / "model-training"),
        pytest.raises(SystemExit) as caught,
    ):
        main()
    assert caught.value.code == 130
    assert "the same command with --resume" in capsys.readouterr().err.replace("\n", " ")
    run_here(*words, "--resume")
    assert_same_weights(tmp_path / "model", uninterrupted)
