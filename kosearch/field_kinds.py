"""Which fields of a job's documents get a payload index, so that a filter on them is fast."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import reduce
from typing import Any

from kosearch.documents import Document
from kosearch.vector_store import FieldType, has_field_path

# So many documents decide which fields, and of what kind.
_SAMPLED_DOCUMENTS = 1000
_MAX_INDEXED_FIELDS = 16
# A longer text is content, not a category that one filters by.
_MAX_KEYWORD_CHARACTERS = 64
# What Qdrant reads as a date; without a time zone it is UTC.
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([Tt ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?([Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII)
# Kinds that differ from value to value, and the kind that holds both.
_WIDER: dict[frozenset[FieldType], FieldType] = {
    frozenset({"integer", "float"}): "float",
    frozenset({"datetime", "keyword"}): "keyword",
}
_LISTED: frozenset[FieldType] = frozenset({"keyword", "integer", "float", "datetime"})


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
            self._kinds[name] = _common(self._kinds.get(name, kind), kind)

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
        case str():
            return _kind_of_text(value)
        case [*items] if items:
            return _kind_of_list(items)
        case _:
            return None


def _kind_of_text(text: str) -> FieldType | None:
    if len(text) > _MAX_KEYWORD_CHARACTERS:
        return None
    if _DATE.fullmatch(text) is None:
        return "keyword"
    try:
        datetime.fromisoformat(text.upper())
    except ValueError:  # the 30th of February
        return "keyword"
    return "datetime"


def _kind_of_list(items: Sequence[Any]) -> FieldType | None:
    # Lists within lists are no values that a condition could be about.
    kinds = [None if isinstance(item, list) else _kind(item) for item in items]
    kind = reduce(_common, kinds)
    return kind if kind in _LISTED else None


def _common(first: FieldType | None, second: FieldType | None) -> FieldType | None:
    """Return the kind of a field that holds values of both kinds, None where no index holds them."""
    if first is None or second is None or first == second:
        return first if first == second else None
    return _WIDER.get(frozenset({first, second}))
