"""Conditions of a search as Qdrant wants them, checked against the indexed fields of the collection."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from qdrant_client import models

from encoder_service.search.dates import parse_date
from encoder_service.search.requests import (
    AnyOf,
    Clause,
    Condition,
    DateRange,
    Filter,
    Nested,
    Presence,
    Range,
    Test,
)
from kosearch.errors import InvalidRequestError
from kosearch.text import clean
from kosearch.vector_store import PAYLOAD_DOCUMENT_ID, PAYLOAD_FIELDS, field_path

_MAX_CONDITIONS = 64
_MAX_DEPTH = 5
_MAX_VALUES = 1000
_COUNTABLE = frozenset({"keyword", "integer", "bool"})
_FIRST_MOMENT = datetime.min.replace(tzinfo=UTC)
_LAST_MOMENT = datetime.max.replace(tzinfo=UTC)
# Kinds of payload index -> what such a field holds, and a condition that fits it.
_HELD = {
    "keyword": ("texts", '{}=민법 or, for digits, {}="2023"'),
    "integer": ("integers", "{}>=8"),
    "float": ("numbers", "{}>=8.5"),
    "bool": ("truth values", "{}=true"),
    "datetime": ("dates", "{}>=2020-01"),
}


@dataclass(frozen=True, slots=True)
class FieldKinds:
    """The indexed fields of a collection: payload path -> kind of its index."""

    collection: str
    kinds: Mapping[str, str]

    def told(self) -> str:
        """Return their names and what they hold."""
        prefix = f"{PAYLOAD_FIELDS}."
        told = (
            f"{path.removeprefix(prefix)} ({_HELD[kind][0] if kind in _HELD else kind})"
            for path, kind in sorted(self.kinds.items())
            if path.startswith(prefix)
        )
        return ", ".join(told) or "none"


def check_filter(wanted: Filter) -> None:
    """Raise InvalidRequestError for a filter that has too many conditions, is nested too deep, or tests nothing."""
    conditions = _count(wanted, 1)
    if conditions > _MAX_CONDITIONS:
        raise InvalidRequestError(f"the filter has {conditions:,} conditions, {_MAX_CONDITIONS} are accepted")


def qdrant_filter(wanted: Filter, fields: FieldKinds) -> models.Filter | None:
    """Return Qdrant's form of a filter, None where it leaves everything.

    Raises InvalidRequestError naming the field for a condition that does not fit what it holds, or on a field without
    index unless the filter allows it.
    """
    if not _clauses(wanted):
        return None
    return _Translation(fields, wanted.allows_unindexed).group(wanted)


def without_documents(wanted: models.Filter | None, document_ids: tuple[str, ...]) -> models.Filter | None:
    """Return the filter that leaves out these documents, too."""
    if not document_ids:
        return wanted
    theirs = models.FieldCondition(key=PAYLOAD_DOCUMENT_ID, match=models.MatchAny(any=list(document_ids)))
    return models.Filter(must=[wanted] if wanted else None, must_not=[theirs])


def countable_path(name: str, fields: FieldKinds) -> str:
    """Return the payload path of a field whose values can be counted. Raises InvalidRequestError naming those."""
    path = field_path(name)
    if fields.kinds.get(path) not in _COUNTABLE:
        countable = FieldKinds(
            fields.collection, {path: kind for path, kind in fields.kinds.items() if kind in _COUNTABLE}
        )
        raise InvalidRequestError(
            f"the values of field {name!r} of collection {fields.collection!r} cannot be counted; those of these can: "
            f"{countable.told()}"
        )
    return path


def _clauses(wanted: Filter) -> tuple[Clause, ...]:
    return (*wanted.must, *wanted.should, *wanted.must_not)


def _count(wanted: Filter, depth: int) -> int:
    if depth > _MAX_DEPTH:
        raise InvalidRequestError(f"the filter has groups within groups, {_MAX_DEPTH} deep at most; make it flatter")
    total = 0
    for clause in _clauses(wanted):
        inner = clause if isinstance(clause, Filter) else clause.filter if isinstance(clause, Nested) else None
        if inner is not None and not _clauses(inner):
            raise InvalidRequestError("a group of the filter holds no condition; leave it out")
        total += 1 if inner is None else _count(inner, depth + 1)
    return total


@dataclass(frozen=True, slots=True)
class _Translation:
    """One filter on its way. `inside`: the path of the list of objects that conditions are about, if they are."""

    fields: FieldKinds
    allows_unindexed: bool
    inside: str = ""

    def group(self, wanted: Filter) -> models.Filter:
        return models.Filter(
            must=self._all(wanted.must), should=self._all(wanted.should), must_not=self._all(wanted.must_not)
        )

    def _all(self, clauses: tuple[Clause, ...]) -> list[models.Condition] | None:
        return [self._clause(clause) for clause in clauses] or None

    def _clause(self, clause: Clause) -> models.Condition:
        match clause:
            case Filter():
                return self.group(clause)
            case Nested():
                inner = _Translation(self.fields, self.allows_unindexed, f"{self._path(clause.field)}[]")
                key = self._key(clause.field)
                return models.NestedCondition(nested=models.Nested(key=key, filter=inner.group(clause.filter)))
            case Condition():
                return self._condition(clause)

    def _condition(self, condition: Condition) -> models.Condition:
        kind = self.fields.kinds.get(self._path(condition.field))
        if kind is None and not self.allows_unindexed:
            raise self._no_index(condition.field)
        field = _Field(condition.field, self._key(condition.field), kind)
        return _condition(field, condition.test)

    def _key(self, name: str) -> str:
        """What Qdrant calls a field: within an object its path from there."""
        path = field_path(name)
        return path.removeprefix(f"{PAYLOAD_FIELDS}.") if self.inside else path

    def _path(self, name: str) -> str:
        return f"{self.inside}.{self._key(name)}" if self.inside else field_path(name)

    def _no_index(self, name: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"field {name!r} of collection {self.fields.collection!r} has no index to filter by; those that have: "
            f"{self.fields.told()}. To look through all chunks instead, set allows_unindexed (--unindexed)"
        )


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that a condition is about. `kind`: of its index; None where it has none."""

    name: str
    key: str
    kind: str | None

    def require(self, *kinds: str) -> None:
        """Raise InvalidRequestError unless the field is of such a kind, or of none that is known."""
        if self.kind is not None and self.kind not in kinds:
            held, example = _HELD.get(self.kind, (f"values of the kind {self.kind}", "{}=…"))
            raise InvalidRequestError(f"field {self.name!r} holds {held}: {example.replace('{}', self.name)}")


def _condition(field: _Field, test: Test) -> models.Condition:
    match test:
        case Range():
            return _range(field, test)
        case DateRange():
            field.require("datetime")
            return _dates(field, test)
        case AnyOf():
            return _any_of(field, test)
        case Presence():
            return _presence(field, test)
        case _:
            return _equals(field, test)


def _equals(field: _Field, value: str | int | bool) -> models.Condition:
    match value:
        case bool():  # which is an int, too
            field.require("bool")
            return _match(field, value)
        case int():
            return _integer(field, value)
        case _:
            return _text(field, value)


def _match(field: _Field, value: str | int | bool) -> models.FieldCondition:
    return models.FieldCondition(key=field.key, match=models.MatchValue(value=value))


def _text(field: _Field, text: str) -> models.Condition:
    if field.kind == "datetime":
        return _dates(field, DateRange(gte=text, lte=text))
    field.require("keyword", "uuid", "text")
    return _match(field, clean(text))


def _integer(field: _Field, number: int) -> models.Condition:
    if field.kind == "datetime":
        return _dates(field, DateRange(gte=_year(field, number), lte=_year(field, number)))
    if field.kind == "float":
        return models.FieldCondition(key=field.key, range=models.Range(gte=number, lte=number))
    field.require("integer")
    return _match(field, number)


def _any_of(field: _Field, test: AnyOf) -> models.Condition:
    if not 1 <= len(test.values) <= _MAX_VALUES:
        raise InvalidRequestError(
            f"the condition on field {field.name!r} lists {len(test.values):,} values; list 1 to {_MAX_VALUES:,}"
        )
    conditions = [_equals(field, value) for value in test.values]
    if field.kind in ("datetime", "float"):
        return models.Filter(should=conditions)
    values: Any = [clean(value) if isinstance(value, str) else value for value in test.values]
    return models.FieldCondition(key=field.key, match=models.MatchAny(any=values))


def _presence(field: _Field, test: Presence) -> models.Condition:
    is_empty = models.IsEmptyCondition(is_empty=models.PayloadField(key=field.key))
    return is_empty if test.is_missing else models.Filter(must_not=[is_empty])


def _range(field: _Field, test: Range) -> models.Condition:
    bounds = {"gt": test.gt, "gte": test.gte, "lt": test.lt, "lte": test.lte}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if not given or any(map(math.isnan, given.values())):
        raise InvalidRequestError(f"the range for field {field.name!r} needs a bound that is a number")
    if field.kind == "datetime":
        return _dates(field, DateRange(**{name: _year(field, bound) for name, bound in given.items()}))
    field.require("integer", "float")
    return models.FieldCondition(key=field.key, range=models.Range(**given))


def _year(field: _Field, number: float) -> str:
    """The year that is meant where a date is compared with a number, as it is typed: date>=2020."""
    if not 1000 <= number <= 9999 or number != int(number):
        field.require()
    return f"{int(number)}"


def _dates(field: _Field, test: DateRange) -> models.FieldCondition:
    """Days, months and years are meant whole: after one is from its end on, until one is before its end."""
    bounds: dict[str, Any] = {}
    if test.gt:
        after = parse_date(test.gt)
        bounds["gt" if after.is_instant else "gte"] = after.end
    if test.gte:
        bounds["gte"] = max(parse_date(test.gte).start, bounds.get("gte", _FIRST_MOMENT))
    if test.lte:
        until = parse_date(test.lte)
        bounds["lte" if until.is_instant else "lt"] = until.end
    if test.lt:
        bounds["lt"] = min(parse_date(test.lt).start, bounds.get("lt", _LAST_MOMENT))
    if not bounds:
        raise InvalidRequestError(f"the range of dates for field {field.name!r} needs a bound such as 2020-03")
    return models.FieldCondition(key=field.key, range=models.DatetimeRange(**bounds))
