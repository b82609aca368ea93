"""`kosearch eval` on the stack as a person runs it: a small collection, judged queries, and none."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningStack, write_documents

DOCUMENTS = 120
COLLECTION = "measured"


@pytest.fixture(scope="module")
def measured(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> RunningStack:
    """A stack with 120 documents."""
    source = write_documents(tmp_path_factory.mktemp("source") / "documents.jsonl", DOCUMENTS)
    indexed = stack.run("index", str(source), "--collection", COLLECTION, "--wait")
    assert indexed.returncode == 0, indexed.stderr
    return stack


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a test set: titles asked for, passages judged, one of a document that is not there."""
    folder = tmp_path_factory.mktemp("judged")
    asked = range(0, DOCUMENTS, 6)
    queries = [f"q{n}\t제{n}조 시설 이용료 {n * 10}원은 누가 받나요?\n" for n in asked]
    qrels = [f"q{n} 0 doc-{n}#0 1\n" for n in asked] + ["q0 0 doc-absent#0 1\n"]
    (folder / "queries.tsv").write_text("".join(queries), encoding="utf-8")
    (folder / "qrels.tsv").write_text("".join(qrels), encoding="utf-8")
    files = ["--queries", str(folder / "queries.tsv"), "--qrels", str(folder / "qrels.tsv")]
    return [*files, "--passage-separator", "#"]


def measure(stack: RunningStack, *arguments: str) -> Any:
    ended = stack.run("eval", *arguments, "--collection", COLLECTION, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_two_modes_are_measured_and_compared(measured: RunningStack, judged: list[str], tmp_path: Path) -> None:
    plot = tmp_path / "modes.svg"
    found = measure(measured, "retrieval", *judged, "--mode", "dense", "--mode", "lexical", "--plot", str(plot))
    dense, lexical = found["report"]["modes"]
    assert (dense["mode"], lexical["mode"]) == ("dense", "lexical")
    # The number is in the document's title and text, and in the query: by word it is found.
    assert lexical["figures"]["ndcg_at_10"]["mean"] > 0.8
    difference = found["report"]["comparisons"][0]["differences"]["ndcg_at_10"]["mean"]
    assert difference == pytest.approx(
        lexical["figures"]["ndcg_at_10"]["mean"] - dense["figures"]["ndcg_at_10"]["mean"], abs=1e-9
    )
    assert len(found["warnings"]) == 1
    assert "doc-absent" in found["warnings"][0]
    assert plot.stat().st_size > 1_000


def test_without_a_mode_the_services_own_choice_is_measured(measured: RunningStack, judged: list[str]) -> None:
    assert [mode["mode"] for mode in measure(measured, "retrieval", *judged)["report"]["modes"]] == ["hybrid"]


def test_known_items_need_nothing_but_the_documents(measured: RunningStack) -> None:
    found = measure(measured, "known-items", "--count", "20", "--mode", "lexical")
    recipes = {each["recipe"]: each for each in found["modes"][0]["recipes"]}
    assert recipes.keys() >= {"title", "sentence", "sentence_without_particles"}
    assert {each["n"] for each in recipes.values()} <= set(range(1, 21))
    assert found["can_tell"]


def test_damage_is_measured(measured: RunningStack, judged: list[str]) -> None:
    found = measure(measured, "robustness", *judged, "--mode", "dense")
    kinds = {each["kind"]: each for each in found["report"]["modes"][0]["damages"]}
    assert kinds["nfd"]["kept"]["mean"] == pytest.approx(1)
    assert kinds["no_spaces"]["n"] == DOCUMENTS // 6


def test_a_quantisation_is_chosen(measured: RunningStack, judged: list[str]) -> None:
    found = measure(measured, "quantisation", *judged[:2])
    assert found["chunks"] == found["sampled"] == DOCUMENTS
    assert found["measured"][0]["recall"]["mean"] == 1
    assert found["recommended"]["kind"] in {each["form"]["kind"] for each in found["measured"]}


@pytest.mark.parametrize("arguments", [["retrieval"], ["robustness"]])
def test_tables_are_printed_for_people(measured: RunningStack, judged: list[str], arguments: list[str]) -> None:
    ended = measured.run("eval", *arguments, *judged, "--collection", COLLECTION)
    assert ended.returncode == 0, ended.stderr
    assert "nDCG@10" in ended.stdout
    assert "[" in ended.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--queries", "absent.tsv"), "absent.tsv: file is missing"),
        (("--plot", "bars.pdf"), "a plot is .svg or .png"),
    ],
)
def test_bad_input_is_told(measured: RunningStack, judged: list[str], change: tuple[str, str], message: str) -> None:
    """Exit code 2, before anything is measured."""
    ended = measured.run("eval", "retrieval", *judged, *change, "--collection", COLLECTION)
    assert ended.returncode == 2
    assert message in ended.stderr


def test_robustness_wants_one_source_of_queries(measured: RunningStack, judged: list[str]) -> None:
    for arguments in ([], [*judged, "--known-items"], judged[:2]):
        ended = measured.run("eval", "robustness", *arguments, "--collection", COLLECTION)
        assert ended.returncode == 2
        assert "--known-items" in ended.stderr
