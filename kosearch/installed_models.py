"""The models directory: bring a model in, list what is there, check one again.

A model is made in a hidden folder beside and renamed when it has passed the check: no half of one is ever found.
"""

import fcntl
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kosearch.errors import ConflictError, InvalidRequestError, ModelError, NotFoundError
from kosearch.model_directory import ModelDirectory
from kosearch.wing import require_trainer, run_wing

_NAME = re.compile(r"\w[\w.-]*")
_UNFINISHED = ".unfinished-"


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """What `python -m encoder_service --check` found out.

    lowest_cosines: by precision, between the service's embedding and sentence-transformers' of the same text
    golden_texts: how many texts were compared
    has_token_ids: whether their token ids were compared, too
    """

    lowest_cosines: dict[str, float]
    golden_texts: int
    has_token_ids: bool


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model and its size on disk in bytes."""

    directory: ModelDirectory
    bytes: int

    @classmethod
    def open(cls, path: Path) -> "InstalledModel":
        """Read the manifest and add up the files. Raises ModelError as ModelDirectory does."""
        directory = ModelDirectory.open(path)
        return cls(directory, sum(file.stat().st_size for file in path.rglob("*") if file.is_file()))


def add_model(
    source: str, models_dir: Path, name: str | None = None, *, replaces: bool = False
) -> tuple[InstalledModel, ModelCheck]:
    """Export a hub model or directory into `models_dir`, and check that the service computes what its author does.

    replaces: an installed model of the same name
    Raises ConflictError when the name is taken, ModelError when the model cannot be had, run or written.
    """
    require_trainer()
    chosen = name or (Path(source).resolve().name if Path(source).is_dir() else source.rpartition("/")[2])
    if not _NAME.fullmatch(chosen):
        raise InvalidRequestError(f"{chosen!r} is no name for a folder; choose letters, digits, . _ - with --name")
    target = models_dir / chosen
    if target.exists() and not replaces:
        raise ConflictError(f"{target} exists; choose another name with --name, or replace it with --force")
    with _unfinished_folder(models_dir) as folder:
        made = folder / chosen
        run_wing("trainer", ["export", source, "--output", str(made), "--name", chosen])
        check = check_model(made)
        _put_in_place(made, target, folder)
    return InstalledModel.open(target), check


def check_model(path: Path) -> ModelCheck:
    """Encode the golden texts with the service's engine. Raises ModelError when they are not what they should be."""
    found = json.loads(run_wing("encoder_service", ["--check", str(path)], captures_output=True))
    return ModelCheck(**found)


def find_by_name(name: str, models_dir: Path) -> Path:
    """Return the folder of an installed model by its name alone: a path would lead a caller out of the directory.

    Raises NotFoundError naming the models there are.
    """
    if _NAME.fullmatch(name) and (models_dir / name).is_dir():
        return models_dir / name
    raise NotFoundError(
        f"there is no model {name!r} in {models_dir} (there: {_names(models_dir)}); `kosearch model add` brings one in"
    )


def find_installed(name: str, models_dir: Path) -> Path:
    """Return the folder of a model named by its name or directory. Raises NotFoundError naming the models there are."""
    for path in (models_dir / name, Path(name)):
        if path.is_dir():
            return path
    raise NotFoundError(
        f"there is no model {name} in {models_dir} (there: {_names(models_dir)}), and no directory of that name"
    )


def list_models(models_dir: Path, used: Path) -> list[InstalledModel | ModelError]:
    """Return the models in the directory by name, and the one in use wherever it is; an error for each damaged one."""
    paths = _folders(models_dir)
    if used.resolve() not in [path.resolve() for path in paths]:
        paths.insert(0, used)
    return [_open_or_error(path) for path in paths]


def _open_or_error(path: Path) -> InstalledModel | ModelError:
    try:
        return InstalledModel.open(path)
    except ModelError as error:
        return error


def _names(models_dir: Path) -> str:
    return ", ".join(path.name for path in _folders(models_dir)) or "none yet"


def _folders(models_dir: Path) -> list[Path]:
    if not models_dir.is_dir():
        return []
    return sorted(path for path in models_dir.iterdir() if path.is_dir() and not path.name.startswith("."))


@contextmanager
def _unfinished_folder(models_dir: Path) -> Iterator[Path]:
    """Lend a folder on the disk of the models that is gone afterwards, with those that a killed process left."""
    try:
        models_dir.mkdir(parents=True, exist_ok=True)
        with (models_dir / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConflictError(f"another model is being added to {models_dir}; wait until it is done") from None
            for leftover in models_dir.glob(f"{_UNFINISHED}*"):  # of a killed process, since the lock is ours
                shutil.rmtree(leftover)
            with tempfile.TemporaryDirectory(dir=models_dir, prefix=_UNFINISHED) as folder:
                yield Path(folder)
    except OSError as error:
        raise ModelError(f"{models_dir} cannot be written: {error}; choose another place with --models-dir") from error


def _put_in_place(made: Path, target: Path, folder: Path) -> None:
    """Rename a finished model to its place; what was there goes into `folder`, or comes back if that fails."""
    replaced = folder / ".replaced"
    if target.exists():
        target.rename(replaced)
    try:
        made.rename(target)
    except OSError:
        if replaced.exists():
            replaced.rename(target)
        raise
