"""Filters."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import qdrant_edge as edge
from google.protobuf.timestamp_pb2 import Timestamp
from numpy import bool_
from qdrant_client import grpc as pb

from standalone.store.errors import InvalidArgumentError, UnsupportedError
from standalone.store.translation.support import require_supported
from standalone.store.translation.values import point_id_from_pb

_FIELD_CONDITION = frozenset({"key", "match", "range", "values_count", "datetime_range", "is_empty", "is_null"})
_FILTER = frozenset({"must", "should", "must_not", "min_should"})
_BOUNDS = ("lt", "gt", "gte", "lte")


def filter_from_pb(message: pb.Filter) -> edge.Filter:
    """Return the filter. Raises InvalidArgumentError on an empty condition, UnsupportedError on one we do not have."""
    require_supported(message, _FILTER)
    return edge.Filter(
        must=_conditions(message.must),
        should=_conditions(message.should),
        must_not=_conditions(message.must_not),
        min_should=_min_should(message.min_should) if message.HasField("min_should") else None,
    )


def _conditions(messages: Iterable[pb.Condition]) -> list[Any] | None:
    return [_condition(message) for message in messages] or None


def _min_should(message: pb.MinShould) -> edge.MinShould:
    return edge.MinShould(_conditions(message.conditions) or [], message.min_count)


def _condition(message: pb.Condition) -> Any:
    kind = message.WhichOneof("condition_one_of")
    if kind is None:
        # The server takes it as true; it may as well be a kind of condition newer than ours.
        raise InvalidArgumentError("Wrong input: a filter holds an empty condition")
    if kind not in _CONDITIONS:
        raise UnsupportedError(f"the filter condition `{kind}`")
    return _CONDITIONS[kind](getattr(message, kind))


def _field_condition(message: pb.FieldCondition) -> edge.FieldCondition:
    require_supported(message, _FIELD_CONDITION)
    if message.HasField("range") and message.HasField("datetime_range"):
        raise UnsupportedError("`range` and `datetime_range` in one condition: make two of it")
    condition: dict[str, Any] = {}
    if message.HasField("match"):
        condition["match"] = _match(message.match)
    if message.HasField("range"):
        condition["range"] = edge.RangeFloat(**_bounds(message.range))
    if message.HasField("datetime_range"):
        condition["range"] = edge.RangeDateTime(**_datetime_bounds(message.datetime_range))
    if message.HasField("values_count"):
        condition["values_count"] = edge.ValuesCount(**_bounds(message.values_count))
    if message.HasField("is_empty"):
        condition["is_empty"] = message.is_empty
    if message.HasField("is_null"):
        condition["is_null"] = message.is_null
    if not condition:
        raise InvalidArgumentError(
            f"Validation error in body: [filter: the condition on `{message.key}` says nothing: "
            "at least one field condition must be specified]"
        )
    return edge.FieldCondition(message.key, **condition)


def _match(message: pb.Match) -> Any:
    kind = message.WhichOneof("match_value")
    if kind is None:
        raise InvalidArgumentError("Wrong input: a filter holds an empty match")
    if kind not in _MATCHES:
        raise UnsupportedError(f"the match `{kind}`")
    return _MATCHES[kind](getattr(message, kind))


def _bounds(message: pb.Range | pb.ValuesCount) -> dict[str, Any]:
    return {name: getattr(message, name) for name in _BOUNDS if message.HasField(name)}  # type: ignore[arg-type]  # stub lists the names as literals


def _datetime_bounds(message: pb.DatetimeRange) -> dict[str, str]:
    return {name: _rfc3339(getattr(message, name)) for name in _BOUNDS if message.HasField(name)}  # type: ignore[arg-type]  # as above


def _rfc3339(timestamp: Timestamp) -> str:
    try:
        return timestamp.ToJsonString()
    except ValueError as error:
        raise InvalidArgumentError(f"Wrong input: {error}") from error


_CONDITIONS: Mapping[str, Callable[[Any], Any]] = {
    "field": _field_condition,
    "filter": filter_from_pb,
    "has_id": lambda message: edge.HasIdCondition({point_id_from_pb(point_id) for point_id in message.has_id}),
    "is_empty": lambda message: edge.IsEmptyCondition(message.key),
    "is_null": lambda message: edge.IsNullCondition(message.key),
    "nested": lambda message: edge.NestedCondition(message.key, filter_from_pb(message.filter)),
    "has_vector": lambda message: edge.HasVectorCondition(message.has_vector),
}
_MATCHES: Mapping[str, Callable[[Any], Any]] = {
    "keyword": edge.MatchValue,
    "integer": edge.MatchValue,
    # Edge 0.9 takes a Python bool for an integer and then finds nothing; numpy's it takes for a bool.
    "boolean": lambda value: edge.MatchValue(bool_(value)),  # type: ignore[arg-type]
    "keywords": lambda repeated: edge.MatchAny(list(repeated.strings)),
    "integers": lambda repeated: edge.MatchAny(list(repeated.integers)),
    "except_keywords": lambda repeated: edge.MatchExcept(list(repeated.strings)),
    "except_integers": lambda repeated: edge.MatchExcept(list(repeated.integers)),
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
}
