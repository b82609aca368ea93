"""The models directory."""

import fcntl
import json
from pathlib import Path

import numpy as np
import pytest

from kosearch.errors import ConflictError, InvalidRequestError, ModelError, NotFoundError
from kosearch.installed_models import InstalledModel, add_model, find_installed, list_models
from kosearch.model_directory import seal_model_directory

pytestmark = pytest.mark.usefixtures("trainer_is_there")


@pytest.fixture
def trainer_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusals below come before the trainer is run, so it need not be installed."""
    monkeypatch.setattr("kosearch.installed_models.require_trainer", lambda: None)


def write_model(path: Path) -> Path:
    """Write a sealed directory that no engine could run."""
    (path / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "modules.json", "tokenizer.json", "1_Pooling/config.json"):
        (path / name).write_text(json.dumps({}))
    (path / "model.safetensors").write_bytes(b"weights")
    seal_model_directory(path, path.name, 16, ["글"], np.ones((1, 2), np.float32))
    return path


def test_models_are_listed_by_name_with_the_used_one_first_when_it_is_elsewhere(tmp_path: Path) -> None:
    """Hidden folders are models in the making."""
    used = write_model(tmp_path / "shipped")
    for name in ("나", "가", ".unfinished-x"):
        write_model(tmp_path / "models" / name)
    found = list_models(tmp_path / "models", used)
    assert [model.directory.name for model in found if isinstance(model, InstalledModel)] == ["shipped", "가", "나"]


def test_the_used_model_is_listed_once(tmp_path: Path) -> None:
    """Whether it is in the models directory or not."""
    used = write_model(tmp_path / "models/a")
    assert len(list_models(tmp_path / "models", used)) == 1


def test_a_damaged_model_does_not_hide_the_others(tmp_path: Path) -> None:
    """Its error stands in its place."""
    write_model(tmp_path / "models/a")
    (write_model(tmp_path / "models/b") / "model.safetensors").write_bytes(b"half")
    first, second = list_models(tmp_path / "models", tmp_path / "models/a")
    assert isinstance(first, InstalledModel)
    assert isinstance(second, ModelError)


def test_a_model_is_found_by_name_and_by_directory(tmp_path: Path) -> None:
    """The name goes first."""
    path = write_model(tmp_path / "models/a")
    assert find_installed("a", tmp_path / "models") == path
    assert find_installed(str(path), tmp_path / "nowhere") == path


def test_an_unknown_model_names_the_known_ones(tmp_path: Path) -> None:
    """So that the next try succeeds."""
    write_model(tmp_path / "models/a")
    with pytest.raises(NotFoundError, match=r"there is no model b in .*\(there: a\)"):
        find_installed("b", tmp_path / "models")


@pytest.mark.parametrize("name", ["../out", "a/b", ".hidden", "", "-x"])
def test_a_name_stays_within_the_models_directory(tmp_path: Path, name: str) -> None:
    """Nothing is written elsewhere, and nothing hidden."""
    with pytest.raises(InvalidRequestError, match="is no name for a folder"):
        add_model("owner/" + name, tmp_path / "models", name or None)


def test_a_taken_name_is_refused(tmp_path: Path) -> None:
    """Before anything is downloaded."""
    path = write_model(tmp_path / "models/a")
    with pytest.raises(ConflictError, match="--force"):
        add_model("owner/a", path.parent)


def test_two_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """The second would take the first one's unfinished folder for a leftover."""
    (tmp_path / "models").mkdir()
    with (tmp_path / "models/.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="another model is being added"):
            add_model("owner/a", tmp_path / "models")


def test_a_models_directory_that_cannot_be_made_is_a_model_error(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "models").write_text("")
    with pytest.raises(ModelError, match="choose another place with --models-dir"):
        add_model("owner/a", tmp_path / "models")
