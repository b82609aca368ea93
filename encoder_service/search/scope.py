"""Where a search looks: its collections, and what may be found in each."""

from collections.abc import Sequence
from dataclasses import dataclass

from qdrant_client import models

from encoder_service.search.collections import CollectionFacts
from encoder_service.search.filtering import FieldKinds, qdrant_filter, without_documents
from encoder_service.search.requests import Mode, SearchRequest
from kosearch.errors import ConflictError, InvalidRequestError


@dataclass(frozen=True, slots=True)
class SearchedCollection:
    """One collection of a search. `wanted`: what may be found in it; None: everything."""

    facts: CollectionFacts
    wanted: models.Filter | None

    @property
    def name(self) -> str:
        """The name of the collection in the request."""
        return self.facts.name


def searched_collections(request: SearchRequest, facts: Sequence[CollectionFacts]) -> list[SearchedCollection]:
    """Return the collections of a request in its order.

    Raises ConflictError where they were indexed with different models, InvalidRequestError for a filter that does not
    fit the fields of one.
    """
    first = facts[0]
    for other in facts[1:]:
        if other.fingerprint != first.fingerprint:
            raise ConflictError(
                f"collection {other.name!r} was indexed with {other.model}, {first.name!r} with {first.model}: "
                "embeddings of different models cannot be compared. Search one after the other"
            )
    filters = (qdrant_filter(request.filter, FieldKinds(each.name, each.kinds)) for each in facts)
    return [
        SearchedCollection(each, without_documents(wanted, request.example_ids))
        for each, wanted in zip(facts, filters, strict=True)
    ]


def mode_of(request: SearchRequest, searched: Sequence[SearchedCollection]) -> Mode:
    """Return how to search. Raises ConflictError for a mode that a collection was not indexed for."""
    if request.mode is Mode.LEXICAL and (not request.query.strip() or request.example_ids):
        raise InvalidRequestError(
            "documents are searched like by meaning; choose mode dense or hybrid, or leave it out"
        )
    if not request.query.strip():
        return Mode.DENSE
    wordless = [place.name for place in searched if not place.facts.has_words]
    if request.mode in (Mode.LEXICAL, Mode.HYBRID) and wordless:
        raise ConflictError(
            f"collection {wordless[0]!r} was indexed without words, which mode {request.mode} searches: index its "
            "documents again into a new collection, or choose mode dense"
        )
    return request.mode or (Mode.DENSE if wordless else Mode.HYBRID)
