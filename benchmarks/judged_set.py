"""A retrieval test set in the making: documents, queries and their right answers, for `kosearch eval retrieval`."""

from pathlib import Path

import orjson

from kosearch.text import normalise


class JudgedSet:
    """Queries that each have one right document; equal texts are one document."""

    def __init__(self, prefix: str) -> None:
        """Make an empty set; ids of documents are `prefix` and a number."""
        self._prefix = prefix
        self._documents: dict[str, dict[str, str]] = {}
        self._queries: list[str] = []
        self._qrels: list[str] = []

    def add_document(self, text: str, **fields: str) -> str:
        """Add a document unless its text is there already. Returns the id."""
        new = {"id": f"{self._prefix}-{len(self._documents)}", "text": text, **fields}
        return self._documents.setdefault(text, new)["id"]

    def add_query(self, query_id: object, text: str, document_id: str) -> None:
        """Add a query and its right document."""
        self._queries.append(f"{query_id}\t{normalise(text)}\n")
        self._qrels.append(f"{query_id}\t0\t{document_id}\t1\n")

    def write(self, folder: Path) -> None:
        """Write documents.jsonl, queries.tsv and qrels.tsv, and say so; the folder is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        lines = (orjson.dumps(document) + b"\n" for document in self._documents.values())
        (folder / "documents.jsonl").write_bytes(b"".join(lines))
        (folder / "queries.tsv").write_text("".join(self._queries), encoding="utf-8")
        (folder / "qrels.tsv").write_text("".join(self._qrels), encoding="utf-8")
        print(f"{len(self._documents):,} documents, {len(self._queries):,} queries in {folder}")  # noqa: T201
