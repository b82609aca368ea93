"""Brings a change of the dictionary to a collection: the points whose texts hold a changed word get their words anew.

Page by page in the order of the ids, so that whoever takes over goes on where the last one stood. Embeddings, payloads
and what the ledger knows of the documents stay as they are.
"""

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import structlog

from indexer_worker.worker import KeepLease, Lease
from kosearch.errors import KosearchError, LeaseLostError, NotFoundError, OverloadedError, UnavailableError
from kosearch.korean.dictionary import FormFinder
from kosearch.ledger import DictionaryBook
from kosearch.reanalyses import Reanalysis
from kosearch.settings import WorkerSettings
from kosearch.vector_store import PointText, TextPage

_log = structlog.get_logger()

_PAGE_POINTS = 1_000
_AWAY = (UnavailableError, OverloadedError)


class TextStore(Protocol):
    """Where the texts of points are."""

    def texts_from(self, collection: str, first: str, limit: int) -> TextPage:
        """Return points from an id on. Raises NotFoundError."""


class Words(Protocol):
    """Writes words; see `indexer_worker.words.CurrentWords`."""

    def refresh(self) -> int: ...
    def rewrite(self, collection: str, points: Sequence[PointText], check: Callable[[], None]) -> None: ...


class Reanalyser:
    """Does reanalyses, one at a time."""

    def __init__(
        self,
        book: DictionaryBook,
        store: TextStore,
        words: Words,
        keep_lease: KeepLease,
        settings: WorkerSettings,
        name: str,
        page_points: int = _PAGE_POINTS,
    ) -> None:
        self._book = book
        self._store = store
        self._words = words
        self._keep_lease = keep_lease
        self._settings = settings
        self._name = name
        self._page_points = page_points

    def run(self, reanalysis_id: int) -> None:
        """Do a reanalysis, or what is left of it."""
        owner, lease_s = f"{self._name}:{uuid.uuid4().hex[:12]}", self._settings.lease_s
        work = self._book.claim_reanalysis(reanalysis_id, owner, lease_s, self._settings.max_attempts)
        if work is None:
            return
        log = _log.bind(reanalysis=work.id, collection=work.collection)
        try:
            with self._keep_lease(partial(self._book.renew_reanalysis, work.id, owner, lease_s), lease_s) as lease:
                seen, changed = self._do_pages(work, owner, lease)
            self._book.finish_reanalysis(work.id, owner, seen=seen, changed=changed)
        except LeaseLostError as error:
            log.info("reanalysis.left_alone", why=str(error))
        except NotFoundError:
            log.info("reanalysis.ended", why="the collection was deleted")
            self._give_up(partial(self._book.finish_reanalysis, work.id, owner))
        except _AWAY as error:
            log.warning("reanalysis.postponed", error=str(error))
            self._give_up(partial(self._book.release_reanalysis, work.id, owner, str(error)))
        except KosearchError as error:
            log.error("reanalysis.failed", error=str(error))
            self._give_up(partial(self._book.fail_reanalysis, work.id, owner, str(error)))
        else:
            log.info("reanalysis.finished", version=work.version)

    def _do_pages(self, work: Reanalysis, owner: str, lease: Lease) -> tuple[int, int]:
        """Do page after page. Returns what was seen and changed on the last one, which is not counted yet."""
        self._words.refresh()
        finder, cursor = FormFinder(work.forms), work.cursor
        while True:
            lease.check()
            page = self._store.texts_from(work.collection, cursor, self._page_points)
            chosen = [
                point
                for point in page.points
                if finder.is_in(point.title, point.text) or _is_doubtful(point, work.doubtful_to)
            ]
            if chosen:
                self._rewrite(work, owner, chosen, lease)
            if not page.following:
                return len(page.points), len(chosen)
            self._book.finish_page(work.id, owner, page.following, seen=len(page.points), changed=len(chosen))
            cursor = page.following

    def _rewrite(self, work: Reanalysis, owner: str, points: Sequence[PointText], lease: Lease) -> None:
        # Whoever goes on after us corrects all of these, also those whose text does not hold the words any more: it may
        # have been replaced right before our write, and we die before we see it.
        self._book.begin_page(work.id, owner, points[-1].id)
        self._words.rewrite(work.collection, points, lease.check)

    def _give_up(self, write_down: Callable[[], None]) -> None:
        try:
            write_down()
        except LeaseLostError as error:
            _log.info("reanalysis.left_alone", why=str(error))


def _is_doubtful(point: PointText, doubtful_to: str) -> bool:
    """Tell whether a worker that died may have written over it; it knows no text of before."""
    return doubtful_to != "" and _place(point.id) <= _place(doubtful_to)


def _place(point_id: str) -> tuple[int, int]:
    """Return an id's place in Qdrant's order: numbers come before UUIDs."""
    return (0, int(point_id)) if point_id.isdecimal() else (1, uuid.UUID(point_id).int)
