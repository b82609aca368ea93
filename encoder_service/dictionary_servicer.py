"""The edge of kosearch.v1.Dictionary: words of the user, and how far collections have learnt of them."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from kosearch.errors import InvalidRequestError
from kosearch.korean.dictionary import DEFAULT_TAG, MAX_WORDS_A_CALL, DictionaryChange, check_word
from kosearch.ledger import DictionaryBook
from kosearch.reanalyses import ReanalysisSummary
from kosearch.vector_store import VectorStore
from protos.kosearch.v1 import dictionary_pb2, dictionary_pb2_grpc

_log = structlog.get_logger()

_LISTED = 20
_MAX_LISTED = 1_000
# A job that ended as long ago has made its collection before the collections were listed, whoever's clock is slow.
_CLOCK_SLACK_S = 60.0
# Takes collections, and when they were listed.
_Change = Callable[[list[str], float], DictionaryChange]


class DictionaryServicer(dictionary_pb2_grpc.DictionaryServicer):
    """Answers kosearch.v1.Dictionary."""

    def __init__(self, book: DictionaryBook, store: VectorStore, clock: Callable[[], float] = time.time) -> None:
        self._book = book
        self._store = store
        self._clock = clock

    async def ListWords(  # noqa: N802
        self, request: dictionary_pb2.ListWordsRequest, context: Any
    ) -> dictionary_pb2.ListWordsResponse:
        """List all words."""
        dictionary = await asyncio.to_thread(self._book.words)
        words = [dictionary_pb2.UserWord(form=word.form, tag=word.tag) for word in dictionary.words]
        return dictionary_pb2.ListWordsResponse(words=words, version=dictionary.version)

    async def PutWords(  # noqa: N802
        self, request: dictionary_pb2.PutWordsRequest, context: Any
    ) -> dictionary_pb2.ChangeWordsResponse:
        """Add words."""
        _check_count(len(request.words))
        words = [check_word(word.form, word.tag or DEFAULT_TAG) for word in request.words]
        return await self._change(lambda collections, listed_at: self._book.put(words, collections, listed_at))

    async def RemoveWords(  # noqa: N802
        self, request: dictionary_pb2.RemoveWordsRequest, context: Any
    ) -> dictionary_pb2.ChangeWordsResponse:
        """Remove words."""
        _check_count(len(request.forms))
        forms = [check_word(form).form for form in request.forms]
        return await self._change(lambda collections, listed_at: self._book.remove(forms, collections, listed_at))

    async def ListReanalyses(  # noqa: N802
        self, request: dictionary_pb2.ListReanalysesRequest, context: Any
    ) -> dictionary_pb2.ListReanalysesResponse:
        """List reanalyses."""
        limit = request.limit or _LISTED
        if limit > _MAX_LISTED:
            raise InvalidRequestError(f"at most {_MAX_LISTED:,} reanalyses are listed, not {limit:,}")
        found = await asyncio.to_thread(self._book.reanalyses, limit)
        return dictionary_pb2.ListReanalysesResponse(reanalyses=map(_message, found))

    async def _change(self, change: _Change) -> dictionary_pb2.ChangeWordsResponse:
        """Change the dictionary, and ask for the reanalysis of every collection that has words."""
        listed_at = self._clock() - _CLOCK_SLACK_S
        collections = await asyncio.to_thread(self._store.collections_with_words)
        changed = await asyncio.to_thread(change, collections, listed_at)
        _log.info("dictionary.changed", version=changed.version, words=changed.words, collections=len(collections))
        return dictionary_pb2.ChangeWordsResponse(version=changed.version, words_changed=changed.words)


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_WORDS_A_CALL:
        raise InvalidRequestError(f"{count:,} words given; name 1 to {MAX_WORDS_A_CALL:,}")


def _message(summary: ReanalysisSummary) -> dictionary_pb2.Reanalysis:
    return dictionary_pb2.Reanalysis(
        id=summary.id,
        collection=summary.collection,
        first_version=summary.first_version,
        version=summary.version,
        words=summary.words,
        state=dictionary_pb2.ReanalysisState.Value(f"REANALYSIS_STATE_{summary.state.name}"),
        points_seen=summary.points_seen,
        points_changed=summary.points_changed,
        created_at=summary.created_at,
        ended_at=summary.ended_at or 0.0,
        error=summary.error,
    )
