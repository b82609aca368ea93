"""The documents of a collection as the ledger knows them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql, sqlite

from kosearch.ledger.tables import CollectionRow, ContentRow, DocumentRow, FileRow, RemovalRow

# Variables in one statement; SQLite of old takes 999.
_KEYS_AT_ONCE = 900
# In place of a digest. Deleted: there is nothing of it. Uncertain: there may be something of it, in any version.
_DELETED = b""
_UNCERTAIN = b"?"


@dataclass(frozen=True, slots=True)
class DocumentVersion:
    """A version of a document that was stored as so many chunks. `digest`: of all that decides what they are."""

    document_id: str
    digest: bytes
    chunks: int


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """What the ledger knows of a document. `file_id` None: it was pushed; `job_number`: whose version it is.

    chunks: 0 for one that was deleted or is uncertain
    """

    digest: bytes
    file_id: int | None
    job_number: int
    chunks: int

    @property
    def is_deleted(self) -> bool:
        """Tell whether there is nothing of it."""
        return self.digest == _DELETED


@dataclass(frozen=True, slots=True)
class NewerDocument:
    """A document of which a newer job has a version, or which it deleted."""

    document_id: str
    job_number: int
    is_deleted: bool


def document_key(document_id: str) -> bytes:
    """Return 16 bytes that stand for an identifier: a short key, whatever its length."""
    return hashlib.blake2b(document_id.encode(), digest_size=16).digest()


def collection_id(session: orm.Session, name: str) -> int:
    """Return the number of a collection, given when it is first named."""
    found = session.scalar(sa.select(CollectionRow.id).where(CollectionRow.name == name))
    if found is None:
        session.execute(_insert(session, CollectionRow).values(name=name).on_conflict_do_nothing())
        found = session.scalar(sa.select(CollectionRow.id).where(CollectionRow.name == name))
        assert found is not None
    return found


def known_documents(session: orm.Session, collection: int, document_ids: Iterable[str]) -> dict[str, KnownDocument]:
    """Return what is known of these documents by identifier, deleted ones included."""
    names = {document_key(document_id): document_id for document_id in document_ids}
    columns = (DocumentRow.key, DocumentRow.digest, DocumentRow.file_id, DocumentRow.job_number, DocumentRow.chunks)
    found: dict[str, KnownDocument] = {}
    for some in _in_portions(names):
        query = sa.select(*columns).where(DocumentRow.collection_id == collection, DocumentRow.key.in_(some))
        for key, digest, file_id, job_number, chunks in session.execute(query):
            found[names[key]] = KnownDocument(digest, file_id, job_number, chunks)
    return found


def newer_documents(
    session: orm.Session, collection: int, job_number: int, document_ids: Sequence[str]
) -> frozenset[NewerDocument]:
    """Return those of the documents that a newer job stored or deleted, of documents that were begun.

    One of which nothing is known any more was deleted: `begin_documents` wrote it down.
    """
    known = known_documents(session, collection, document_ids)
    found = {NewerDocument(name, 0, is_deleted=True) for name in document_ids if name not in known}
    found |= {
        NewerDocument(name, document.job_number, document.is_deleted)
        for name, document in known.items()
        if document.job_number > job_number
    }
    return frozenset(found)


def begin_documents(
    session: orm.Session, collection: int, file_id: int | None, job_number: int, document_ids: Sequence[str]
) -> None:
    """Write down what is about to be stored, before it is.

    Whatever happens then, it is known that there may be something of these documents, and no digest says that they are
    stored as they should be. Newer versions stay.
    """
    rows = [_row(collection, name, file_id, _UNCERTAIN, job_number, 0) for name in document_ids]
    _upsert(session, rows)


def record_documents(
    session: orm.Session, collection: int, file_id: int | None, job_number: int, versions: Sequence[DocumentVersion]
) -> None:
    """Write down what is stored; newer versions stay."""
    rows = [
        _row(collection, version.document_id, file_id, version.digest, job_number, version.chunks)
        for version in versions
    ]
    _upsert(session, rows)


def record_deletions(session: orm.Session, collection: int, job_number: int, document_ids: Sequence[str]) -> None:
    """Write down that documents are deleted, so that no older job stores them again."""
    rows = [_row(collection, name, None, _DELETED, job_number, 0) for name in dict.fromkeys(document_ids)]
    _upsert(session, rows)
    for some in _in_portions(document_key(document_id) for document_id in document_ids):
        of_these = sa.delete(ContentRow).where(ContentRow.collection_id == collection, ContentRow.key.in_(some))
        session.execute(of_these.execution_options(synchronize_session=False))


def distrust_documents(session: orm.Session, collection: int, document_ids: Sequence[str]) -> None:
    """Let the next job store these anew, and read their files: an older version may have been written over them."""
    for some in _in_portions(map(document_key, document_ids)):
        of_these = sa.update(DocumentRow).where(
            DocumentRow.collection_id == collection, DocumentRow.key.in_(some), is_there()
        )
        session.execute(of_these.values(digest=_UNCERTAIN, chunks=0).execution_options(synchronize_session=False))
        files = sa.select(DocumentRow.file_id).where(DocumentRow.collection_id == collection, DocumentRow.key.in_(some))
        # Nor does the job that read them, and goes on, call them complete when it ends.
        incomplete = sa.update(FileRow).where(FileRow.id.in_(files)).values(is_complete=False, job_number=0)
        session.execute(incomplete.execution_options(synchronize_session=False))


def doubt_removals(session: orm.Session, collection: int, job_number: int) -> None:
    """Let the next job remove again what this one, which ended early, wanted to.

    It wrote the deletions down before their points went, and nobody knows whether these went.
    """
    of_job = sa.select(RemovalRow.key).where(RemovalRow.job_number == job_number)
    file_id = sa.select(RemovalRow.file_id).where(
        RemovalRow.job_number == job_number, RemovalRow.key == DocumentRow.key
    )
    doubtful = sa.update(DocumentRow).where(
        DocumentRow.collection_id == collection,
        DocumentRow.job_number == job_number,
        DocumentRow.key.in_(of_job),
        was_deleted(),
    )
    values = {"digest": _UNCERTAIN, "file_id": file_id.scalar_subquery()}
    session.execute(doubtful.values(values).execution_options(synchronize_session=False))


def forget_documents(session: orm.Session, collection: int) -> None:
    """Believe nothing of what is said to be stored, because the store has lost some. What is deleted stays deleted."""
    of_collection = sa.update(DocumentRow).where(DocumentRow.collection_id == collection, is_there())
    session.execute(of_collection.values(digest=_UNCERTAIN, chunks=0).execution_options(synchronize_session=False))


def stored_chunks(session: orm.Session, collection: int) -> int:
    """Return the number of chunks that are certainly stored; there may be more."""
    query = sa.select(sa.func.coalesce(sa.func.sum(DocumentRow.chunks), 0))
    return int(session.scalar(query.where(DocumentRow.collection_id == collection)) or 0)


def claim_contents(
    session: orm.Session, collection: int, job_number: int, wanted: Sequence[tuple[bytes, str]]
) -> dict[str, str]:
    """Give each content (digest) to the document (identifier) that wants it first.

    Returns for each document that comes too late the one that has its content. A document that changed or went gives
    up its former content.
    """
    taken: dict[str, str] = {}
    for content, document_id in wanted:
        key = document_key(document_id)
        values = {"key": key, "document_id": document_id, "job_number": job_number}
        row = session.get(ContentRow, (collection, content))
        if row is None:
            session.add(ContentRow(collection_id=collection, content=content, **values))
            session.flush()
        elif row.key != key and _still_has(session, row, job_number):
            taken[document_id] = row.document_id
        else:
            row.key, row.document_id, row.job_number = key, document_id, job_number
        if document_id not in taken:
            former = sa.delete(ContentRow).where(
                ContentRow.collection_id == collection, ContentRow.key == key, ContentRow.content != content
            )
            session.execute(former)
    return taken


def _still_has(session: orm.Session, row: ContentRow, job_number: int) -> bool:
    """Tell whether the owner of a content is stored, or about to be."""
    if row.job_number == job_number:
        return True
    owner = session.get(DocumentRow, (row.collection_id, row.key))
    return owner is not None and owner.digest != _DELETED


def is_there() -> sa.ColumnElement[bool]:
    """Return the condition that there is, or may be, something of a document."""
    return DocumentRow.digest != _DELETED


def was_deleted() -> sa.ColumnElement[bool]:
    """Return the condition that a document was deleted."""
    return DocumentRow.digest == _DELETED


def _row(
    collection: int, document_id: str, file_id: int | None, digest: bytes, job_number: int, chunks: int
) -> dict[str, Any]:
    return {
        "collection_id": collection,
        "key": document_key(document_id),
        "document_id": document_id,
        "file_id": file_id,
        "digest": digest,
        "job_number": job_number,
        "chunks": chunks,
    }


def _upsert(session: orm.Session, rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    insert = _insert(session, DocumentRow)
    statement = insert.on_conflict_do_update(
        index_elements=["collection_id", "key"],
        set_={name: insert.excluded[name] for name in ("file_id", "digest", "job_number", "chunks")},
        where=DocumentRow.job_number <= insert.excluded.job_number,
    )
    session.execute(statement, rows)


def _insert(session: orm.Session, table: Any) -> Any:
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _in_portions(keys: Iterable[bytes]) -> Iterable[list[bytes]]:
    rest = iter(keys)
    while some := list(islice(rest, _KEYS_AT_ONCE)):
        yield some
