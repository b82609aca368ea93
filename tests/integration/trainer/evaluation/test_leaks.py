"""`leaks` on the data folder in miniature, and credits for every source."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trainer.cli import app
from trainer.data.credits import credits_of
from trainer.recipe import MaskedLanguageStage, Recipe, Source, Stage
from trainer.reports.leak_report import check_sources, limits_of
from trainer.training.mixture import SOURCES


def stage(*sources: Source) -> Stage:
    return Stage("s", sources, batch_size=2, learning_rate=1e-4, max_tokens=8)


@pytest.fixture
def leaking_folder(data_folder: Path, tmp_path: Path) -> Path:
    """The miniature with one near duplicate: KLUE-STS has a sentence of KorSTS dev without its first word."""
    for name in ("kornlu", "klue"):
        shutil.copytree(data_folder / name, tmp_path / name)
    text = (tmp_path / "kornlu/sts-dev.tsv").read_text("utf-8")
    dev = "관제사가 새벽 안개 속에서 활주로의 등불을 하나씩 세고 있었다."
    (tmp_path / "kornlu/sts-dev.tsv").write_text(f"{text}g\tf\ty\t99\t1.0\t{dev}\t선생님이 웃는다.\n", "utf-8")
    near = "관제사가 새벽 안개 속에서 활주로의 등불을 하나씩 세고 있었습니다."
    (tmp_path / "klue/klue_sts_train.csv").write_text(
        f"sentence1,sentence2,label\n{near},무관한 문장입니다.,0.0\n고양이가 지붕에서 존다.,비가 온다.,0.0\n", "utf-8"
    )
    return tmp_path


def test_near_matches_are_counted_apart_and_shown(leaking_folder: Path) -> None:
    (klue,) = check_sources(leaking_folder, {"klue_sts": 0}, seed=1)
    assert klue.example_count == 2
    assert klue.removed == {"KorSTS sts-dev": (0, 1)}
    ((trained, protected_set, protected),) = klue.near_matches
    assert trained.endswith("세고 있었습니다.")
    assert protected_set == "KorSTS sts-dev"
    assert protected.endswith("세고있었다")


def test_equal_sentences_remove_their_pairs(leaking_folder: Path) -> None:
    (korsts,) = check_sources(leaking_folder, {"korsts": 0}, seed=1)
    equal, _ = korsts.removed["KorSTS sts-dev"]
    assert 0 < equal < korsts.example_count == 240


def test_the_command_prints_counts_and_examples_and_leaves_absent_sources_out(leaking_folder: Path) -> None:
    result = CliRunner().invoke(app, ["leaks", "--data", str(leaking_folder)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "| klue_sts" in result.stdout
    assert "klue_sts ~ KorSTS sts-dev" in result.stdout
    assert "welfare" not in result.stdout


def test_a_recipe_decides_what_is_checked_and_how_much() -> None:
    recipe = Recipe(
        name="r",
        source="",
        expected="",
        stages=(
            MaskedLanguageStage("m", batch_size=2, learning_rate=1e-4, max_tokens=8),
            stage(Source("korsts", limit=5), Source("laws", limit=7)),
            stage(Source("korsts"), Source("laws", limit=9)),
        ),
    )
    assert limits_of(recipe) == {"korsts": 0, "laws": 9}


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_somebody_to_credit(source: str) -> None:
    assert credits_of(source)
