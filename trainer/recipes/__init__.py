"""The named recipes, one small file each."""

from dataclasses import replace

from trainer.errors import RecipeError
from trainer.recipe import Recipe
from trainer.recipes import (
    distil,
    matryoshka,
    mini_ko,
    mini_ko_base,
    mlm,
    nli,
    nli_sts,
    retrieval,
    simcse_nli,
    smoke,
    sts,
    teacher_ko,
)

_ALL = (teacher_ko, mini_ko_base, mini_ko, nli, sts, nli_sts, simcse_nli, matryoshka, distil, retrieval, mlm, smoke)
RECIPES: dict[str, Recipe] = {module.RECIPE.name: module.RECIPE for module in _ALL}


def find_recipe(name: str, seed: int | None = None) -> Recipe:
    """The recipe of that name, with another seed if one is given. Raises RecipeError that lists the known names."""
    recipe = RECIPES.get(name)
    if recipe is None:
        raise RecipeError(f"unknown recipe {name!r}; known: {', '.join(sorted(RECIPES))}")
    return recipe if seed is None else replace(recipe, seed=seed)
