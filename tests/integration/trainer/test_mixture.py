"""Examples of the recipes' sources, read from a folder in miniature."""

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from trainer.errors import RecipeError
from trainer.recipe import Objective, Recipe, Source, Stage
from trainer.recipes import RECIPES
from trainer.training.mixture import ExampleSources, objective_of


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_every_source_of_a_recipe_can_be_trained_with_its_objective(recipe: Recipe) -> None:
    stages = [stage for stage in recipe.stages if isinstance(stage, Stage)]
    objectives = [objective_of(source) for stage in stages for source in stage.sources]
    assert all(isinstance(objective, Objective) for objective in objectives)


def test_an_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"known: .*korsts"):
        objective_of(Source("none"))


def test_an_objective_that_examples_cannot_have_is_refused() -> None:
    with pytest.raises(RecipeError, match="'korsts' can be trained with similarity, regression, cosent, not ranking"):
        objective_of(Source("korsts", objective=Objective.RANKING))


def test_a_limit_and_a_repeat_decide_how_many_examples_there_are(data_folder: Path) -> None:
    sources = ExampleSources(data_folder, seed=1)
    rows = sources.load(Source("paraphrases", limit=10, repeat=2))
    assert len(rows) == 20
    assert rows.column_names == ["anchor", "positive"]


def test_the_same_seed_gives_the_same_examples(data_folder: Path) -> None:
    source = Source("wikipedia_cloze", limit=20)
    first, second = (ExampleSources(data_folder, seed=3).load(source) for _ in range(2))
    assert first.to_list() == second.to_list()


def test_evaluation_sentences_are_not_among_the_examples(data_folder: Path) -> None:
    sources = ExampleSources(data_folder, seed=1)
    dev = (data_folder / "kornlu/sts-dev.tsv").read_text("utf-8")
    assert all(row["sentence1"] not in dev for row in sources.load(Source("korsts")))
    assert sum(sources.leak_check.removed.values()) > 0


def test_pairs_without_labels_get_the_cosines_of_the_teacher(data_folder: Path, tiny_encoder: Path) -> None:
    rows = ExampleSources(data_folder, seed=1, teacher=str(tiny_encoder)).load(Source("taught_pairs", limit=8))
    assert rows.column_names == ["sentence1", "sentence2", "score"]
    teacher = SentenceTransformer(str(tiny_encoder))
    for row in rows.to_list():
        first, second = teacher.encode([row["sentence1"], row["sentence2"]], normalize_embeddings=True)
        assert row["score"] == pytest.approx(float(first @ second), abs=1e-5)


def test_a_source_that_a_teacher_scores_says_that_it_needs_one(data_folder: Path) -> None:
    with pytest.raises(RecipeError, match="--teacher"):
        ExampleSources(data_folder, seed=1).load(Source("taught_pairs", limit=8))
