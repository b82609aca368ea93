"""What goes wrong in training ends with a clear error and leaves the last good checkpoint intact."""

import json
import resource
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer

from tests.integration.trainer.test_regimes import assert_same_weights, wait_for
from trainer.errors import DiskFullError, RecipeError, ResumeError, TrainingDataError, TrainingDivergedError
from trainer.recipe import Objective, Recipe, Source, Stage
from trainer.training.checkpoints import newest_checkpoint
from trainer.training.run import Start
from trainer.training.train import run_recipe

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

STAGE = Stage(
    name="sts",
    sources=(Source("korsts", objective=Objective.REGRESSION),),
    batch_size=8,
    learning_rate=1e-3,
    max_tokens=16,
    max_steps=12,
)
RECIPE = Recipe(name="tiny", source="test", expected="nothing", stages=(STAGE,))
# Adam moves every weight by about the learning rate, and LayerNorm squares them, which leaves the range of float32.
DIVERGING = replace(RECIPE, stages=(replace(STAGE, learning_rate=1e36, max_steps=8),))


@pytest.fixture(scope="module")
def diverged(data_folder: Path, tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Where an unfinished run lies, and what it said."""
    output = tmp_path_factory.mktemp("diverged") / "model"
    with pytest.raises(TrainingDivergedError) as caught:
        run_recipe(DIVERGING, data_folder, output, str(tiny_encoder))
    return output, str(caught.value)


@pytest.fixture
def unfinished(diverged: tuple[Path, str], tmp_path: Path) -> Path:
    shutil.copytree(diverged[0].with_name("model-training"), tmp_path / "model-training")
    return tmp_path / "model"


@contextmanager
def no_room_after_first_checkpoint(work: Path, largest_file_bytes: int) -> Iterator[None]:
    """From the first complete checkpoint on the system lets nobody write larger files, as a full disk would."""
    _, hard = before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        wait_for("sts/checkpoint-*/complete.json", work)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file_bytes, hard))

    thread = threading.Thread(target=limit)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_loss_that_is_no_number_names_stage_and_step(diverged: tuple[Path, str]) -> None:
    assert "stage 'sts', step 3: loss or weights are no finite numbers" in diverged[1]


def test_divergence_leaves_a_checkpoint_of_numbers_and_no_model(diverged: tuple[Path, str]) -> None:
    output = diverged[0]
    checkpoint = newest_checkpoint(output.with_name("model-training") / "sts")
    assert checkpoint is not None
    assert all(torch.isfinite(tensor).all() for tensor in load_file(checkpoint / "model.safetensors").values())
    assert not output.exists()


def test_weights_that_are_no_numbers_are_never_saved(data_folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, stages=(replace(STAGE, learning_rate=1e38, max_steps=8),))
    with pytest.raises(TrainingDivergedError, match="stage 'sts', step 2"):
        run_recipe(recipe, data_folder, tmp_path / "model", str(tiny_encoder))
    assert (
        newest_checkpoint(tmp_path / "model-training/sts") == (tmp_path / "model-training/sts/checkpoint-1").resolve()
    )


def test_no_room_at_a_checkpoint_keeps_the_one_before_and_the_run_goes_on_exactly(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    run_recipe(RECIPE, data_folder, tmp_path / "whole", str(tiny_encoder))
    output, work = tmp_path / "model", tmp_path / "model-training"
    weights_bytes = (tmp_path / "whole/model.safetensors").stat().st_size
    with (
        no_room_after_first_checkpoint(work, weights_bytes + 4096),  # room for the weights, not for the optimiser
        pytest.raises(DiskFullError, match=r"no room left on the disk of .*--resume"),
    ):
        run_recipe(RECIPE, data_folder, output, str(tiny_encoder))
    checkpoints = list(work.glob("sts/checkpoint-*"))
    assert checkpoints
    assert all((checkpoint / "complete.json").is_file() for checkpoint in checkpoints)
    run_recipe(RECIPE, data_folder, output, str(tiny_encoder), start=Start.RESUME)
    assert_same_weights(output, tmp_path / "whole")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (replace(DIVERGING, seed=43), "recipe.seed: 42 there, 43 here"),
        (replace(DIVERGING, name="other"), 'recipe.name: "tiny" there, "other" here'),
        (RECIPE, r"recipe.stages\[0\].learning_rate: 1e\+36 there, 0.001 here"),
    ],
)
def test_a_run_of_another_recipe_or_seed_is_not_resumed(
    recipe: Recipe, message: str, unfinished: Path, data_folder: Path, tiny_encoder: Path
) -> None:
    with pytest.raises(ResumeError, match=message):
        run_recipe(recipe, data_folder, unfinished, str(tiny_encoder), start=Start.RESUME)


def test_a_run_on_other_data_is_not_resumed(
    unfinished: Path, data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data/kornlu/sts-train.tsv").open("a").write("g\tf\ty\t999\t1.0\t가\t나\n")
    with pytest.raises(ResumeError, match=r"data.kornlu/sts-train.tsv: "):
        run_recipe(DIVERGING, tmp_path / "data", unfinished, str(tiny_encoder), start=Start.RESUME)


def test_an_unfinished_run_is_not_thrown_away_unasked(unfinished: Path, data_folder: Path, tiny_encoder: Path) -> None:
    with pytest.raises(ResumeError, match=r"an unfinished run lies in .*--resume .*--overwrite"):
        run_recipe(DIVERGING, data_folder, unfinished, str(tiny_encoder))


def test_a_finished_model_is_not_replaced_unasked_and_not_resumed(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/modules.json").write_text("[]", "utf-8")
    with pytest.raises(ResumeError, match=r"model holds a finished model; .*--overwrite"):
        run_recipe(RECIPE, data_folder, tmp_path / "model", str(tiny_encoder))
    with pytest.raises(ResumeError, match=r"nothing to resume: the run that wrote .* is finished"):
        run_recipe(RECIPE, data_folder, tmp_path / "model", str(tiny_encoder), start=Start.RESUME)


def test_nothing_to_resume_is_said(data_folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match=r"nothing to resume in .*model-training; start the run without --resume"):
        run_recipe(RECIPE, data_folder, tmp_path / "model", str(tiny_encoder), start=Start.RESUME)


def test_overwriting_starts_anew(unfinished: Path, data_folder: Path, tiny_encoder: Path) -> None:
    recipe = replace(RECIPE, stages=(replace(STAGE, max_steps=2),))
    run_recipe(recipe, data_folder, unfinished, str(tiny_encoder), start=Start.OVERWRITE)
    assert json.loads((unfinished / "run.json").read_text("utf-8"))["recipe"]["stages"][0]["max_steps"] == 2


def test_a_base_model_without_pooling_is_given_mean_pooling(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = SentenceTransformer(modules=[Transformer(str(tiny_encoder))], device="cpu")
    bare.save_pretrained(str(tmp_path / "bare"))
    assert not (tmp_path / "bare/1_Pooling").exists()
    recipe = replace(RECIPE, stages=(replace(STAGE, max_steps=1),))
    run_recipe(recipe, data_folder, tmp_path / "model", str(tmp_path / "bare"))
    assert json.loads((tmp_path / "model/1_Pooling/config.json").read_text("utf-8"))["pooling_mode"] == "mean"
    assert "pooling.added" in capsys.readouterr().out


def test_a_missing_data_file_ends_the_run_before_training(
    data_folder: Path, tiny_encoder: Path, tmp_path: Path
) -> None:
    shutil.copytree(data_folder, tmp_path / "data")
    (tmp_path / "data/kornlu/sts-train.tsv").unlink()
    with pytest.raises(TrainingDataError, match=r"sts-train.tsv: file is missing"):
        run_recipe(RECIPE, tmp_path / "data", tmp_path / "model", str(tiny_encoder))


def test_a_recipe_that_needs_a_model_says_how_to_give_one(data_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="give one with --base-model"):
        run_recipe(RECIPE, data_folder, tmp_path / "model")


def test_more_dimensions_than_the_model_has_are_refused(data_folder: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    pairs = (Source("nli_triplets"),)
    recipe = replace(RECIPE, stages=(replace(STAGE, sources=pairs, matryoshka_dims=(8, 32)),))
    with pytest.raises(RecipeError, match="stage 'sts' wants 32 dimensions and the model has 16"):
        run_recipe(recipe, data_folder, tmp_path / "model", str(tiny_encoder))
