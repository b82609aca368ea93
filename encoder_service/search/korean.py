"""Korean for the searcher: loaded when the first query asks for it, and never in the way of other calls."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from encoder_service.search.chunk_store import SparseVector
from encoder_service.search.highlighting import Term
from encoder_service.search.requests import Reading

# Kiwi takes 2 us a character, and lets other threads run meanwhile. A change of threads costs as much as a short query.
_SHORT_CHARACTERS = 200


class Analyser(Protocol):
    """Finds words; see kosearch.korean.morphemes."""

    def terms(self, text: str) -> Sequence[Term]:
        """The words of a text with their places."""
        ...

    def query_vector(self, query: str) -> SparseVector:
        """The words of a query with their weights."""
        ...


@dataclass(frozen=True, slots=True)
class AsWritten:
    """A query that nothing was mended in."""

    text: str

    @property
    def lexical_text(self) -> str:
        """The text to take words from."""
        return self.text


class KoreanReader:
    """Reads queries and finds words, with one analyser for all. For the event loop only."""

    def __init__(self, load: Callable[[], Analyser]) -> None:
        """Make a reader; `load` may block for seconds."""
        self._load = load
        self._loaded: Analyser | None = None
        self._loading = asyncio.Lock()

    async def read(self, query: str, reading: Reading) -> AsWritten:
        """Return the query as it was written."""
        del reading
        return AsWritten(query)

    async def query_vector(self, text: str) -> SparseVector:
        """Return the words of a query with their weights; empty where it has none that tell documents apart."""
        analyser = await self._analyser()
        if len(text) <= _SHORT_CHARACTERS:
            return analyser.query_vector(text)
        return await asyncio.to_thread(analyser.query_vector, text)

    async def terms(self, texts: Sequence[str]) -> list[Sequence[Term]]:
        """Return the words of each text with their places."""
        analyser = await self._analyser()
        return await asyncio.to_thread(lambda: [analyser.terms(text) if text else () for text in texts])

    async def _analyser(self) -> Analyser:
        async with self._loading:
            if self._loaded is None:
                self._loaded = await asyncio.to_thread(self._load)
            return self._loaded
