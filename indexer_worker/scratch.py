"""What a planner has to remember of a job's documents and files: on disk when it is much, and gone with the planner."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kosearch.ledger.documents import document_key

_KEYS_AT_ONCE = 900


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document stands: file and line, from 1."""

    path: str
    line: int


class Scratch:
    """Documents by identifier with their places, and paths; belongs to one thread."""

    def __init__(self) -> None:
        # Without a name: a database of its own that SQLite puts on disk when it outgrows its cache.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(
            """
            PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32000;
            CREATE TABLE paths (id INTEGER PRIMARY KEY, path TEXT UNIQUE);
            CREATE TABLE documents (key BLOB PRIMARY KEY, path INTEGER, line INTEGER) WITHOUT ROWID;
            CREATE TABLE mentioned (key BLOB PRIMARY KEY) WITHOUT ROWID;
            """
        )

    def close(self) -> None:
        """Forget everything."""
        self._database.close()

    def add_path(self, path: str) -> None:
        """Remember a path."""
        self._database.execute("INSERT OR IGNORE INTO paths (path) VALUES (?)", (path,))

    def has_path(self, path: str) -> bool:
        """Tell whether a path is remembered."""
        return self._database.execute("SELECT 1 FROM paths WHERE path = ?", (path,)).fetchone() is not None

    def places(self, document_ids: Sequence[str]) -> dict[str, Place]:
        """Return the places of those documents that are remembered."""
        keys = {document_key(document_id): document_id for document_id in document_ids}
        found: dict[str, Place] = {}
        for some in _in_portions(list(keys)):
            marks = ",".join("?" * len(some))
            rows = self._database.execute(
                "SELECT key, paths.path, line FROM documents JOIN paths ON paths.id = documents.path "  # noqa: S608
                f"WHERE key IN ({marks})",
                some,
            )
            found |= {keys[key]: Place(path, line) for key, path, line in rows}
        return found

    def add_documents(self, path: str, documents: Iterable[tuple[str, int]]) -> None:
        """Remember documents, (identifier, line), of one file."""
        self.add_path(path)
        (number,) = self._database.execute("SELECT id FROM paths WHERE path = ?", (path,)).fetchone()
        rows = [(document_key(document_id), number, line) for document_id, line in documents]
        self._write("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", rows)

    def forget_documents(self, path: str) -> None:
        """Forget the documents of a file that turned out to be unreadable."""
        query = "DELETE FROM documents WHERE path = (SELECT id FROM paths WHERE path = ?)"
        self._database.execute(query, (path,))

    def mention(self, document_ids: Iterable[str]) -> None:
        """Remember documents that stand in a source but cannot be stored as they are."""
        rows = [(document_key(document_id),) for document_id in document_ids]
        self._write("INSERT OR IGNORE INTO mentioned VALUES (?)", rows)

    def unknown(self, document_ids: Sequence[str]) -> list[str]:
        """Return those of the documents that stood nowhere."""
        keys = {document_key(document_id): document_id for document_id in document_ids}
        for some in _in_portions(list(keys)):
            marks = ",".join("?" * len(some))
            for table in ("documents", "mentioned"):
                rows = self._database.execute(f"SELECT key FROM {table} WHERE key IN ({marks})", some)  # noqa: S608
                for (key,) in rows.fetchall():
                    keys.pop(key, None)
        return list(keys.values())

    def _write(self, statement: str, rows: Sequence[tuple[bytes | int, ...]]) -> None:
        """Write rows in one transaction: each for itself would take ten times as long."""
        self._database.execute("BEGIN")
        self._database.executemany(statement, rows)
        self._database.execute("COMMIT")


def _in_portions(keys: list[bytes]) -> Iterable[list[bytes]]:
    return (keys[begin : begin + _KEYS_AT_ONCE] for begin in range(0, len(keys), _KEYS_AT_ONCE))
