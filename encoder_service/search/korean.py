"""Korean for the searcher: loaded beside the first calls, and never in the way of others."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from encoder_service.search.ports import ReadQuery
from kosearch.korean.morphemes import Term
from kosearch.korean.plausibility import Morpheme
from kosearch.korean.reading import ReadingOptions
from kosearch.sparse_vectors import SparseVector

T = TypeVar("T")

# What is typed takes less than a millisecond, hardly more than a change of threads; a hostile text of this length
# takes three. Kiwi lets other threads run meanwhile.
_SHORT_CHARACTERS = 64


class Reader(Protocol):
    """Reads queries; see kosearch.korean.reading."""

    def read(self, query: str, options: ReadingOptions) -> ReadQuery:
        """Return the query as its writer meant it."""
        ...


class Analyser(Protocol):
    """Finds words; see kosearch.korean.morphemes."""

    def terms(self, text: str) -> Sequence[Term]:
        """Return the words of a text with their places."""
        ...

    def query_vector(self, query: str, found: Sequence[Morpheme] | None) -> SparseVector:
        """Return the words of a query, found already or not, with their weights."""
        ...


@dataclass(frozen=True, slots=True)
class Linguists:
    """Who is asked, once loaded."""

    reader: Reader
    analyser: Analyser


class LoadedKorean:
    """Reads queries and finds words. For the event loop only."""

    def __init__(self, load: Callable[[], Linguists]) -> None:
        """Make it; `load` may block for seconds."""
        self._load = load
        self._linguists: Linguists | None = None
        self._loading = asyncio.Lock()

    async def load(self) -> Linguists:
        """Load what is needed, unless that was done before."""
        async with self._loading:
            if self._linguists is None:
                self._linguists = await asyncio.to_thread(self._load)
            return self._linguists

    def use(self, linguists: Linguists) -> None:
        """Ask others from now on."""
        self._linguists = linguists

    async def read(self, query: str, options: ReadingOptions) -> ReadQuery:
        """Return a normalised query as its writer meant it."""
        reader = (await self.load()).reader
        return await _aside(query, lambda: reader.read(query, options))

    async def query_vector(self, query: ReadQuery) -> SparseVector:
        """Return the words of a query with their weights; empty where it has none that tell documents apart."""
        analyser = (await self.load()).analyser
        if query.morphemes is not None:  # the longest part is done
            return analyser.query_vector(query.lexical_text, query.morphemes)
        return await _aside(query.lexical_text, lambda: analyser.query_vector(query.lexical_text, None))

    async def terms(self, texts: Sequence[str]) -> list[Sequence[Term]]:
        """Return the words of each text with their places."""
        analyser = (await self.load()).analyser
        return await asyncio.to_thread(lambda: [analyser.terms(text) if text else () for text in texts])


async def _aside(text: str, work: Callable[[], T]) -> T:
    """Do what takes long for a long text in a thread."""
    return work() if len(text) <= _SHORT_CHARACTERS else await asyncio.to_thread(work)
