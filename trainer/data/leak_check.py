"""Keep test sentences out of training: no text of a set that is for evaluation only, nor a near duplicate of one."""

from __future__ import annotations

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from kosearch.text import normalise
from trainer.data.near_duplicates import NearDuplicateIndex
from trainer.errors import TrainingDataError

# Ends the name under which near duplicates are counted: "korsts | KorSTS sts-test (near)".
NEAR = " (near)"
_EXAMPLES_KEPT = 20
_IGNORED = re.compile(r"[\W_]+")
ExampleT = TypeVar("ExampleT", bound=Sequence[Any])


def leak_key(text: str) -> str:
    """What two texts share when they differ only in case, spaces and punctuation."""
    return _IGNORED.sub("", normalise(text).casefold())


@dataclass(slots=True)
class LeakCheck:
    """Protected texts by key, and how many training examples each protected set has removed.

    protected: key of a text -> name of the set it belongs to
    removed: "<source of the examples> | <protected set>" -> examples removed, with NEAR at the end for near duplicates.
        A source that is read for several stages counts once: as often as in the stage that removed most
    near_matches: the same names -> the first (training text, key of the protected text), for a person to judge
    """

    protected: dict[str, str] = field(default_factory=dict)
    removed: Counter[str] = field(default_factory=Counter)
    near_matches: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _index: NearDuplicateIndex | None = None

    def protect(self, name: str, texts: Iterable[str]) -> None:
        """Protect texts under the name of their set. The first set to protect a text keeps it."""
        for text in texts:
            key = leak_key(text)
            if key:
                self.protected.setdefault(key, name)
        self._index = None  # made anew for the next example

    def clean(self, source: str, examples: Iterable[ExampleT]) -> list[ExampleT]:
        """Return the examples none of whose texts is protected or nearly so, in order, and count the others."""
        kept: list[ExampleT] = []
        removed: Counter[str] = Counter()
        for example in examples:
            name = self._protected_set(source, [value for value in example if isinstance(value, str)])
            if name is None:
                kept.append(example)
            else:
                removed[f"{source} | {name}"] += 1
        self.removed |= removed
        return kept

    def _protected_set(self, source: str, texts: list[str]) -> str | None:
        keys = [leak_key(text) for text in texts]
        exact = next((self.protected[key] for key in keys if key in self.protected), None)
        if exact is not None:
            return exact
        if self._index is None:
            self._index = NearDuplicateIndex(self.protected)
        for text, key in zip(texts, keys, strict=True):
            match = self._index.find(key)
            if match is not None:
                name = f"{self.protected[match.protected]}{NEAR}"
                matches = self.near_matches.setdefault(f"{source} | {name}", [])
                if len(matches) < _EXAMPLES_KEPT and (text, match.protected) not in matches:
                    matches.append((text, match.protected))
                return name
        return None


def protect_evaluation_sets(folder: Path) -> LeakCheck:
    """Protect every set under `folder` that is for evaluation only. A set that is absent protects nothing."""
    check = LeakCheck()
    for name in ("sts-test", "sts-dev"):
        check.protect(f"KorSTS {name}", _tsv_columns(folder / "kornlu" / f"{name}.tsv", (5, 6)))
    for name in ("xnli.test.ko", "xnli.dev.ko"):
        check.protect(f"KorNLI {name}", _tsv_columns(folder / "kornlu" / f"{name}.tsv", (0, 1)))
    check.protect("KLUE-NLI dev", _klue_texts(folder / "klue" / "klue-nli-v1.1_dev.json", ("premise", "hypothesis")))
    check.protect("KLUE-STS dev", _klue_texts(folder / "klue" / "klue-sts-v1.1_dev.json", ("sentence1", "sentence2")))
    check.protect("KorQuAD dev", _korquad_questions(folder / "retrieval" / "KorQuAD_v1.0_dev.json"))
    retrieval = folder / "retrieval"
    check.protect("MIRACL dev", _tsv_columns(retrieval / "topics.miracl-v1.0-ko-dev.tsv", (1,), has_header=False))
    check.protect("Mr.TyDi dev", _topics(retrieval / "topics.mrtydi-v1.1-ko.dev.txt.gz"))
    return check


def korquad_titles(folder: Path) -> set[str]:
    """Titles of the Wikipedia pages from which KorQuAD dev takes its paragraphs."""
    path = folder / "retrieval" / "KorQuAD_v1.0_dev.json"
    return {article["title"] for article in _load_json(path)["data"]} if path.is_file() else set()


def _tsv_columns(path: Path, columns: tuple[int, ...], *, has_header: bool = True) -> list[str]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))[1 if has_header else 0 :]
    return [row[column] for row in rows for column in columns]


def _klue_texts(path: Path, columns: tuple[str, ...]) -> list[str]:
    return [row[column] for row in _load_json(path) for column in columns] if path.is_file() else []


def _korquad_questions(path: Path) -> list[str]:
    if not path.is_file():
        return []
    paragraphs = (paragraph for article in _load_json(path)["data"] for paragraph in article["paragraphs"])
    return [question["question"] for paragraph in paragraphs for question in paragraph["qas"]]


def _topics(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line]


def _load_json(path: Path) -> Any:
    try:
        return orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise TrainingDataError(path, f"truncated or damaged: {error}") from error
