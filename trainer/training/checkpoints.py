"""What a run leaves on disk so that it can be continued: its record, whole folders, checkpoints known to be complete.

Beside the model directory `NAME` lies `NAME-training`:

    run.json                   what the run is made of (recipe, seed, data); `--resume` refuses anything else
    start/                     the first encoder: the foundation, or the base model
    STAGE/examples/            the examples of the stage
    STAGE/checkpoint-STEP/     with `complete.json` when every file of it was written
    STAGE/finished/            the model at the end of the stage
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kosearch.errors import KosearchError
from trainer.errors import DiskFullError, ResumeError

_RECORD = "run.json"
_COMPLETE = "complete.json"
# The folders of docs/trainer.md from which sources read.
_DATA_FOLDERS = ("corpora", "klue", "kornlu", "paraphrase", "parallel", "retrieval")
_DISK_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# safetensors and tokenizers pass the system's message on, torch has its own. Source: tried on a full tmpfs.
_DISK_MESSAGES = re.compile(r"No space left|quota exceeded|File too large|PytorchStreamWriter|inline_container", re.I)
_DIFFERENCES_SHOWN = 3


def fingerprint_data(folder: Path) -> dict[str, str]:
    """Relative path -> size and SHA-256 of every training file under a data folder."""
    files = (path for name in _DATA_FOLDERS for path in sorted((folder / name).rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): _fingerprint_file(path) for path in files}


def _fingerprint_file(path: Path) -> str:
    with path.open("rb") as file:
        return f"{path.stat().st_size} bytes, SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def differences(stored: Any, current: Any, place: str = "") -> list[str]:
    """Where two JSON values differ, each as `place: stored there, current here`."""
    if isinstance(stored, Mapping) and isinstance(current, Mapping):
        keys = sorted({*stored, *current})
        inner = ((stored.get(key), current.get(key), f"{place}.{key}" if place else str(key)) for key in keys)
    elif isinstance(stored, list) and isinstance(current, list) and len(stored) == len(current):
        inner = ((a, b, f"{place}[{index}]") for index, (a, b) in enumerate(zip(stored, current, strict=True)))
    else:
        return [] if stored == current else [f"{place}: {_short(stored)} there, {_short(current)} here"]
    return [difference for a, b, name in inner for difference in differences(a, b, name)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def write_record(work: Path, record: dict[str, Any]) -> None:
    """Say what the run in `work` is made of."""
    work.mkdir(parents=True, exist_ok=True)
    (work / _RECORD).write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def has_record(work: Path) -> bool:
    """Whether an unfinished run lies there."""
    return (work / _RECORD).is_file()


def holds_training(work: Path) -> bool:
    """Whether an unfinished run has come so far that losing it would cost time: a checkpoint, or a stage."""
    return has_record(work) and any(
        next(work.glob(pattern), None) is not None for pattern in (f"*/checkpoint-*/{_COMPLETE}", "*/finished")
    )


def delete_leftovers(work: Path) -> None:
    """Delete all that only a resumed run needs; TensorBoard's logs stay."""
    (work / _RECORD).unlink(missing_ok=True)
    for pattern in ("start", "*/checkpoint-*", "*/examples", "*/finished", "*.partial", "*/*.partial"):
        for leftover in list(work.glob(pattern)):
            shutil.rmtree(leftover)


def check_record(work: Path, record: dict[str, Any]) -> None:
    """Raise ResumeError naming the first differences when the run in `work` is made of something else."""
    stored = json.loads((work / _RECORD).read_text(encoding="utf-8"))
    found = differences(stored, json.loads(json.dumps(record)))
    if found:
        more = f" and {len(found) - _DIFFERENCES_SHOWN} more" if len(found) > _DIFFERENCES_SHOWN else ""
        raise ResumeError(
            f"the run in {work} is another one ({'; '.join(found[:_DIFFERENCES_SHOWN])}{more}). "
            "Resume it as it was started, or start anew with --overwrite or another --output"
        )


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """A folder to write to that becomes `folder` when all is written, and vanishes when something fails."""
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)


def mark_complete(checkpoint: Path, facts: Mapping[str, Any]) -> None:
    """Say, after everything else, that a checkpoint was written to its end."""
    (checkpoint / _COMPLETE).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def facts_of(checkpoint: Path) -> dict[str, Any]:
    """What `mark_complete` was given."""
    facts: dict[str, Any] = json.loads((checkpoint / _COMPLETE).read_text(encoding="utf-8"))
    return facts


def newest_checkpoint(stage_folder: Path) -> Path | None:
    """The complete checkpoint with most steps."""
    complete = [path for path in stage_folder.glob("checkpoint-*") if _is_complete(path)]
    return max(complete, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def delete_incomplete(stage_folder: Path) -> None:
    """Delete half-written checkpoints: they hold space, and the trainer would count them."""
    for path in stage_folder.glob("checkpoint-*"):
        if not _is_complete(path):
            shutil.rmtree(path)


def _is_complete(checkpoint: Path) -> bool:
    marker = checkpoint / _COMPLETE
    return marker.is_file() and marker.stat().st_size > 0


def point_to_best(checkpoint: Path) -> None:
    """Have a checkpoint's state name the best checkpoint where it lies now: the folder may have been moved.

    Raises ResumeError when the best one is gone, for then the run would end with another model.
    """
    path = checkpoint / "trainer_state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    if not state.get("best_model_checkpoint"):
        return
    best = checkpoint.with_name(Path(state["best_model_checkpoint"]).name)
    if not _is_complete(best):
        raise ResumeError(f"{best}, the best checkpoint so far, is gone; start anew with --overwrite")
    if state["best_model_checkpoint"] != str(best):
        state["best_model_checkpoint"] = str(best)
        path.write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@contextmanager
def disk_failures_named(work: Path) -> Iterator[None]:
    """Turn whatever a library raises when there is no room into a DiskFullError that says what to do."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, KosearchError) or not is_disk_failure(error):
            raise
        raise DiskFullError(
            f"no room left on the disk of {work} ({error}). The last complete checkpoint is intact: "
            "free some space and run the same command with --resume"
        ) from error


def is_disk_failure(error: BaseException) -> bool:
    """Whether an exception, of whatever library, says that there was no room to write."""
    if isinstance(error, OSError) and error.errno in _DISK_ERRNOS:
        return True
    return _DISK_MESSAGES.search(str(error)) is not None
