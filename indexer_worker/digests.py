"""Short digests that tell whether something changed, or is the same as something else. 16 bytes: no two will meet."""

import hashlib

import orjson

from kosearch.documents import Document

_BYTES = 16
_AS_IT_COMES = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def document_digest(document: Document, signature: str) -> bytes:
    """Return the digest of all that decides about a document's points; `signature`: of what it shares with others."""
    stored = (signature, document.title, document.text, document.fields)
    return hashlib.blake2b(orjson.dumps(stored, option=_AS_IT_COMES), digest_size=_BYTES).digest()


def content_digest(document: Document) -> bytes:
    """Return the digest of what a reader of the document sees: title and text."""
    return hashlib.blake2b(orjson.dumps((document.title, document.text)), digest_size=_BYTES).digest()


def signature_of(*parts: str) -> str:
    """Return a digest of texts, as hexadecimal digits."""
    return hashlib.blake2b(orjson.dumps(parts), digest_size=_BYTES).hexdigest()
