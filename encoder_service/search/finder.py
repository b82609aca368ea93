"""From a query to the list of its candidates: both legs, fused, spread and grouped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from encoder_service.encoder import Options
from encoder_service.search.bounds import leg_length, reranked_candidates
from encoder_service.search.chunk_store import ChunkStore, Found
from encoder_service.search.diversity import diverse_order
from encoder_service.search.examples import CHUNKS_OF_EXAMPLE, embedding_like
from encoder_service.search.fusion import Candidate, PointKey, from_dense, from_lexical, fuse, ranked
from encoder_service.search.grouping import Group, by_collection, by_document, each_alone
from encoder_service.search.paging import MAX_CANDIDATES
from encoder_service.search.ports import Korean, QueryEncoder, QueryModels, ReadQuery
from encoder_service.search.requests import Mode, SearchRequest
from encoder_service.search.reranking import max_sim, reranked
from encoder_service.search.scope import SearchedCollection, mode_of
from encoder_service.text_reader import Role
from kosearch.errors import ConflictError, NotFoundError
from kosearch.sparse_vectors import SparseVector

T = TypeVar("T")

_QUERY = Options(role=Role.QUERY)
_DOCUMENT = Options(role=Role.DOCUMENT)


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
        mode = mode_of(request, searched)
        # The words of the query are found and looked for while the engine encodes it.
        async with _meanwhile(self._embedding(request, searched, read.text, mode)) as embedding:
            words = await self._words(read, mode)
            if words is None and mode is Mode.HYBRID:  # a query of nothing but particles and the like
                mode = Mode.DENSE
            limit = leg_length(request, is_fused=mode is Mode.HYBRID)
            dense, lexical = await asyncio.gather(
                self._by_meaning(request, searched, embedding, limit), self._by_words(request, searched, words, limit)
            )
        candidates = _candidates(request, mode, dense, lexical, limit)[:MAX_CANDIDATES]
        if request.rerank:
            candidates = await self._rerank(request, searched, read.text, candidates, mode)
        candidates = _above(request.score_threshold, candidates)
        return _groups(request, await self._spread(request, searched, candidates), dense, lexical), mode

    async def _by_meaning(
        self,
        request: SearchRequest,
        searched: Sequence[SearchedCollection],
        embedding: Awaitable[NDArray[np.float32] | None],
        limit: int,
    ) -> list[Found]:
        """What each collection has that lies near; nothing where there is no embedding."""
        near = await embedding
        return await asyncio.gather(
            *(
                self._store.find_near(
                    place.name, near, place.wanted, limit, with_documents=request.chunks_per_document > 0
                )
                for place in searched
                if near is not None
            )
        )

    async def _by_words(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], words: SparseVector | None, limit: int
    ) -> list[Found]:
        """What each collection has with these words; nothing where there are none."""
        return await asyncio.gather(
            *(
                self._store.find_by_words(
                    place.name, words, place.wanted, limit, with_documents=request.chunks_per_document > 0
                )
                for place in searched
                if words is not None
            )
        )

    async def _words(self, read: ReadQuery, mode: Mode) -> SparseVector | None:
        """What to look for by word; None: nothing."""
        words = None if mode is Mode.DENSE else await self._korean.query_vector(read)
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

    async def _rerank(
        self,
        request: SearchRequest,
        searched: Sequence[SearchedCollection],
        query: str,
        candidates: list[Candidate],
        mode: Mode,
    ) -> list[Candidate]:
        """Compare the best with the query once more. What was deleted since it was found stays behind."""
        best = candidates[: reranked_candidates(request)]
        encoder = self._encoder_of(searched[0])
        texts: dict[PointKey, str] = {}
        for place, point_ids in by_collection(best).items():
            found = await self._store.encoded_texts(searched[place].name, point_ids)
            texts |= {PointKey(point_id, place): text for point_id, text in found.items() if text}
        if not texts:
            return candidates
        (asked,), chunks = await asyncio.gather(
            encoder.encode_tokens([query], _QUERY), encoder.encode_tokens(list(texts.values()), _DOCUMENT)
        )
        # Two hundred candidates take 50 ms.
        max_sims = await asyncio.to_thread(lambda: [max_sim(asked, chunk) for chunk in chunks])
        return reranked(candidates, dict(zip(texts, max_sims, strict=True)), mode)

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


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Do work while the block runs, begun before it, and no longer than the block."""
    task = asyncio.create_task(work)
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()


def _candidates(
    request: SearchRequest, mode: Mode, by_meaning: Sequence[Found], by_words: Sequence[Found], limit: int
) -> list[Candidate]:
    """What the legs of all collections have found, as one list; scores of a leg are compared across collections."""
    dense, lexical = ranked(_merged(by_meaning), limit), ranked(_merged(by_words), limit)
    match mode:
        case Mode.DENSE:
            return from_dense(dense)
        case Mode.LEXICAL:
            return from_lexical(lexical)
        case Mode.HYBRID:
            return fuse(dense, lexical, request.fusion)


def _above(threshold: float | None, candidates: list[Candidate]) -> list[Candidate]:
    return [candidate for candidate in candidates if threshold is None or candidate.score >= threshold]


def _merged(leg: Sequence[Found]) -> dict[PointKey, float]:
    return {
        PointKey(point_id, place): score for place, each in enumerate(leg) for point_id, score in each.scores.items()
    }


def _documents(leg: Sequence[Found]) -> dict[PointKey, str]:
    return {
        PointKey(point_id, place): name for place, each in enumerate(leg) for point_id, name in each.documents.items()
    }


def _groups(
    request: SearchRequest, candidates: Sequence[Candidate], dense: Sequence[Found], lexical: Sequence[Found]
) -> list[Group]:
    if not request.chunks_per_document:
        return each_alone(candidates)

    documents = _documents(dense) | _documents(lexical)

    def document_of(candidate: Candidate) -> str:
        return documents[candidate.key]

    return by_document(candidates, document_of, request.chunks_per_document)
