"""Documents and the identifiers of their points."""

import uuid

from hypothesis import given
from hypothesis import strategies as st

from kosearch.documents import Chunk, Document


def point_id(document_id: str, index: int, text: str = "글") -> str:
    """Return the id of a chunk's point."""
    return Chunk(Document(document_id, text), index, text, text).point_id


def test_a_point_id_never_changes() -> None:
    """Collections that were indexed by an earlier version keep matching: this value is part of the format."""
    assert point_id("민법-1", 0) == "dcfaaa9f-6d8c-55cc-b1d0-c9ef7c7d3572"


def test_the_text_does_not_decide_the_point_id() -> None:
    """A corrected document overwrites its own points."""
    assert point_id("a", 3, "옛 글") == point_id("a", 3, "새 글")


@given(
    st.tuples(st.text("01a:", max_size=4), st.integers(0, 200)),
    st.tuples(st.text("01a:", max_size=4), st.integers(0, 200)),
)
def test_different_chunks_have_different_points(one: tuple[str, int], other: tuple[str, int]) -> None:
    """Identifier and place together decide the point, and `a1` at 0 is not `a` at 10."""
    assert (point_id(*one) == point_id(*other)) == (one == other)


def test_a_point_id_is_a_uuid() -> None:
    """Qdrant takes the id as it is."""
    assert uuid.UUID(point_id("x", 0)).version == 5
