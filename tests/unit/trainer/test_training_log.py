"""TensorBoard logs of a run, and what the pictures make of figures."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("tensorboard")

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from trainer.reports.plots import (
    cosines_by_label,
    draw_cosines_by_label,
    draw_genres,
    draw_learning_curve,
    draw_recall,
    draw_scores_against_labels,
    running_median,
)
from trainer.reports.training_log import read_training_log, training_folder

PNG = b"\x89PNG\r\n"


def log_scalars(folder: Path, tag: str, values: dict[int, float]) -> None:
    writer = EventFileWriter(str(folder))
    for step, value in values.items():
        writer.add_event(Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])))
    writer.close()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "model-training"
    log_scalars(folder / "static/runs/1", "train/loss", {20: 3.0, 40: 2.5, 60: 2.4})
    log_scalars(folder / "static/runs/2", "train/loss", {60: 2.0, 80: 1.5})  # resumed at step 40
    log_scalars(folder / "similarity/runs/3", "eval/cosine_spearman", {10: 0.5, 20: 0.6})
    log_scalars(folder / "similarity/runs/3", "train/loss", {20: 0.3})
    return folder


def test_stages_come_in_the_order_in_which_they_ran(work: Path) -> None:
    assert [log.stage for log in read_training_log(work)] == ["static", "similarity"]


def test_what_a_resumed_run_logged_again_replaces_the_first_word(work: Path) -> None:
    static = read_training_log(work)[0]
    assert static.loss.steps == [20, 40, 60, 80]
    assert static.loss.values == pytest.approx([3.0, 2.5, 2.0, 1.5])
    assert static.dev_score.steps == []


def test_a_folder_without_logs_gives_none(tmp_path: Path) -> None:
    assert read_training_log(tmp_path) == []


def test_logs_lie_beside_the_model(tmp_path: Path) -> None:
    assert training_folder(tmp_path / "mini") == tmp_path / "mini-training"


def test_a_learning_curve_is_drawn(work: Path, tmp_path: Path) -> None:
    draw_learning_curve(read_training_log(work), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


def test_every_picture_of_scores_is_drawn_from_as_few_as_three_pairs(tmp_path: Path) -> None:
    gold, cosines = np.array([0.0, 2.5, 5.0]), np.array([0.1, 0.5, 0.9])
    draw_scores_against_labels(gold, cosines, 1.0, 1.0, tmp_path / "a.png")
    draw_cosines_by_label(np.repeat(gold, 2), np.linspace(0, 1, 6), tmp_path / "b.png")
    draw_genres(["news", "captions"], [-0.2, 0.9], [12, 20], 0.5, tmp_path / "c.png")
    draw_recall(np.array([0.5, 0.7, 0.8]), tmp_path / "d.png")
    assert all(path.read_bytes().startswith(PNG) for path in tmp_path.glob("*.png"))
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_the_running_median_leaves_empty_bins_out() -> None:
    centres, medians = running_median(np.array([0.1, 0.2, 4.9, 5.0]), np.array([0.0, 0.2, 0.8, 1.0]), bin_count=5)
    assert centres.tolist() == [0.5, 4.5]
    assert medians.tolist() == pytest.approx([0.1, 0.9])


def test_half_a_label_counts_to_the_one_above() -> None:
    found = dict(cosines_by_label(np.array([0.5, 1.4, 4.5]), np.array([0.1, 0.2, 0.3])))
    assert {label: values.tolist() for label, values in found.items() if len(values)} == {1: [0.1, 0.2], 5: [0.3]}
