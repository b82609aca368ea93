"""Documents and the chunks they are searched by."""

import uuid
from dataclasses import dataclass, field
from typing import Any

MAX_ID_BYTES = 512
# Every chunk of a document carries its further fields; bytes as JSON.
MAX_FIELDS_BYTES = 256 << 10
# Namespace of point ids, so that the same chunk of the same document gets the same id on every machine and every try.
_POINT_NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


@dataclass(frozen=True, slots=True)
class Document:
    """A document as its source holds it.

    id: unique in its collection
    text: cleaned (NFC), not empty
    title: may be empty
    fields: everything else the source says of it; JSON values
    """

    id: str
    text: str
    title: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document, short enough for the model to read whole.

    index: its place in the document, from 0
    text: slice of the document's text; those of its chunks neither overlap nor leave out anything but white space
    encoded_text: what the model reads: a chunk out of the middle is understood better under its title and headings,
        and behind the sentence before it
    tokens: of `encoded_text` by the model's tokenizer, special tokens not counted; 0: not counted
    start: where `text` begins in the document's text
    """

    document: Document
    index: int
    text: str
    encoded_text: str
    tokens: int = 0
    start: int = 0

    @property
    def point_id(self) -> str:
        """Return the id of the chunk's point, a UUIDv5 of document id and place."""
        return str(uuid.uuid5(_POINT_NAMESPACE, f"{self.document.id}\x00{self.index}"))
