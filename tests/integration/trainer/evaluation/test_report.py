"""`report` on a small model with logs beside it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter
from typer.testing import CliRunner

from kosearch.sts_metrics import sts_metrics
from trainer.cli import app
from trainer.data.query_sets import QuerySet
from trainer.data.sts_files import read_sts_file
from trainer.reports.report import ScoredSts, genre_scores, in_cell, rank_differences, read_genres, recall_curve

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning"
    ),  # of libraries beneath the trainer; ours are checked by ruff
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

KORQUAD = {
    "data": [
        {
            "title": "시험",
            "paragraphs": [
                {"context": f"{place}에서 {what}.", "qas": [{"question": f"{place}에서 무엇을 하나?"}]}
                for place, what in [("공원", "책을 읽는다"), ("학교", "노래를 부른다"), ("바닷가", "사진을 찍는다")]
            ],
        }
    ]
}


@pytest.fixture(scope="module")
def report(small_model: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    model = folder / "small"
    shutil.copytree(small_model, model)
    writer = SummaryWriter(str(folder / "small-training/static/runs/1"))
    for step in (20, 40, 60):
        writer.add_scalar("train/loss", 3.0 - step / 30, step)
    writer.add_scalar("eval/cosine_spearman", 0.5, 60)
    writer.close()
    (folder / "korquad.json").write_text(json.dumps(KORQUAD), "utf-8")
    arguments = ["report", str(model), "--sts", str(data_folder / "kornlu/sts-dev.tsv")]
    arguments += ["--korquad", str(folder / "korquad.json"), "--output", str(folder / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "out"


def test_every_picture_of_the_report_exists_and_is_a_png(report: Path) -> None:
    names = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (report / "report.md").read_text("utf-8"))
    assert names == [
        "learning-curve.png", "score-against-label.png", "cosines-by-label.png", "genres.png", "recall.png",
    ]  # fmt: skip
    assert all((report / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_the_page_holds_tables_and_pictures(report: Path) -> None:
    page = (report / "report.html").read_text("utf-8")
    assert page.count("<img") == 5
    assert page.count("<table>") == 6
    assert "<title>small</title>" in page


def test_the_worst_pairs_are_named_with_their_sentences(report: Path) -> None:
    text = (report / "report.md").read_text("utf-8")
    assert "f y \\#" in text
    assert "선생님이" in text


def test_a_model_without_logs_needs_something_to_measure(small_model: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(small_model)])
    assert result.exit_code == 2
    assert "give --sts" in result.output


def scored(genres: list[str], gold: list[float], cosines: list[float], path: Path) -> ScoredSts:
    rows = [
        f"{genre}\tf\t2012\t{i}\t{score}\t가\t나" for i, (genre, score) in enumerate(zip(genres, gold, strict=True))
    ]
    path.write_text("\n".join(["genre\tfile\tyear\tid\tscore\ts1\ts2", *rows]), "utf-8")
    names, ids = read_genres(path)
    points = np.array([[np.cos(a), np.sin(a)] for a in np.arccos(cosines)])
    metrics = sts_metrics(np.tile([1.0, 0.0], (len(gold), 1)), points, np.array(gold))
    return ScoredSts("sts", read_sts_file(path), ids, names, np.array(cosines), metrics)


def test_each_genre_has_its_own_correlation(tmp_path: Path) -> None:
    gold = [float(number % 5) for number in range(20)]
    cosines = [value / 5 for value in gold[:10]] + [1 - value / 5 for value in gold[10:]]
    genres = ["news"] * 10 + ["forums"] * 10
    found = genre_scores(scored(genres, gold, cosines, tmp_path / "sts.tsv"))
    assert [(name, round(score, 6), count) for name, score, count in found] == [
        ("news / f", 1.0, 10), ("forums / f", -1.0, 10),
    ]  # fmt: skip


def test_a_genre_with_few_pairs_is_left_out(tmp_path: Path) -> None:
    assert genre_scores(scored(["news"] * 3, [0.0, 1.0, 2.0], [0.1, 0.2, 0.3], tmp_path / "sts.tsv")) == []


def test_the_pair_taken_for_too_alike_has_the_highest_rank_difference(tmp_path: Path) -> None:
    found = rank_differences(scored(["n"] * 4, [0.0, 2.0, 3.0, 5.0], [0.9, 0.1, 0.2, 0.3], tmp_path / "sts.tsv"))
    assert found.argmax() == 0
    assert found[0] == pytest.approx(0.75)


def test_recall_rises_to_what_was_found() -> None:
    questions = QuerySet("q", {"1": "", "2": ""}, {"1": frozenset("a"), "2": frozenset("b")})
    assert recall_curve({"1": ["a", "b", "c"], "2": ["a", "c", "b"]}, questions).tolist() == [0.5, 0.5, 1.0]


def test_texts_cannot_break_out_of_a_table() -> None:
    assert in_cell("a | b\n<b>*c*</b>") == "a \\| b \\<b\\>\\*c\\*\\</b\\>"
