"""Documents that clients push, checked and written as the JSON lines that the workers read."""

from collections.abc import Sequence
from typing import Any

import orjson
from google.protobuf import json_format

from kosearch.documents import MAX_FIELDS_BYTES, MAX_ID_BYTES, Document
from kosearch.errors import InvalidRequestError
from kosearch.text import clean
from protos.kosearch.v1 import index_pb2

_MAX_DOCUMENTS = 1000
_OWN_NAMES = ("id", "text", "title")


def checked_documents(documents: Sequence[index_pb2.Document]) -> list[Document]:
    """Return the documents of a call. Raises InvalidRequestError naming the first one that cannot be stored."""
    if not 0 < len(documents) <= _MAX_DOCUMENTS:
        raise InvalidRequestError(f"{len(documents)} documents given; push 1 to {_MAX_DOCUMENTS:,} in one call")
    checked = [_checked(place, document) for place, document in enumerate(documents)]
    seen: set[str] = set()
    for document in checked:
        if document.id in seen:
            raise InvalidRequestError(f"identifier {document.id!r} stands twice in the call; send one of the two")
        seen.add(document.id)
    return checked


def as_json_lines(documents: Sequence[Document]) -> bytes:
    """Return documents as lines of JSON."""
    lines = ({**each.fields, "id": each.id, "text": each.text, "title": each.title} for each in documents)
    return b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in lines)


def _checked(place: int, document: index_pb2.Document) -> Document:
    document_id, text = clean(document.id), clean(document.text)
    if not 0 < len(document_id.encode()) <= MAX_ID_BYTES:
        raise InvalidRequestError(f"document {place}: its identifier has to have 1 to {MAX_ID_BYTES} bytes")
    if not text:
        raise InvalidRequestError(f"document {document_id!r}: its text is empty")
    try:
        fields = _as_stored(json_format.MessageToDict(document.fields))
    except ValueError as error:  # NaN, infinity
        raise InvalidRequestError(f"document {document_id!r}: a field has no form in JSON: {error}") from error
    if taken := [name for name in _OWN_NAMES if name in fields]:
        raise InvalidRequestError(f"document {document_id!r}: {taken[0]!r} is no name for one of its further fields")
    if len(orjson.dumps(fields)) > MAX_FIELDS_BYTES:
        raise InvalidRequestError(
            f"document {document_id!r}: its further fields have more than {MAX_FIELDS_BYTES:,} bytes"
        )
    return Document(document_id, text, clean(document.title), fields)


def _as_stored(value: Any) -> Any:
    """Return a value with its names and texts cleaned, as those of files are, and numbers without fraction as integers.

    A protobuf Struct knows floats alone.
    """
    match value:
        case float() if value.is_integer() and abs(value) < 1 << 53:
            return int(value)
        case str():
            return clean(value)
        case list():
            return [_as_stored(inner) for inner in value]
        case dict():
            return {clean(name): _as_stored(inner) for name, inner in value.items()}
        case _:
            return value
