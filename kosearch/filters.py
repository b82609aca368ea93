"""Filters as people type them: `law=민법`, `law!=민법|상법`, `rating>=8`, `open=true`, `date>=2020-01`, `no="12"`."""

import re

from kosearch.errors import InvalidRequestError
from kosearch.text import clean
from protos.kosearch.v1 import search_pb2

_EXPRESSION = re.compile(r"(?P<field>[^!<>=]+?)\s*(?P<operator>!=|>=|<=|=|>|<)\s*(?P<value>.+)", re.DOTALL)
_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DECIMAL = re.compile(r"-?\d+\.\d+", re.ASCII)
# A year alone looks like any number; the service takes it for a year where the field holds dates.
_DATE = re.compile(r"\d{4}-\d{2}(-\d{2}([Tt ]\d{2}:\d{2}.*)?)?", re.ASCII)
_ALTERNATIVE = re.compile(r'"[^"]*"|[^|]*')


def parse_filter(expression: str) -> search_pb2.Condition:
    """Return the condition. Raises InvalidRequestError when it is none."""
    match = _EXPRESSION.fullmatch(clean(expression))
    if match is None:
        raise InvalidRequestError(
            f"--filter {expression!r} is no condition; write field=value, field=one|other, field!=value, "
            'field="text" or field>=number'
        )
    field, operator, value = match["field"], match["operator"], match["value"]
    if operator == "=":
        return _equals(field, value)
    if operator == "!=":
        return search_pb2.Condition(filter=search_pb2.Filter(must_not=[_equals(field, value)]))
    if _DATE.fullmatch(value):
        return search_pb2.Condition(field=field, dates=search_pb2.DateRange(**{_BOUNDS[operator]: value}))
    try:
        return search_pb2.Condition(field=field, range=search_pb2.Range(**{_BOUNDS[operator]: float(value)}))
    except ValueError:
        raise InvalidRequestError(f"--filter {expression!r}: {value!r} is neither a number nor a date") from None


def _equals(field: str, value: str) -> search_pb2.Condition:
    values = _alternatives(value)
    if len(values) > 1:
        return _any_of(field, values)
    if _is_quoted(value):
        return search_pb2.Condition(field=field, keyword=value[1:-1])
    if value in ("true", "false"):
        return search_pb2.Condition(field=field, boolean=value == "true")
    if _INTEGER.fullmatch(value):
        return search_pb2.Condition(field=field, integer=int(value))
    if _DECIMAL.fullmatch(value):
        return search_pb2.Condition(field=field, range=search_pb2.Range(gte=float(value), lte=float(value)))
    return search_pb2.Condition(field=field, keyword=value)


def _any_of(field: str, values: list[str]) -> search_pb2.Condition:
    if all(map(_INTEGER.fullmatch, values)):
        return search_pb2.Condition(field=field, any_of=search_pb2.Values(integers=map(int, values)))
    keywords = [value[1:-1] if _is_quoted(value) else value for value in values]
    return search_pb2.Condition(field=field, any_of=search_pb2.Values(keywords=keywords))


def _alternatives(value: str) -> list[str]:
    """What stands between bars; one in quotes is a text like any other. Only the value itself where one is empty."""
    values, place = [], 0
    while True:
        found = _ALTERNATIVE.match(value, place)
        assert found is not None  # it matches the empty text
        values.append(found[0].strip())
        place = found.end()
        if place == len(value):
            return values if all(values) else [value]
        if value[place] != "|":  # a quote within
            return [value]
        place += 1


def _is_quoted(value: str) -> bool:
    return len(value) >= 2 and value[0] == value[-1] == '"'
