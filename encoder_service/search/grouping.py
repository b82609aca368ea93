"""What stands together in a list of hits: the chunks of a document, or each chunk for itself."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from encoder_service.search.fusion import Candidate

# What counts as one on a page. Never empty.
Group: TypeAlias = tuple[Candidate, ...]


def each_alone(candidates: Sequence[Candidate]) -> list[Group]:
    """Return the candidates as they come."""
    return [(candidate,) for candidate in candidates]


def by_document(
    candidates: Sequence[Candidate], document_of: Callable[[Candidate], str], chunks_per_document: int
) -> list[Group]:
    """Return documents in the order of their first candidates, each with so many of its candidates at most."""
    documents: dict[tuple[int, str], list[Candidate]] = {}
    for candidate in candidates:
        # The same document may be in two collections, and be two.
        document = documents.setdefault((candidate.key.collection, document_of(candidate)), [])
        if len(document) < chunks_per_document:
            document.append(candidate)
    return [tuple(document) for document in documents.values()]


def by_collection(candidates: Sequence[Candidate]) -> dict[int, list[str]]:
    """Return the point ids of candidates by the place of their collection in the request."""
    point_ids: dict[int, list[str]] = {}
    for candidate in candidates:
        point_ids.setdefault(candidate.key.collection, []).append(candidate.key.point_id)
    return point_ids
