"""Filters as people type them."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kosearch.errors import InvalidRequestError
from kosearch.filters import parse_filter
from protos.kosearch.v1 import search_pb2


def any_of(field: str, **values: Any) -> search_pb2.Condition:
    return search_pb2.Condition(field=field, any_of=search_pb2.Values(**values))


def negated(condition: search_pb2.Condition) -> search_pb2.Condition:
    return search_pb2.Condition(filter=search_pb2.Filter(must_not=[condition]))


@pytest.mark.parametrize(
    ("typed", "condition"),
    [
        ("law=민법", search_pb2.Condition(field="law", keyword="민법")),
        ("law = 민법 ", search_pb2.Condition(field="law", keyword="민법")),
        ("url=https://a.kr/?x=1", search_pb2.Condition(field="url", keyword="https://a.kr/?x=1")),
        ("year=2023", search_pb2.Condition(field="year", integer=2023)),
        ("year=-1", search_pb2.Condition(field="year", integer=-1)),
        ('year="2023"', search_pb2.Condition(field="year", keyword="2023")),
        ('note=""', search_pb2.Condition(field="note", keyword="")),
        ('note="', search_pb2.Condition(field="note", keyword='"')),
        ("rating=4.5", search_pb2.Condition(field="rating", range=search_pb2.Range(gte=4.5, lte=4.5))),
        ("open=true", search_pb2.Condition(field="open", boolean=True)),
        ("open=false", search_pb2.Condition(field="open", boolean=False)),
        ('open="true"', search_pb2.Condition(field="open", keyword="true")),
        ("rating>=8", search_pb2.Condition(field="rating", range=search_pb2.Range(gte=8))),
        ("rating>8.5", search_pb2.Condition(field="rating", range=search_pb2.Range(gt=8.5))),
        ("rating <= -8", search_pb2.Condition(field="rating", range=search_pb2.Range(lte=-8))),
        ("rating<8", search_pb2.Condition(field="rating", range=search_pb2.Range(lt=8))),
        ("date>=2020-01", search_pb2.Condition(field="date", dates=search_pb2.DateRange(gte="2020-01"))),
        ("date<2020-01-31", search_pb2.Condition(field="date", dates=search_pb2.DateRange(lt="2020-01-31"))),
        (
            "date<=2020-01-31T09:00:00+09:00",
            search_pb2.Condition(field="date", dates=search_pb2.DateRange(lte="2020-01-31T09:00:00+09:00")),
        ),
        ("date>2020", search_pb2.Condition(field="date", range=search_pb2.Range(gt=2020))),
        ("law=민법|상법", any_of("law", keywords=["민법", "상법"])),
        ("law=민법 | 상법", any_of("law", keywords=["민법", "상법"])),
        ("law=민법|12", any_of("law", keywords=["민법", "12"])),
        ('law="민법|상법"', search_pb2.Condition(field="law", keyword="민법|상법")),
        ('law="민법|상법"|형법', any_of("law", keywords=["민법|상법", "형법"])),
        ("law=민법|", search_pb2.Condition(field="law", keyword="민법|")),
        ("year=2020|2021", any_of("year", integers=[2020, 2021])),
        ('year="2020"|"2021"', any_of("year", keywords=["2020", "2021"])),
        ("law!=민법", negated(search_pb2.Condition(field="law", keyword="민법"))),
        ("year != 2020|2021", negated(any_of("year", integers=[2020, 2021]))),
    ],
)
def test_what_is_typed_becomes_a_condition(typed: str, condition: search_pb2.Condition) -> None:
    """Operator and form of the value decide the kind of the condition."""
    assert parse_filter(typed) == condition


@pytest.mark.parametrize(
    "typed", ["", "law", "=민법", "law=", ">=8", "  ", "rating>=많이", "rating>", "law!=", "!=민법"]
)
def test_what_is_no_condition_is_refused_with_itself_in_the_message(typed: str) -> None:
    """The message shows what was typed."""
    with pytest.raises(InvalidRequestError, match="--filter"):
        parse_filter(typed)


def test_a_filter_matches_values_as_they_are_stored() -> None:
    """A value in decomposed form finds the composed one that is stored."""
    assert parse_filter(unicodedata.normalize("NFD", "법=민법")) == parse_filter("법=민법")


@given(st.integers(min_value=-(10**18) + 1, max_value=10**18 - 1))
def test_every_integer_stays_itself(value: int) -> None:
    """No digit of an integer is lost."""
    assert parse_filter(f"n={value}").integer == value


@given(st.text())
def test_no_text_crashes_the_parser(typed: str) -> None:
    """Anything typed is a condition or a clear refusal."""
    try:
        condition = parse_filter(typed)
    except InvalidRequestError:
        return
    (inner,) = condition.filter.must_not or [condition]
    assert inner.field
    assert inner.WhichOneof("test")
