"""Readers of the large document sets: Korean Wikipedia, statutes, court precedents, movie reviews.

Every reader is an iterator that yields one document at a time, so that a whole corpus never lies in memory.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson
import zstandard

from trainer.errors import TrainingDataError

# The Wikipedia dump was compressed with `--long=27`, so the decoder needs a 128 MiB window.
_MAX_WINDOW_BYTES = 1 << 27


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a corpus: `document_id` is unique inside its corpus only."""

    document_id: str
    title: str
    text: str


class _ConcatenatedFiles(io.RawIOBase):
    """The bytes of several files, one after the other, as one readable stream."""

    def __init__(self, paths: list[Path]) -> None:
        self._waiting = iter(paths)
        self._current: BinaryIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # typed Any because io.RawIOBase's own signature needs Python 3.12's Buffer
        while True:
            if self._current is None:
                path = next(self._waiting, None)
                if path is None:
                    return 0
                self._current = path.open("rb")
            block = self._current.read(len(buffer))
            if block:
                buffer[: len(block)] = block
                return len(block)
            self._current.close()
            self._current = None


def read_zstd_jsonl(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of Zstandard JSONL split over `paths`, in order.

    Raises TrainingDataError with the line number for a missing or truncated file and for a line that is not an object.
    """
    for path in paths:
        if not path.is_file():
            raise TrainingDataError(path, "file is missing")
    line_number = 0
    decoder = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    with io.BufferedReader(_ConcatenatedFiles(paths), 1 << 20) as source:
        lines = io.BufferedReader(cast(io.RawIOBase, decoder.stream_reader(source, read_across_frames=True)), 1 << 20)
        try:
            for line in lines:
                line_number += 1
                row = orjson.loads(line)
                if not isinstance(row, dict):
                    raise TrainingDataError(paths[0], "not a JSON object", line_number)
                yield row
        except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
            raise TrainingDataError(paths[0], f"truncated or damaged: {error}", line_number) from error


def read_kowiki(folder: Path) -> Iterator[Document]:
    """Korean Wikipedia pages; `document_id` is the page id that MIRACL and Mr.TyDi use before `#`."""
    parts = sorted((folder / "corpora").glob("kowiki.jsonl.zst.part-*"))
    if not parts:
        raise TrainingDataError(folder / "corpora" / "kowiki.jsonl.zst.part-00", "file is missing")
    for row in read_zstd_jsonl(parts):
        yield Document(row["id"], row["title"], row["text"])


def read_law_articles(folder: Path) -> Iterator[Document]:
    """Articles of Korean statutes, titled `<law> <article title>`."""
    for row in read_zstd_jsonl([folder / "corpora" / "law_articles.jsonl.zst"]):
        yield Document(row["id"], f"{row['law']} {row['title']}".strip(), row["text"])


def read_precedents(folder: Path) -> Iterator[Document]:
    """Court precedents: `title` is the legal issue that was decided, `text` the holding."""
    for row in read_zstd_jsonl([folder / "corpora" / "precedents.jsonl.zst"]):
        if row["issue"] and row["holding"]:
            yield Document(row["id"], row["issue"], row["holding"])


def read_movie_reviews(folder: Path) -> Iterator[Document]:
    """Colloquial one-line reviews without a title."""
    for row in read_zstd_jsonl([folder / "corpora" / "movie_reviews.jsonl.zst"]):
        yield Document(row["id"], "", row["text"])


def every_nth(documents: Iterator[Document], step: int) -> Iterator[Document]:
    """Every `step`-th document: an even and reproducible sample of an ordered corpus."""
    return itertools.islice(documents, 0, None, step)
