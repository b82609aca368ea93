"""Conditions as Qdrant wants them, checked against the fields of the collection."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import models

from encoder_service.search.dates import parse_date
from encoder_service.search.filtering import FieldKinds, check_filter, qdrant_filter
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

FIELDS = FieldKinds(
    "laws",
    {
        "document_id": "keyword",
        "fields.law": "keyword",
        "fields.year": "integer",
        "fields.rating": "float",
        "fields.open": "bool",
        "fields.date": "datetime",
        "fields.parts[].name": "keyword",
        "fields.parts[].sub[].n": "integer",
        'fields."a.b"': "integer",
    },
)
NOW = datetime(2020, 3, 1, 9, tzinfo=UTC)


def translated(*must: Clause, **more: Any) -> models.Filter:
    found = qdrant_filter(Filter(must=must, **more), FIELDS)
    assert found is not None
    return found


def of(field: str, test: Test) -> Any:
    """Return what becomes of one condition."""
    (condition,) = translated(Condition(field, test)).must or []
    return condition


class TestTranslation:
    """What is asked of Qdrant."""

    def test_no_condition_is_no_filter(self) -> None:
        """Everything may be found."""
        assert qdrant_filter(Filter(), FIELDS) is None

    @pytest.mark.parametrize(("field", "value"), [("open", True), ("year", 1), ("law", "1")])
    def test_a_truth_value_is_not_a_number_nor_a_text(self, field: str, value: Any) -> None:
        """True is no 1."""
        found = of(field, value).match.value
        assert (type(found), found) == (type(value), value)

    def test_a_number_with_a_fraction_is_compared_as_one(self) -> None:
        """Qdrant's equality is for integers only."""
        assert of("rating", 8).range == models.Range(gte=8, lte=8)

    def test_a_name_with_a_dot_is_one_name(self) -> None:
        """It does not lead into an object."""
        assert of("a.b", 1).key == 'fields."a.b"'

    def test_all_three_kinds_of_groups(self) -> None:
        """Each where it belongs, groups within groups."""
        a, b = Condition("year", 1), Condition("year", 2)
        found = translated(a, should=(b,), must_not=(Filter(should=(a, b)),))
        (group,) = found.must_not or []  # type: ignore[misc]
        assert [len(part or []) for part in (found.must, found.should, group.should)] == [1, 1, 2]

    def test_what_belongs_to_one_object(self) -> None:
        """Paths within are those of the object; an object within an object, too."""
        inner = Nested(
            "parts", Filter(must=(Condition("name", "바퀴"), Nested("sub", Filter(must=(Condition("n", 1),)))))
        )
        (nested,) = translated(inner).must or []  # type: ignore[misc]
        name, sub = nested.nested.filter.must
        assert (nested.nested.key, name.key, sub.nested.key) == ("fields.parts", "name", "sub")
        assert sub.nested.filter.must[0].key == "n"

    def test_missing_and_present(self) -> None:
        """One is the opposite of the other."""
        missing, present = of("law", Presence(is_missing=True)), of("law", Presence(is_missing=False))
        assert missing.is_empty.key == "fields.law"
        assert present == models.Filter(must_not=[missing])

    def test_one_of_several(self) -> None:
        """Texts and integers at once, other numbers and dates one by one."""
        assert of("law", AnyOf(("가", "나"))).match == models.MatchAny(any=["가", "나"])
        assert of("year", AnyOf((1, 2))).match == models.MatchAny(any=[1, 2])
        assert [each.range.gte for each in of("rating", AnyOf((1, 2))).should] == [1, 2]
        assert len(of("date", AnyOf(("2020", "2021-03"))).should) == 2

    def test_fields_without_index_are_searched_where_that_is_allowed(self) -> None:
        """As what the value is."""
        found = translated(Condition("colour", "red"), Condition("size", Range(gt=1)), allows_unindexed=True)
        assert [each.key for each in found.must or []] == ["fields.colour", "fields.size"]  # type: ignore[union-attr]


class TestDates:
    """Days, months and years are meant whole."""

    @pytest.mark.parametrize(
        ("test", "bounds"),
        [
            ("2020-03-01", {"gte": datetime(2020, 3, 1, tzinfo=UTC), "lt": datetime(2020, 3, 2, tzinfo=UTC)}),
            ("2020-12", {"gte": datetime(2020, 12, 1, tzinfo=UTC), "lt": datetime(2021, 1, 1, tzinfo=UTC)}),
            (2020, {"gte": datetime(2020, 1, 1, tzinfo=UTC), "lt": datetime(2021, 1, 1, tzinfo=UTC)}),
            ("2020-03-01T09:00:00Z", {"gte": NOW, "lte": NOW}),
            (DateRange(gt="2020"), {"gte": datetime(2021, 1, 1, tzinfo=UTC)}),
            (DateRange(gte="2020"), {"gte": datetime(2020, 1, 1, tzinfo=UTC)}),
            (DateRange(lt="2020"), {"lt": datetime(2020, 1, 1, tzinfo=UTC)}),
            (DateRange(lte="2020"), {"lt": datetime(2021, 1, 1, tzinfo=UTC)}),
            (DateRange(gt="2020-03-01T09:00:00"), {"gt": NOW}),
            (DateRange(lte="2020-03-01T18:00:00+09:00"), {"lte": NOW}),
            (DateRange(gt="2019", gte="2020-03"), {"gte": datetime(2020, 3, 1, tzinfo=UTC)}),
            (DateRange(lt="2020", lte="2018"), {"lt": datetime(2019, 1, 1, tzinfo=UTC)}),
            (
                Range(gt=2019, lte=2020),
                {"gte": datetime(2020, 1, 1, tzinfo=UTC), "lt": datetime(2021, 1, 1, tzinfo=UTC)},
            ),
        ],
    )
    def test_bounds(self, test: Test, bounds: dict[str, datetime]) -> None:
        """Without a time zone they are UTC."""
        assert of("date", test).range == models.DatetimeRange(**bounds)

    def test_the_last_year_ends_somewhere(self) -> None:
        """Nothing is after it, all is until it."""
        assert of("date", DateRange(gt="9999")).range.gte.year == 9999
        assert of("date", DateRange(lte="9999")).range.lt.year == 9999

    @pytest.mark.parametrize(
        "written",
        ["2020-02-30", "2020-13", "0000", "20", "2020-3-1", "어제", "2020-03-01T25:00", "2020-03-01T09", "٢٠٢٠", "",
         "0001-01-01T00:00:00+09:00"],
    )  # fmt: skip
    def test_what_is_no_date_is_refused_with_examples(self, written: str) -> None:
        """The message shows how to write one."""
        with pytest.raises(InvalidRequestError, match="2020-03"):
            parse_date(written)

    @given(st.dates())
    def test_every_day_is_a_day(self, day: Any) -> None:
        """It begins at midnight and ends with the next."""
        period = parse_date(day.isoformat())
        assert period.start.date() == day
        assert period.end - period.start <= timedelta(days=1)

    @given(st.text())
    def test_no_text_crashes_the_reader(self, written: str) -> None:
        """A date or a refusal."""
        with suppress(InvalidRequestError):
            parse_date(written)


class TestRefusals:
    """What does not fit is refused with what would."""

    @pytest.mark.parametrize(
        ("field", "test", "advice"),
        [
            ("year", "2020", r"holds integers: year>=8"),
            ("year", True, r"holds integers"),
            ("year", DateRange(gte="2020"), r"holds integers"),
            ("law", 3, r'holds texts: law=민법 or, for digits, law="2023"'),
            ("law", Range(gt=1), r"holds texts"),
            ("law", AnyOf((1, 2)), r"holds texts"),
            ("open", 1, r"holds truth values: open=true"),
            ("open", "true", r"holds truth values"),
            ("rating", "8", r"holds numbers: rating>=8.5"),
            ("date", True, r"holds dates: date>=2020-01"),
            ("date", 3, r"holds dates"),
            ("date", Range(gte=2020.5), r"holds dates"),
            ("date", Range(gte=float("inf")), r"holds dates"),
            ("date", "어제", r"is no date"),
            ("date", DateRange(), r"needs a bound"),
            ("year", Range(), r"needs a bound"),
            ("year", Range(gt=float("nan")), r"needs a bound"),
            ("law", AnyOf(()), r"lists 0 values"),
            ("law", AnyOf(("a",) * 1001), r"lists 1,001 values"),
            ("colour", "red", r"'colour' of collection 'laws' has no index.*date \(dates\), law \(texts\)"),
            ("", "red", r"no field to filter by"),
            ('a"b', "red", r"no field to filter by"),
            ("document_id", "x", r"has no index"),
        ],
    )
    def test_what_does_not_fit(self, field: str, test: Test, advice: str) -> None:
        """Kind of the field, and an example."""
        with pytest.raises(InvalidRequestError, match=advice):
            of(field, test)

    def test_too_many_conditions(self) -> None:
        """Groups do not hide them."""
        leaf = Condition("year", 1)
        check_filter(Filter(must=(leaf,) * 32, should=(Filter(must=(leaf,) * 32),)))
        with pytest.raises(InvalidRequestError, match="65 conditions"):
            check_filter(Filter(must=(leaf,) * 33, should=(Filter(must=(leaf,) * 32),)))

    def test_too_deep(self) -> None:
        """Five groups within each other."""
        wanted = Filter(must=(Condition("year", 1),))
        for _ in range(4):
            wanted = Filter(must=(wanted,))
        check_filter(wanted)
        with pytest.raises(InvalidRequestError, match="5 deep"):
            check_filter(Filter(must_not=(wanted,)))

    @pytest.mark.parametrize("empty", [Filter(), Nested("parts", Filter())])
    def test_a_group_of_nothing(self, empty: Clause) -> None:
        """It would mean everything in one place and nothing in another."""
        with pytest.raises(InvalidRequestError, match="no condition"):
            check_filter(Filter(must_not=(empty,)))
