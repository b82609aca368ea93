"""What a run leaves on disk, and what makes it a run that can be continued."""

import errno
import json
from pathlib import Path

import pytest

from trainer.errors import DiskFullError, ResumeError
from trainer.training.checkpoints import (
    check_record,
    delete_incomplete,
    delete_leftovers,
    differences,
    disk_failures_named,
    fingerprint_data,
    holds_training,
    is_disk_failure,
    mark_complete,
    newest_checkpoint,
    point_to_best,
    write_record,
    written_whole,
)


def checkpoint(folder: Path, step: int, *, is_complete: bool = True, best: str | None = None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}), "utf-8")
    if is_complete:
        mark_complete(path, {"seconds": 1.0})
    return path


def test_differences_name_the_place_and_both_values() -> None:
    stored = {"recipe": {"seed": 42, "stages": [{"batch_size": 8}]}, "data": {"a": "1"}}
    current = {"recipe": {"seed": 43, "stages": [{"batch_size": 16}]}, "data": {"a": "1"}}
    assert differences(stored, current) == [
        "recipe.seed: 42 there, 43 here",
        "recipe.stages[0].batch_size: 8 there, 16 here",
    ]


def test_a_file_that_is_only_on_one_side_is_a_difference() -> None:
    assert differences({"data": {"a": "1"}}, {"data": {}}) == ['data.a: "1" there, null here']


def test_a_record_of_the_same_run_is_accepted(tmp_path: Path) -> None:
    write_record(tmp_path, {"recipe": {"dims": (1, 2)}})
    check_record(tmp_path, {"recipe": {"dims": (1, 2)}})


def test_a_record_of_another_run_is_refused_with_three_differences(tmp_path: Path) -> None:
    write_record(tmp_path, dict.fromkeys("abcde", 1))
    with pytest.raises(ResumeError, match=r"a: 1 there, 2 here; b: .*; c: .* and 2 more\).*--overwrite"):
        check_record(tmp_path, dict.fromkeys("abcde", 2))


def test_the_fingerprint_of_data_follows_its_content(tmp_path: Path) -> None:
    (tmp_path / "klue").mkdir()
    (tmp_path / "klue/rows.tsv").write_text("one", "utf-8")
    first = fingerprint_data(tmp_path)
    (tmp_path / "klue/rows.tsv").write_text("two", "utf-8")
    (tmp_path / "README.md").write_text("no training data", "utf-8")
    second = fingerprint_data(tmp_path)
    assert list(first) == list(second) == ["klue/rows.tsv"]
    assert first != second


def test_the_newest_checkpoint_is_the_one_with_most_steps(tmp_path: Path) -> None:
    for step in (90, 1000, 200):
        checkpoint(tmp_path, step)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-1000"


def test_a_half_written_checkpoint_is_never_resumed_and_makes_room(tmp_path: Path) -> None:
    good = checkpoint(tmp_path, 10)
    half = checkpoint(tmp_path, 20, is_complete=False)
    assert newest_checkpoint(tmp_path) == good
    delete_incomplete(tmp_path)
    assert not half.exists()
    assert good.exists()


def test_a_marker_that_found_no_room_for_its_content_marks_nothing(tmp_path: Path) -> None:
    (checkpoint(tmp_path, 20, is_complete=False) / "complete.json").touch()
    assert newest_checkpoint(tmp_path) is None


def test_a_run_that_failed_before_its_first_checkpoint_holds_nothing_worth_keeping(tmp_path: Path) -> None:
    write_record(tmp_path, {})
    checkpoint(tmp_path / "sts", 10, is_complete=False)
    assert not holds_training(tmp_path)
    checkpoint(tmp_path / "sts", 5)
    assert holds_training(tmp_path)


def test_deleting_leftovers_keeps_the_logs(tmp_path: Path) -> None:
    write_record(tmp_path, {})
    checkpoint(tmp_path / "sts", 10)
    for name in ("start", "sts/examples", "sts/finished", "sts/finished.partial", "sts/runs"):
        (tmp_path / name).mkdir()
    delete_leftovers(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["sts", "sts/runs"]


def test_a_moved_run_finds_its_best_checkpoint(tmp_path: Path) -> None:
    best = checkpoint(tmp_path, 10)
    newest = checkpoint(tmp_path, 20, best="/elsewhere/checkpoint-10")
    point_to_best(newest)
    assert json.loads((newest / "trainer_state.json").read_text("utf-8"))["best_model_checkpoint"] == str(best)


def test_a_best_checkpoint_that_is_gone_is_no_silent_loss(tmp_path: Path) -> None:
    newest = checkpoint(tmp_path, 20, best=str(tmp_path / "checkpoint-10"))
    with pytest.raises(ResumeError, match=r"checkpoint-10, the best checkpoint so far, is gone"):
        point_to_best(newest)


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with written_whole(tmp_path / "model") as partial:
        (partial / "weights").touch()
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model/weights").is_file()


def test_a_folder_whose_writing_failed_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with written_whole(tmp_path / "model") as partial:
            (partial / "weights").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EFBIG, "File too large"),
        RuntimeError("[enforce fail at inline_container.cc:659] . unexpected pos 64 vs 0"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_every_librarys_way_of_saying_that_the_disk_is_full_is_known(error: Exception) -> None:
    assert is_disk_failure(error)


@pytest.mark.parametrize("error", [OSError(errno.ENOENT, "No such file"), ValueError("shapes differ")])
def test_other_errors_are_not_taken_for_a_full_disk(error: Exception) -> None:
    assert not is_disk_failure(error)


def test_a_full_disk_is_explained_and_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match=r"free some space .* --resume"), disk_failures_named(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ValueError, match="shapes differ"), disk_failures_named(tmp_path):
        raise ValueError("shapes differ")
