"""Which fields of documents can be filtered by, and how."""

from typing import Any

import pytest

from kosearch.documents import Document
from kosearch.field_kinds import FieldKinds


def kind_of(*values: Any) -> str | None:
    """Return the kind of a field that has these values, in one document each."""
    kinds = FieldKinds()
    for number, value in enumerate(values):
        kinds.add(Document(str(number), "글", fields={"field": value}))
    return kinds.types().get("field")


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["민법"], "keyword"),
        ([3], "integer"),
        ([3, 3.5], "float"),
        ([True, None], "bool"),
        (["2020-02-29", "2020-02-29T09:00:00+09:00", "2020-02-29T09:00:00.5Z", "2020-02-29 09:00"], "datetime"),
        (["2020-02-29", "2020-02-29 미정"], "keyword"),
        (["2020-02-30"], "keyword"),
        (["2020-02"], "keyword"),
        ([["가", "나"], "다"], "keyword"),
        ([[1998, 2003], 5], "integer"),
        ([[1, 2.5]], "float"),
        ([["2020-02-29"], "2021-01-01"], "datetime"),
        ([[]], None),
        ([[1, "가"]], None),
        ([[True]], None),
        ([[["가"]]], None),
        ([{"a": 1}], None),
        (["가" * 65], None),
        (["가", "가" * 65, "나"], None),
        ([3, "가"], None),
        ([True, 1], None),
        ([None], None),
    ],
)
def test_values_decide_how_a_field_is_indexed(values: list[Any], kind: str | None) -> None:
    """The kind that holds all of them; none where no index does."""
    assert kind_of(*values) == kind


def test_a_name_that_no_path_leads_to_gets_no_index() -> None:
    """It could not be asked for."""
    kinds = FieldKinds()
    kinds.add(Document("1", "글", fields={'a"b': 1, "c": 2}))
    assert kinds.types() == {"c": "integer"}
