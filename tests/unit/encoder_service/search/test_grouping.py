"""Chunks of a document together."""

from hypothesis import given
from hypothesis import strategies as st

from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.grouping import by_collection, by_document, each_alone

CANDIDATES = st.lists(
    st.builds(PointKey, st.text("abc", min_size=2, max_size=4), st.integers(0, 1)), unique=True, max_size=30
).map(lambda keys: [Candidate(key, 1 - place / 100) for place, key in enumerate(keys)])


def document_of(candidate: Candidate) -> str:
    """The first letter of a point is its document."""
    return candidate.key.point_id[0]


@given(CANDIDATES, st.integers(1, 10))
def test_documents_come_by_their_best_chunk(candidates: list[Candidate], most: int) -> None:
    """Each once, with its best chunks in their order, and none of another one between."""
    groups = by_document(candidates, document_of, most)
    names = [{(each.key.collection, document_of(each)) for each in group} for group in groups]
    assert all(len(name) == 1 for name in names)
    assert len({name for [name] in names}) == len(groups)
    assert [group[0].score for group in groups] == sorted((group[0].score for group in groups), reverse=True)
    for group in groups:
        of_document = [
            each
            for each in candidates
            if (each.key.collection, document_of(each)) == (group[0].key.collection, document_of(group[0]))
        ]
        assert list(group) == of_document[:most]


@given(CANDIDATES)
def test_chunks_as_they_come(candidates: list[Candidate]) -> None:
    """Each for itself."""
    assert [each for (each,) in each_alone(candidates)] == candidates


@given(CANDIDATES)
def test_points_of_each_collection(candidates: list[Candidate]) -> None:
    """All of them, in their order."""
    parts = by_collection(candidates)
    found = [PointKey(point_id, place) for place, ids in parts.items() for point_id in ids]
    assert sorted(found) == sorted(candidate.key for candidate in candidates)
