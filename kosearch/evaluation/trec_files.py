"""Test sets as files: TREC topics (`query id<TAB>text`) and TREC qrels (`query id, 0, document id, relevance`)."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kosearch.errors import InvalidRequestError

_QRELS_COLUMNS = 4


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with at least one relevant document: document id -> relevance, above 0 where it is relevant."""

    id: str
    text: str
    relevance: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class JudgedQueries:
    """A test set; `without_relevant`: queries left out because no document is judged relevant to them."""

    queries: list[JudgedQuery]
    without_relevant: int

    def relevant_documents(self) -> set[str]:
        """Return the ids of all documents that are relevant to any query."""
        return {document for query in self.queries for document, gain in query.relevance.items() if gain > 0}


def read_judged_queries(queries: Path, qrels: Path, passage_separator: str = "") -> JudgedQueries:
    """Read a test set, both files gzipped where their names end in `.gz`.

    With a separator document ids are cut at its first place: `page#3` is `page`, which has its passages' best
    relevance. Raises InvalidRequestError naming file and line.
    """
    texts = read_queries(queries)
    judged = _read_qrels(qrels, texts, queries, passage_separator)
    found = [
        JudgedQuery(query_id, text, judged[query_id])
        for query_id, text in texts.items()
        if any(gain > 0 for gain in judged.get(query_id, {}).values())
    ]
    if not found:
        raise InvalidRequestError(f"{qrels}: no query of {queries} has a relevant document")
    return JudgedQueries(found, len(texts) - len(found))


def read_queries(path: Path) -> dict[str, str]:
    """Read `query id<TAB>text` lines. Returns id -> text in the order of the file. Raises InvalidRequestError."""
    texts: dict[str, str] = {}
    for number, line in _lines(path):
        if "\t" not in line:
            raise InvalidRequestError(f"{path}:{number}: no tab between query id and text")
        query_id, text = (part.strip() for part in line.split("\t", 1))
        if not query_id or not text:
            raise InvalidRequestError(f"{path}:{number}: the {'text' if query_id else 'query id'} is empty")
        if query_id in texts:
            raise InvalidRequestError(f"{path}:{number}: query id {query_id!r} stands twice")
        texts[query_id] = text
    if not texts:
        raise InvalidRequestError(f"{path}: holds no query")
    return texts


def _read_qrels(
    path: Path, texts: Mapping[str, str], queries: Path, passage_separator: str
) -> dict[str, dict[str, int]]:
    judged: dict[str, dict[str, int]] = {}
    seen: set[tuple[str, str]] = set()
    for number, line in _lines(path):
        query_id, document_id, relevance = _parse_judgement(path, number, line)
        if query_id not in texts:
            raise InvalidRequestError(f"{path}:{number}: query id {query_id!r} is not in {queries}")
        if (query_id, document_id) in seen:
            raise InvalidRequestError(f"{path}:{number}: {document_id!r} is judged twice for query {query_id!r}")
        seen.add((query_id, document_id))
        document = document_id.partition(passage_separator)[0] if passage_separator else document_id
        of_query = judged.setdefault(query_id, {})
        of_query[document] = max(relevance, of_query.get(document, relevance))
    if not judged:
        raise InvalidRequestError(f"{path}: holds no judgement")
    return judged


def _parse_judgement(path: Path, number: int, line: str) -> tuple[str, str, int]:
    # Between tabs an id may hold spaces, as paths do.
    is_tabbed = line.count("\t") == _QRELS_COLUMNS - 1
    columns = [column.strip() for column in line.split("\t")] if is_tabbed else line.split()
    if len(columns) != _QRELS_COLUMNS or not columns[0] or not columns[2]:
        raise InvalidRequestError(
            f"{path}:{number}: expected query id, 0, document id and relevance, found {len(columns)} columns"
        )
    try:
        return columns[0], columns[2], int(columns[3])
    except ValueError:
        raise InvalidRequestError(f"{path}:{number}: relevance {columns[3]!r} is no whole number") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if not path.is_file():
        raise InvalidRequestError(f"{path}: file is missing")
    number = 0
    try:
        # utf-8-sig: a byte-order mark would become part of the first query id.
        with (
            gzip.open(path, "rt", encoding="utf-8-sig")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8-sig") as lines
        ):
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path}:{number + 1}: not UTF-8, or truncated inside a character") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidRequestError(f"{path}:{number + 1}: truncated or damaged gzip: {error}") from error
