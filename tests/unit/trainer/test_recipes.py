"""The registry of recipes, and what every recipe must keep to."""

import pytest

from trainer.errors import RecipeError
from trainer.recipe import Stage
from trainer.recipes import RECIPES, find_recipe


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"unknown recipe 'none'; known: .*mini-ko"):
        find_recipe("none")


def test_a_seed_replaces_the_recipes_own() -> None:
    assert find_recipe("mini-ko", seed=7).seed == 7
    assert find_recipe("mini-ko").seed == RECIPES["mini-ko"].seed


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_a_recipe_states_its_source_and_expected_result(recipe) -> None:
    assert recipe.source
    assert recipe.expected


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_heads_divide_the_dimension_and_layers_never_shrink(recipe) -> None:
    layers = [stage.layer_count for stage in recipe.stages if isinstance(stage, Stage)]
    assert layers == sorted(layers)
    if recipe.foundation is not None:
        assert recipe.foundation.dim % recipe.foundation.head_count == 0
