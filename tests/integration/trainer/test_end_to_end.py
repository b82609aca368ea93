"""Train, evaluate, export and reload, as a user does it."""

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from typer.testing import CliRunner

from kosearch.model_directory import ModelDirectory
from trainer.cli import app, main
from trainer.evaluation.encoding import encode, load_model

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture(scope="module")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("models") / "smoke"
    arguments = ["train", "--recipe", "smoke", "--data", str(data_folder), "--output", str(output)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return output


def test_a_run_reports_its_recipe_times_and_leak_check(trained: Path) -> None:
    report = json.loads((trained / "run.json").read_text("utf-8"))
    assert report["recipe"]["name"] == "smoke"
    assert set(report["seconds"]) == {"foundation", "static", "similarity"}
    assert any(name.endswith("| KorSTS sts-dev") for name in report["leak_check_removed"])


def test_a_run_leaves_tensorboard_logs(trained: Path) -> None:
    assert list(trained.with_name("smoke-training").rglob("events.out.tfevents.*"))


def test_evaluate_prints_the_eight_metrics(trained: Path, data_folder: Path) -> None:
    arguments = ["evaluate", str(trained), "--sts", str(data_folder / "kornlu/sts-dev.tsv")]
    table = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    for name in ("Cosine Pearson", "Cosine Spearman", "Euclidean Pearson", "Manhattan Spearman", "Dot Spearman"):
        assert name in table
    printed = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout
    figures = json.loads(printed)
    assert figures["pair_count"] > 0
    assert -1.0 <= figures["cosine_spearman"] <= 1.0


def test_an_exported_model_loads_unpatched_and_gives_its_golden_embeddings(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny-ko"
    result = CliRunner().invoke(app, ["export", str(trained), "--output", str(output)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    directory = ModelDirectory.open(output)
    texts, golden = directory.golden()
    assert directory.name == "tiny-ko"
    assert directory.max_tokens == 64
    tokenizer = json.loads((output / "tokenizer.json").read_text("utf-8"))
    assert tokenizer["truncation"] is None
    assert tokenizer["padding"] is None
    reloaded = SentenceTransformer(str(output), device="cpu")
    embeddings = reloaded.encode(texts, batch_size=7)  # (texts, dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1.0, atol=1e-4)
    assert (embeddings * golden).sum(axis=1).min() > 0.9999


def test_a_finished_run_leaves_no_checkpoints(trained: Path) -> None:
    assert not list(trained.with_name("smoke-training").rglob("checkpoint-*"))


def test_rounding_to_float16_hardly_moves_an_embedding(trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "tiny-ko"
    CliRunner().invoke(app, ["export", str(trained), "--output", str(output)], catch_exceptions=False)
    texts = ["아이가 공원에서 책을 읽고 있다.", "고양이가 집에서 음식을 먹는다."]
    before, after = encode(load_model(str(trained)), texts), encode(load_model(str(output)), texts)
    assert (before * after).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--recipe", "none", "--data", "{data}"], "unknown recipe 'none'"),
        (["train", "--recipe", "smoke", "--data", "{data}/nowhere"], "no such folder"),
        (["evaluate", "{data}/nowhere", "--sts", "{data}/kornlu/sts-dev.tsv"], "no sentence-transformers model"),
        (["evaluate", "{data}", "--sts", "{data}/none.tsv"], "none.tsv: file is missing"),
        (["export", "{data}"], "has no modules.json"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["trainer", *(a.format(data=data_folder) for a in arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", "")
