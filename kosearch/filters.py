"""Filters as people type them: `law=민법`, `rating>=8`, `open=true`, `year="2023"`."""

import re

from kosearch.errors import InvalidRequestError
from kosearch.text import clean
from protos.kosearch.v1 import search_pb2

_EXPRESSION = re.compile(r"(?P<field>[^<>=]+?)\s*(?P<operator>>=|<=|=|>|<)\s*(?P<value>.+)", re.DOTALL)
_BOUNDS = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}
_INTEGER = re.compile(r"-?\d{1,18}")
_DECIMAL = re.compile(r"-?\d+\.\d+")


def parse_filter(expression: str) -> search_pb2.Condition:
    """Return the condition. Raises InvalidRequestError when it is none."""
    match = _EXPRESSION.fullmatch(clean(expression))
    if match is None:
        raise InvalidRequestError(
            f'--filter {expression!r} is no condition; write field=value, field="text" or field>=number'
        )
    field, operator, value = match["field"], match["operator"], match["value"]
    if operator == "=":
        return _equals(field, value)
    try:
        return search_pb2.Condition(field=field, range=search_pb2.Range(**{_BOUNDS[operator]: float(value)}))
    except ValueError:
        raise InvalidRequestError(f"--filter {expression!r}: {value!r} is not a number") from None


def _equals(field: str, value: str) -> search_pb2.Condition:
    if len(value) >= 2 and value[0] == value[-1] == '"':
        return search_pb2.Condition(field=field, keyword=value[1:-1])
    if value in ("true", "false"):
        return search_pb2.Condition(field=field, boolean=value == "true")
    if _INTEGER.fullmatch(value):
        return search_pb2.Condition(field=field, integer=int(value))
    if _DECIMAL.fullmatch(value):
        return search_pb2.Condition(field=field, range=search_pb2.Range(gte=float(value), lte=float(value)))
    return search_pb2.Condition(field=field, keyword=value)
