"""Searches for documents, as the measures need them: each document once, at the rank of its best chunk."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, Protocol

import stamina

from kosearch.client import Client
from kosearch.errors import OverloadedError
from kosearch.korean.reading import ReadingOptions
from kosearch.search_client import SearchOptions

# What is compared: the modes of search, and hybrid with reranking.
EvaluatedMode = Literal["dense", "lexical", "hybrid", "reranked"]

# As many as the service takes for a page of ten.
_RERANKED = 20
# A few at once keep the service busy; more would only queue there.
_SEARCHES_AT_ONCE = 4
_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class FoundDocument:
    """A document among the hits, with title and text of its best chunk."""

    id: str
    title: str
    text: str


class SearchDocuments(Protocol):
    """Finds at most `top_k` documents for a query, best first, none twice."""

    def __call__(self, query: str, mode: EvaluatedMode, top_k: int) -> list[FoundDocument]:
        """Search."""


class ClientSearch:
    """SearchDocuments in a collection of the running service; `reading`: what it makes of a query, None: all it can."""

    def __init__(self, client: Client, collection: str, reading: ReadingOptions | None = None) -> None:
        self._client = client
        self._collection = collection
        self._reading = reading

    def __call__(self, query: str, mode: EvaluatedMode, top_k: int) -> list[FoundDocument]:
        """Search; a busy service is asked again."""
        options = SearchOptions(
            mode="hybrid" if mode == "reranked" else mode,
            rerank=_RERANKED if mode == "reranked" else None,
            chunks_per_document=1,
            reading=self._reading,
        )
        for attempt in stamina.retry_context(on=OverloadedError, attempts=_ATTEMPTS, timeout=None):
            with attempt:
                hits = self._client.search(query, self._collection, top_k, (), options)
                return [FoundDocument(hit.id, hit.title, hit.text) for hit in hits]
        raise AssertionError("the last attempt raises")


def search_all(
    search: SearchDocuments,
    queries: Sequence[str],
    mode: EvaluatedMode,
    top_k: int,
    advance: Callable[[], None] = lambda: None,
) -> list[list[FoundDocument]]:
    """Search for every query. Returns the documents in the order of the queries; `advance` is called after each."""

    def one(query: str) -> list[FoundDocument]:
        found = search(query, mode, top_k)
        advance()
        return found

    with ThreadPoolExecutor(_SEARCHES_AT_ONCE) as pool:
        return list(pool.map(one, queries))
