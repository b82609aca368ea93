"""The words of chunks by the newest dictionary, however it changes while they are written.

Nothing is locked. Whoever has written a point's words looks behind himself: at the version of the dictionary, which may
be a newer one, and at the text, which somebody else may have replaced. While either is another one the words are
written again, so that the last ones written are those of the text that is stored, by the dictionary that was there when
they were. Changes after that are brought to the point by their reanalysis, which begins after them.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from kosearch.documents import Chunk
from kosearch.korean.dictionary import Dictionary
from kosearch.korean.kiwi import kiwi_with
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.sparse_vectors import SparseVector
from kosearch.vector_store import PointText

_log = structlog.get_logger()

# For so long a look at the version holds before words are written; behind them there always is another look.
_VALID_S = 1.0
_UNKNOWN = -1


class WordBook(Protocol):
    """The dictionary; see `kosearch.ledger.DictionaryBook`."""

    def version(self) -> int: ...
    def words(self) -> Dictionary: ...


class WordStore(Protocol):
    """Where the words of points are written; see `kosearch.vector_store.VectorStore`."""

    def texts_of(self, collection: str, point_ids: Sequence[str]) -> tuple[PointText, ...]: ...
    def update_words(self, collection: str, point_ids: Sequence[str], vectors: Sequence[SparseVector]) -> None: ...


class Analyser(Protocol):
    """Finds the words of texts."""

    @property
    def signature(self) -> str:
        """Return what a vector depends on beside the text and the dictionary."""

    def document_vector(self, title: str, text: str) -> SparseVector:
        """Return the weights of a chunk's words."""


def load_analyser(dictionary: Dictionary) -> Analyser:
    """Return an analyser that knows the user's words; takes seconds, see `kiwi_with`."""
    return MorphemeAnalyser(kiwi_with(dictionary.words))


class CurrentWords:
    """Finds and corrects the words of points. For one thread."""

    def __init__(
        self,
        book: WordBook,
        store: WordStore,
        load: Callable[[Dictionary], Analyser] = load_analyser,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._store = store
        self._load = load
        self._clock = clock
        self._version = _UNKNOWN
        self._looked_at = 0.0
        self._analyser = load(Dictionary())

    @property
    def signature(self) -> str:
        """Return what a vector depends on beside the text and the dictionary."""
        return self._analyser.signature

    def vectors(self, chunks: Sequence[Chunk]) -> list[SparseVector]:
        """Return the words of chunks. Once these are written, `settle` is to be called."""
        if self._version == _UNKNOWN or self._clock() - self._looked_at >= _VALID_S:
            self.refresh()
        return [self._analyser.document_vector(chunk.document.title, chunk.text) for chunk in chunks]

    def settle(self, collection: str, chunks: Sequence[Chunk]) -> None:
        """Correct the words of chunks that were just written if the dictionary has changed since `vectors`."""
        before = self._version
        if self.refresh() != before:
            self.rewrite(collection, self._store.texts_of(collection, [chunk.point_id for chunk in chunks]))

    def refresh(self) -> int:
        """Look whether the dictionary has changed. Returns its version."""
        version, self._looked_at = self._book.version(), self._clock()
        if version != self._version:
            dictionary = self._book.words()
            self._analyser, self._version = self._load(dictionary), dictionary.version
            _log.info("dictionary.loaded", version=dictionary.version, words=len(dictionary.words))
        return self._version

    def rewrite(self, collection: str, points: Sequence[PointText], check: Callable[[], None] = lambda: None) -> None:
        """Write the words of points that are there. Raises NotFoundError when the collection is not.

        check: called before each write; what it raises ends the work
        """
        rest = points
        while rest:
            version = self._version
            vectors = [self._analyser.document_vector(point.title, point.text) for point in rest]
            ids = [point.id for point in rest]
            check()
            self._store.update_words(collection, ids, vectors)
            written, stored = set(rest), self._store.texts_of(collection, ids)
            is_current = self.refresh() == version
            rest = [point for point in stored if not is_current or point not in written]
