"""`evaluate` on a small encoder: tables, sizes, seeds, and search over a corpus in blocks."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from kosearch.errors import InvalidRequestError
from trainer.cli import app
from trainer.data.corpora import Document, read_kowiki
from trainer.data.query_sets import QuerySet
from trainer.data.sts_files import read_sts_file
from trainer.evaluation.encoding import encode, load_model, truncated
from trainer.evaluation.page_search import BestHits, blocks_of, encode_by_length, page_text, token_batches
from trainer.evaluation.retrieval_evaluation import evaluate_pages

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["evaluate", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def seeds(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same model under two names, as if two seeds of a recipe had made it."""
    folder = tmp_path_factory.mktemp("seeds")
    for seed in (1, 2):
        shutil.copytree(small_model, folder / f"seed-{seed}")
        report = {"recipe": {"name": "tiny", "seed": seed}}
        (folder / f"seed-{seed}" / "run.json").write_text(json.dumps(report), "utf-8")
    return [str(folder / "seed-1"), str(folder / "seed-2")]


def test_one_model_and_file_keep_the_metrics_at_the_top_of_the_json(small_model: Path, data_folder: Path) -> None:
    figures = json.loads(run(str(small_model), "--sts", str(data_folder / "kornlu/sts-dev.tsv"), "--json"))
    assert figures["pair_count"] == 60
    assert figures["cosine_spearman"] == figures["evaluations"][0]["sts"]["sts-dev"]["32"]["cosine_spearman"]


def test_smaller_sizes_are_rows_of_their_own(small_model: Path, data_folder: Path) -> None:
    table = run(str(small_model), "--sts", str(data_folder / "kornlu/sts-dev.tsv"), "--dimensions", "8,16")
    assert "small (8)" in table
    assert "small (16)" in table


def test_the_figures_of_a_smaller_size_are_those_of_renormalised_prefixes(small_model: Path, data_folder: Path) -> None:
    path = data_folder / "kornlu/sts-dev.tsv"
    figures = json.loads(run(str(small_model), "--sts", str(path), "--dimensions", "8", "--json"))
    pairs = read_sts_file(path)
    model = load_model(str(small_model))
    first, second = (encode(model, texts)[:, :8] for texts in zip(*((p.first, p.second) for p in pairs), strict=True))
    cosines = (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    expected = np.corrcoef(cosines, [pair.score for pair in pairs])[0, 1]
    metrics = figures["evaluations"][0]["sts"]["sts-dev"]["8"]
    assert metrics["cosine_pearson"] == pytest.approx(expected, abs=1e-5)
    assert metrics["dot_pearson"] == pytest.approx(expected, abs=1e-5)


def test_a_size_above_the_models_own_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="dimension 64 was asked of a model that has 32"):
        truncated(np.ones((1, 32), dtype=np.float32), 64)


def test_seeds_of_one_recipe_get_a_row_of_mean_and_spread(seeds: list[str], data_folder: Path) -> None:
    table = run(*seeds, "--sts", str(data_folder / "kornlu/sts-dev.tsv"))
    assert "tiny, mean ± s.d. of 2" in table
    assert "± 0.00" in table


def test_klue_sts_is_read_as_csv(small_model: Path, data_folder: Path) -> None:
    assert "klue_sts_train: 60 pairs" in run(str(small_model), "--sts", str(data_folder / "klue/klue_sts_train.csv"))


def test_a_klue_label_outside_0_to_5_is_named(tmp_path: Path) -> None:
    (tmp_path / "klue.csv").write_text("sentence1,sentence2,label\n가,나,5.5\n", "utf-8")
    with pytest.raises(InvalidRequestError, match=r"klue.csv:2: label 5.5 is outside 0-5"):
        read_sts_file(tmp_path / "klue.csv")


def test_all_pages_are_searched_for_both_sets_of_queries(small_model: Path, open_domain_folder: Path) -> None:
    figures = json.loads(run(str(small_model), "--miracl", str(open_domain_folder), "--page-tokens", "32", "--json"))
    miracl, mrtydi = figures["evaluations"][0]["pages"]
    assert (miracl["name"], mrtydi["name"]) == ("MIRACL-ko dev", "Mr.TyDi-ko dev")
    assert miracl["page_count"] == 400
    assert miracl["missing_page_count"] == 1
    assert miracl["max_tokens"] == 32
    assert miracl["ndcg_at_10_interval"][0] <= miracl["ndcg_at_10"] <= miracl["ndcg_at_10_interval"][1]
    table = run(str(small_model), "--miracl", str(open_domain_folder), "--page-tokens", "32")
    assert "Recall@100" in table


def test_a_page_that_is_the_query_itself_is_found_first(small_model: Path, data_folder: Path) -> None:
    pages = list(read_kowiki(data_folder))
    asked = pages[::40]
    queries = QuerySet(
        "itself",
        {page.document_id: page_text(page, 64) for page in asked},
        {page.document_id: frozenset([page.document_id]) for page in asked},
    )
    (figures,) = evaluate_pages(load_model(str(small_model)), [queries], pages)
    assert figures.ndcg_at_10 == pytest.approx(1.0)
    assert figures.missing_page_count == 0


def test_blocks_and_batches_do_not_change_an_embedding(small_model: Path, data_folder: Path) -> None:
    model = load_model(str(small_model))
    texts = [page_text(page, 64) for page in list(read_kowiki(data_folder))[:50]] + ["짧은 글", "가"]
    encoded = encode_by_length(model, texts, 64)
    np.testing.assert_allclose(encoded.embeddings, encode(model, texts), atol=1e-5)


def test_search_in_blocks_finds_what_one_sort_finds() -> None:
    rng = np.random.default_rng(1)
    queries, documents = (rng.standard_normal((count, 8)).astype(np.float32) for count in (5, 230))
    hits = BestHits(queries, top_k=20)
    names = [f"d{number}" for number in range(len(documents))]
    for start in range(0, len(documents), 50):
        hits.add(names[start : start + 50], documents[start : start + 50])
    expected = np.argsort(-(queries @ documents.T), axis=1)[:, :20]
    assert hits.ranking() == [[names[number] for number in row] for row in expected]


def test_fewer_documents_than_asked_for_are_all_there_is() -> None:
    hits = BestHits(np.ones((1, 2), dtype=np.float32), top_k=5)
    hits.add(["a", "b"], np.array([[0.0, 1.0], [1.0, 1.0]], dtype=np.float32))
    assert hits.ranking() == [["b", "a"]]


def test_every_text_is_in_one_batch_and_no_batch_is_above_its_tokens() -> None:
    lengths = [5, 300, 7, 7, 120, 1, 64, 64, 64]
    batches = token_batches(lengths, batch_tokens=130)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 130 for batch in batches)


def test_blocks_keep_order_and_lose_nothing() -> None:
    documents = [Document(str(number), "", "") for number in range(7)]
    blocks = list(blocks_of(iter(documents), 3))
    assert [len(block) for block in blocks] == [3, 3, 1]
    assert [document for block in blocks for document in block] == documents
