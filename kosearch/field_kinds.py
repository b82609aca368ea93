"""Which fields of a job's documents get a payload index, so that a filter on them is fast."""

from typing import Any

from kosearch.documents import Document
from kosearch.vector_store import FieldType, has_field_path

# So many documents decide which fields, and of what kind.
_SAMPLED_DOCUMENTS = 1000
_MAX_INDEXED_FIELDS = 16
# A longer text is content, not a category that one filters by.
_MAX_KEYWORD_CHARACTERS = 64


class FieldKinds:
    """Finds out which fields can be filtered by, from the first documents of a job."""

    def __init__(self) -> None:
        self._kinds: dict[str, FieldType | None] = {}
        self._seen = 0

    def add(self, document: Document) -> None:
        """Look at a document; only the first ones count."""
        if self._seen >= _SAMPLED_DOCUMENTS:
            return
        self._seen += 1
        for name, value in document.fields.items():
            if value is None:
                continue
            kind = _kind(value)
            known = self._kinds.setdefault(name, kind)
            if {known, kind} == {"integer", "float"}:
                self._kinds[name] = "float"
            elif known != kind:
                self._kinds[name] = None

    def types(self) -> dict[str, FieldType]:
        """Return the payload index of each field that is to have one, in the order of first appearance."""
        kinds = {name: kind for name, kind in self._kinds.items() if kind and has_field_path(name)}
        return dict(list(kinds.items())[:_MAX_INDEXED_FIELDS])


def _kind(value: Any) -> FieldType | None:
    match value:
        case bool():
            return "bool"
        case int():
            return "integer"
        case float():
            return "float"
        case str() if len(value) <= _MAX_KEYWORD_CHARACTERS:
            return "keyword"
        case [*items] if items and all(
            isinstance(item, str) and len(item) <= _MAX_KEYWORD_CHARACTERS for item in items
        ):
            return "keyword"
        case _:
            return None
