"""From candidates to the hits of a page."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from encoder_service.search.bounds import wanted_hits
from encoder_service.search.chunk_store import ChunkStore, StoredChunk
from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.grouping import Group, by_collection
from encoder_service.search.highlighting import count_matches, find_highlights
from encoder_service.search.ports import Korean
from encoder_service.search.requests import Explanation, Hit, SearchRequest
from encoder_service.search.scope import SearchedCollection
from kosearch.korean.morphemes import Term

_Shown: TypeAlias = tuple[Candidate, StoredChunk]


class Presenter:
    """Shows candidates as hits."""

    def __init__(self, store: ChunkStore, korean: Korean) -> None:
        self._store = store
        self._korean = korean

    async def page(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], groups: Sequence[Group], words: str
    ) -> tuple[list[Hit], Sequence[Group]]:
        """Return the hits of the first groups, and the groups that are left for further pages.

        Candidates that were deleted since they were found are passed over. `words`: the query as it is searched by word
        """
        shown: list[_Shown] = []
        wanted, seen = wanted_hits(request), 0
        while wanted and seen < len(groups):
            some = groups[seen : seen + wanted]
            seen += len(some)
            chunks = await self._fetch(request, searched, [candidate for group in some for candidate in group])
            for group in some:
                there = [(each, chunks[each.key]) for each in group if each.key in chunks]
                shown.extend(there)
                wanted -= bool(there)
        return await self._hits(request, shown, words), groups[seen:]

    async def _fetch(
        self, request: SearchRequest, searched: Sequence[SearchedCollection], candidates: Sequence[Candidate]
    ) -> dict[PointKey, StoredChunk]:
        """The chunks of candidates that are there. Those of a token have to meet the filter: it may be made up."""
        point_ids = by_collection(candidates)
        chunks = await asyncio.gather(
            *(
                self._store.fetch(searched[place].name, ids, searched[place].wanted if request.page_token else None)
                for place, ids in point_ids.items()
            )
        )
        return {
            PointKey(point_id, place): chunk
            for place, found in zip(point_ids, chunks, strict=True)
            for point_id, chunk in found.items()
        }

    async def _hits(self, request: SearchRequest, shown: Sequence[_Shown], words: str) -> list[Hit]:
        hits = [_hit(request, *each) for each in shown]
        if not hits or not (request.with_highlights or request.with_explanations):
            return hits
        texts = [text for hit in hits for text in (hit.title, hit.text)]
        asked, *terms = await self._korean.terms([words, *texts])
        query = list(dict.fromkeys(term.text for term in asked))
        return [
            _told(request, candidate, hit, query, title, text)
            for (candidate, _), hit, title, text in zip(shown, hits, terms[::2], terms[1::2], strict=True)
        ]


def _hit(request: SearchRequest, candidate: Candidate, chunk: StoredChunk) -> Hit:
    return Hit(
        document_id=chunk.document_id,
        score=candidate.score,
        text=chunk.text,
        title=chunk.title,
        fields=chunk.fields,
        chunk_index=chunk.chunk_index,
        collection=request.collections[candidate.key.collection],
    )


def _told(
    request: SearchRequest,
    candidate: Candidate,
    hit: Hit,
    query: Sequence[str],
    title: Sequence[Term],
    text: Sequence[Term],
) -> Hit:
    """Return the hit with what is told of it."""
    explanation = highlights = None
    if request.with_highlights:
        highlights = tuple(find_highlights(frozenset(query), title, text))
    if request.with_explanations:
        matched = tuple(count_matches(query, title, text))
        explanation = Explanation(candidate.dense, candidate.lexical, candidate.max_sim, matched)
    return replace(hit, highlights=highlights or (), explanation=explanation)
