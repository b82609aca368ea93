"""Tables of figures."""

import pytest

from kosearch.sts_metrics import StsMetrics
from trainer.cli import written_command
from trainer.evaluation.figures import Evaluation, PageRetrieval
from trainer.reports.tables import evaluation_parts, markdown_table, mean_and_spread, page_table, sts_table


def evaluation(name: str, recipe: str | None, values: dict[int, float]) -> Evaluation:
    metrics = {
        dim: StsMetrics(value, value, value, value, value, value, value, value, 9) for dim, value in values.items()
    }
    return Evaluation(f"models/{name}", recipe, 1, 32, {"sts": metrics}, {}, [])


def labels(table: str) -> list[str]:
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]


def test_spread_is_the_sample_standard_deviation() -> None:
    assert mean_and_spread([0.70, 0.71, 0.72]) == "71.00 ± 1.00"


def test_columns_are_those_of_the_sentencebert_kobert_readme_in_its_order() -> None:
    header = sts_table([evaluation("a", None, {32: 0.5})], "sts").splitlines()[0]
    assert [cell.strip() for cell in header.split("|")[2:-1]] == [
        "Cosine Pearson", "Cosine Spearman", "Euclidean Pearson", "Euclidean Spearman",
        "Manhattan Pearson", "Manhattan Spearman", "Dot Pearson", "Dot Spearman",
    ]  # fmt: skip


def test_every_embedding_size_has_a_row() -> None:
    assert labels(sts_table([evaluation("a", "r", {32: 0.5, 8: 0.4})], "sts")) == ["a", "a (8)"]


def test_models_of_one_recipe_share_a_row_for_each_size() -> None:
    models = [evaluation("a", "r", {32: 0.5, 8: 0.3}), evaluation("b", "r", {32: 0.7, 8: 0.4})]
    assert labels(sts_table(models, "sts"))[-2:] == ["r, mean ± s.d. of 2", "r, mean ± s.d. of 2 (8)"]


def test_models_of_different_recipes_or_none_are_not_averaged() -> None:
    models = [evaluation("a", "r", {32: 0.5}), evaluation("b", "s", {32: 0.7}), evaluation("c", None, {32: 0.1})]
    assert labels(sts_table([*models, evaluation("d", None, {32: 0.2})], "sts")) == ["a", "b", "c", "d"]


def test_words_stand_left_and_numbers_right() -> None:
    table = markdown_table(["Model", "Figure", "Licence"], [["a", "1.0", "MIT"], ["bcd", "10.25", "Apache-2.0"]])
    assert table.splitlines() == [
        "| Model | Figure | Licence    |",
        "|-------|-------:|------------|",
        "| a     |    1.0 | MIT        |",
        "| bcd   |  10.25 | Apache-2.0 |",
    ]


def test_page_retrieval_shows_interval_pages_and_tokens() -> None:
    pages = PageRetrieval("MIRACL-ko dev", 0.31, (0.28, 0.35), 0.68, (0.62, 0.74), 213, 366_572, 0, 128, 40_000_000)
    table = page_table([Evaluation("m", None, None, 32, {}, {}, [pages])])
    assert "31.00 [28.00, 35.00]" in table
    assert "68.00 [62.00, 74.00]" in table
    assert "366,572" in table
    assert "40,000,000" in table


def test_only_what_was_measured_is_printed() -> None:
    parts = evaluation_parts([evaluation("a", None, {32: 0.5})])
    assert parts[1:] == ["sts: 9 pairs"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"--sts": ["a.tsv", "나 다.tsv"], "--page-tokens": None}, "--sts a.tsv --sts '나 다.tsv'"),
        ({"--sts": None, "--page-tokens": 64, "--dimensions": ""}, "--page-tokens 64"),
    ],
)
def test_a_command_is_written_as_it_would_be_typed(options: dict[str, object], expected: str) -> None:
    assert written_command("evaluate", ["m"], options) == f"python -m trainer evaluate m {expected}"
