"""The use case Search: a query in, the chunks that answer it out."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from encoder_service.search.bounds import check_request, wanted_values
from encoder_service.search.chunk_store import ChunkStore
from encoder_service.search.collections import Collections
from encoder_service.search.filtering import FieldKinds, check_filter, countable_path, qdrant_filter
from encoder_service.search.finder import Finder
from encoder_service.search.paging import decode_token, encode_token
from encoder_service.search.ports import Korean, QueryModels
from encoder_service.search.presenter import Presenter
from encoder_service.search.requests import Filter, SearchAnswer, SearchRequest, ValueCount
from encoder_service.search.scope import searched_collections
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError
from kosearch.text import normalise


class Searcher:
    """Searches collections, each with the model that it was indexed with.

    Both methods raise InvalidRequestError, NotFoundError (no such collection or document), ConflictError (it was
    indexed with a model that is not served, or without what the mode needs), UnavailableError (Qdrant does not answer).
    """

    def __init__(self, models: QueryModels, collections: Collections, store: ChunkStore, korean: Korean) -> None:
        self._collections = collections
        self._store = store
        self._korean = korean
        self._finder = Finder(models, store, korean)
        self._presenter = Presenter(store, korean)

    async def search(self, request: SearchRequest) -> SearchAnswer:
        """Return a page of hits. Raises OverloadedError, too, when the encoder's queue is full."""
        check_request(request)
        with self._forgetting(request.collections):
            facts = await asyncio.gather(*map(self._collections.get, request.collections))
            searched = searched_collections(request, facts)
            query = normalise(request.query)
            read = await self._korean.read(query, request.reading)
            if request.page_token:
                groups, mode = decode_token(request.page_token, request)
            else:
                groups, mode = await self._finder.find(request, searched, read)
            hits, left = await self._presenter.page(request, searched, groups, read.lexical_text)
        return SearchAnswer(
            hits=hits,
            next_page_token=encode_token(left, mode, request) if request.is_paged or request.page_token else "",
            read_query=read.text if read.text != query else "",
            mode=mode,
        )

    async def count_values(self, collection: str, field: str, wanted: Filter, limit: int) -> list[ValueCount]:
        """Return the most frequent values of an indexed field, at most `limit` (0: 20), by falling count."""
        most = wanted_values(limit)
        check_filter(wanted)
        with self._forgetting((collection,)):
            facts = await self._collections.get(collection)
            fields = FieldKinds(facts.name, facts.kinds)
            path = countable_path(field, fields)
            counts = await self._store.count_values(collection, path, qdrant_filter(wanted, fields), most)
        return sorted(counts, key=lambda count: (-count.chunks, count.value))

    @contextmanager
    def _forgetting(self, collections: Sequence[str]) -> Iterator[None]:
        """Ask again for what is known of collections after a refusal: it may be known wrongly."""
        try:
            yield
        except (NotFoundError, ConflictError, InvalidRequestError):
            for collection in collections:
                self._collections.forget(collection)
            raise
