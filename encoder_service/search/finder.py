"""From a query to the list of its candidates: both legs, fused, spread and grouped."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from encoder_service.encoder import Options
from encoder_service.search.bounds import leg_length
from encoder_service.search.chunk_store import ChunkStore, Found, Legs
from encoder_service.search.diversity import diverse_order
from encoder_service.search.examples import CHUNKS_OF_EXAMPLE, embedding_like
from encoder_service.search.fusion import Candidate, PointKey, from_dense, from_lexical, fuse, ranked
from encoder_service.search.grouping import Group, by_collection, by_document, each_alone
from encoder_service.search.paging import MAX_CANDIDATES
from encoder_service.search.ports import Korean, QueryEncoder, QueryModels, ReadQuery
from encoder_service.search.requests import Mode, SearchRequest
from encoder_service.search.scope import SearchedCollection, mode_of
from encoder_service.text_reader import Role
from kosearch.errors import ConflictError, NotFoundError
from kosearch.sparse_vectors import SparseVector

_QUERY = Options(role=Role.QUERY)


class Finder:
    """Finds the chunks that answer a query, best first. What it raises, `Searcher.search` says."""

    def __init__(self, models: QueryModels, store: ChunkStore, korean: Korean) -> None:
        self._models = models
        self._store = store
        self._korean = korean

    async def find(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], read: ReadQuery
    ) -> tuple[list[Group], Mode]:
        """Return at most 1,000 candidates, in groups that count as one hit, and how they were searched."""
        legs, mode = await self._legs(request, searched, read)
        if legs.embedding is None and legs.words is None:
            return [], mode
        limit = leg_length(request, is_fused=mode is Mode.HYBRID)
        found = await asyncio.gather(
            *(
                self._store.find(place.name, legs, place.wanted, limit, with_documents=request.chunks_per_document > 0)
                for place in searched
            )
        )
        candidates = _candidates(request, mode, found, limit)[:MAX_CANDIDATES]
        return _groups(request, await self._spread(request, searched, candidates), found), mode

    async def _legs(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], read: ReadQuery
    ) -> tuple[Legs, Mode]:
        """What to look for. A query of nothing but particles and the like is searched by its meaning alone."""
        mode = mode_of(request, searched)
        # In this order: the words of the query are found while the engine encodes it.
        embedding, words = await asyncio.gather(
            self._embedding(request, searched, read.text, mode), self._words(read.lexical_text, mode)
        )
        if words is None and mode is Mode.HYBRID:
            mode = Mode.DENSE
        return Legs(embedding, words), mode

    async def _words(self, text: str, mode: Mode) -> SparseVector | None:
        """What to look for by word; None: nothing."""
        words = None if mode is Mode.DENSE else await self._korean.query_vector(text)
        return words if words is not None and len(words.indices) else None

    async def _embedding(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], text: str, mode: Mode
    ) -> NDArray[np.float32] | None:
        """What to look for by meaning, shape (dim,); None: nothing."""
        if mode is Mode.LEXICAL:
            return None
        encoder = self._encoder_of(searched[0])
        query: NDArray[np.float32] | None = None
        if text:
            query = (await encoder.encode([text], _QUERY)).embeddings[0]
        if query is not None and not request.example_ids:
            return query
        examples = await self._examples(request)
        like, unlike = ([examples[each] for each in ids] for ids in (request.like_ids, request.unlike_ids))
        return embedding_like(like, unlike, query)

    def _encoder_of(self, place: SearchedCollection) -> QueryEncoder:
        facts = place.facts
        encoder = self._models.encoder_of(facts.fingerprint)
        if encoder is None:
            raise ConflictError(
                f"collection {facts.name!r} was indexed with {facts.model} "
                f"(fingerprint {facts.fingerprint[:12] or 'unknown'}), this service runs "
                f"{', '.join(self._models.names())}: embeddings of different models cannot be compared. Index again "
                "into another collection, or let the service load the model of the collection (`kosearch model load`)"
            )
        return encoder

    async def _examples(self, request: SearchRequest) -> Mapping[str, Sequence[NDArray[np.float32]]]:
        """The embeddings of the documents to search like and unlike, from whichever collection has them."""
        ids = list(dict.fromkeys(request.example_ids))
        examples: dict[str, list[NDArray[np.float32]]] = {}
        for found in await asyncio.gather(
            *(self._store.embeddings_of_documents(name, ids, CHUNKS_OF_EXAMPLE) for name in request.collections)
        ):
            for document_id, embeddings in found.items():
                examples.setdefault(document_id, []).extend(embeddings)
        missing = ", ".join(each for each in ids if each not in examples)
        if missing:
            raise NotFoundError(
                f"there is no document {missing[:200]} in {', '.join(request.collections)}; documents to search like "
                "are named by their id"
            )
        return examples

    async def _spread(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], candidates: list[Candidate]
    ) -> list[Candidate]:
        """Move down what says the same, where that is wanted."""
        if not request.diversity or not candidates:
            return candidates
        embeddings: dict[PointKey, NDArray[np.float32]] = {}
        for place, point_ids in by_collection(candidates).items():
            found = await self._store.embeddings(searched[place].name, point_ids)
            embeddings |= {PointKey(point_id, place): embedding for point_id, embedding in found.items()}
        there = [candidate for candidate in candidates if candidate.key in embeddings]
        if not there:  # all of them deleted since
            return []
        rows = np.stack([embeddings[candidate.key] for candidate in there])  # (candidates, dim)
        scores = [candidate.score for candidate in there]
        # A thousand candidates take a tenth of a second.
        order = await asyncio.to_thread(diverse_order, scores, rows, request.diversity)
        return [there[place] for place in order]


def _candidates(request: SearchRequest, mode: Mode, found: Sequence[Found], limit: int) -> list[Candidate]:
    """What the legs of all collections have found, as one list; scores of a leg are compared across collections."""
    dense = ranked(_merged(each.dense for each in found), limit)
    lexical = ranked(_merged(each.lexical for each in found), limit)
    match mode:
        case Mode.DENSE:
            candidates = from_dense(dense)
        case Mode.LEXICAL:
            candidates = from_lexical(lexical)
        case Mode.HYBRID:
            candidates = fuse(dense, lexical, request.fusion)
    threshold = request.score_threshold
    return [candidate for candidate in candidates if threshold is None or candidate.score >= threshold]


def _merged(legs: Iterable[Mapping[str, float]]) -> dict[PointKey, float]:
    return {PointKey(point_id, place): score for place, leg in enumerate(legs) for point_id, score in leg.items()}


def _groups(request: SearchRequest, candidates: Sequence[Candidate], found: Sequence[Found]) -> list[Group]:
    if not request.chunks_per_document:
        return each_alone(candidates)

    def document_of(candidate: Candidate) -> str:
        return found[candidate.key.collection].documents[candidate.key.point_id]

    return by_document(candidates, document_of, request.chunks_per_document)
