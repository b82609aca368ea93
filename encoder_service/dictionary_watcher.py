"""Has the searches of a running service use the newest dictionary."""

import asyncio
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import structlog

from kosearch.errors import UnavailableError
from kosearch.korean.dictionary import Dictionary

T = TypeVar("T")

_log = structlog.get_logger()

_PAUSE_S = 2.0
# Of the time that it took to load a dictionary: the interpreter is held meanwhile, and calls wait. So they wait for a
# tenth of the time at most, however often the dictionary changes.
_RESTS = 9.0


class Book(Protocol):
    """The dictionary; see `kosearch.ledger.DictionaryBook`."""

    def version(self) -> int: ...
    def words(self) -> Dictionary: ...


class DictionaryWatcher(Generic[T]):
    """Makes what depends on the dictionary, and makes it anew when that has changed.

    make: may block for seconds
    """

    def __init__(self, book: Book, make: Callable[[Dictionary], T], pause_s: float = _PAUSE_S) -> None:
        self._book = book
        self._make = make
        self._pause_s = pause_s
        self._version: int | None = None
        self._rest_s = 0.0

    def load(self) -> T:
        """Make it from the newest dictionary; from the empty one, for now, while the ledger is away. Blocks."""
        try:
            return self._make_newest()
        except UnavailableError as error:
            _log.warning("dictionary.not_read", error=str(error))
            return self._make(Dictionary())

    async def watch(self, use: Callable[[T], None]) -> None:
        """Hand over what is made from each newer dictionary, until cancelled. A ledger that is away is asked again."""
        while True:
            await asyncio.sleep(self._pause_s)
            made = await asyncio.to_thread(self._make_newer)
            if made is not None:
                use(made)
                await asyncio.sleep(self._rest_s)

    def _make_newer(self) -> T | None:
        try:
            return None if self._book.version() == self._version else self._make_newest()
        except UnavailableError:
            return None

    def _make_newest(self) -> T:
        dictionary = self._book.words()
        started = time.monotonic()
        made = self._make(dictionary)
        took_s = time.monotonic() - started
        self._version, self._rest_s = dictionary.version, took_s * _RESTS
        _log.info("dictionary.loaded", version=dictionary.version, words=len(dictionary.words), took_s=round(took_s, 3))
        return made
