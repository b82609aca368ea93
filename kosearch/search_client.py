"""What a client asks of search and is answered, without the words of the wire."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import json_format

from kosearch.errors import InvalidRequestError
from kosearch.korean.reading import ReadingOptions
from protos.kosearch.v1 import search_pb2

SearchMode = Literal["dense", "lexical", "hybrid"]
FusionMethod = Literal["linear", "rrf", "weighted", "dbsf"]

_MODES: dict[SearchMode | None, search_pb2.SearchMode.ValueType] = {
    None: search_pb2.SEARCH_MODE_UNSPECIFIED,
    "dense": search_pb2.SEARCH_MODE_DENSE,
    "lexical": search_pb2.SEARCH_MODE_LEXICAL,
    "hybrid": search_pb2.SEARCH_MODE_HYBRID,
}
_MODE_NAMES: dict[int, SearchMode] = {number: mode for mode, number in _MODES.items() if mode}
_METHODS: dict[FusionMethod | None, search_pb2.Fusion.Method.ValueType] = {
    None: search_pb2.Fusion.METHOD_UNSPECIFIED,
    "linear": search_pb2.Fusion.METHOD_LINEAR,
    "rrf": search_pb2.Fusion.METHOD_RRF,
    "weighted": search_pb2.Fusion.METHOD_WEIGHTED,
    "dbsf": search_pb2.Fusion.METHOD_DBSF,
}


@dataclass(frozen=True, slots=True)
class Fusion:
    """How a hybrid search makes one list of two; what is None or 0 is left to the service.

    lexical_weight: above 0 and below 1; the dense leg has the rest
    candidates: from each leg
    """

    method: FusionMethod | None = None
    lexical_weight: float = 0.0
    rrf_k: int = 0
    candidates: int = 0


AS_TYPED = ReadingOptions(keeps_keyboard=True, keeps_spacing=True, keeps_typos=True)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How to search.

    mode: None is hybrid where the collection has words, else dense
    rerank: so many of the best candidates are compared once more, token by token; 0: as the service sees fit; None: not
    threshold: hits of a lower score are left out
    chunks_per_document: at most so many of a document, `top_k` then counts documents; 0: chunks as they come
    highlights, explains: the hits tell where the words of the query stand, and how they came by their scores
    paged: the answer has a token for the next page; page_token: that of an earlier answer
    diversity: 0 to 1, how much hits that say the same are moved down
    like_ids, unlike_ids: documents to search like and unlike, with or instead of a query
    more_collections: searched together with the first
    """

    mode: SearchMode | None = None
    fusion: Fusion | None = None
    rerank: int | None = None
    threshold: float | None = None
    chunks_per_document: int = 0
    highlights: bool = False
    explains: bool = False
    paged: bool = False
    page_token: str = ""
    reading: ReadingOptions | None = None
    diversity: float = 0.0
    like_ids: Sequence[str] = ()
    unlike_ids: Sequence[str] = ()
    more_collections: Sequence[str] = ()


DEFAULT_OPTIONS = SearchOptions()


@dataclass(frozen=True, slots=True)
class Highlight:
    """A stretch of a hit's text or title that answers a word of the query; code points."""

    start: int
    end: int
    is_in_title: bool
    term: str


@dataclass(frozen=True, slots=True)
class MatchedTerm:
    """A word of the query that a hit has, and how often."""

    term: str
    count: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a hit came by its score: rank from 1 and score in each leg, None where the leg does not have it.

    max_sim: 0 to 1, the cosine of the query's tokens and their nearest ones in the hit, in the mean; None where it was
        not reranked
    """

    dense_rank: int | None
    dense_score: float | None
    lexical_rank: int | None
    lexical_score: float | None
    max_sim: float | None
    matched_terms: tuple[MatchedTerm, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that answers a query.

    score: by meaning the cosine similarity, -1 to 1; by words BM25; else what the fusion makes of both; more where it
        was reranked
    """

    id: str
    score: float
    title: str
    text: str
    chunk_index: int
    payload: dict[str, Any]
    collection: str = ""
    highlights: tuple[Highlight, ...] = ()
    explanation: Explanation | None = None


@dataclass(frozen=True, slots=True)
class SearchPage:
    """An answer whole.

    next_page_token: empty at the end, or when no pages were asked for
    read_query: what was searched for, where it is not what was asked
    mode: how it was searched
    """

    hits: list[Hit]
    next_page_token: str
    read_query: str
    mode: SearchMode


@dataclass(frozen=True, slots=True)
class ValueCount:
    """A value of a field, and the chunks that have it."""

    value: str | int | bool
    chunks: int


def search_request(
    query: str,
    collection: str,
    top_k: int,
    conditions: Sequence[search_pb2.Condition] | search_pb2.Filter = (),
    options: SearchOptions = DEFAULT_OPTIONS,
) -> search_pb2.SearchRequest:
    """Return the request. Raises InvalidRequestError for numbers that no message can hold."""
    with _explained():
        return search_pb2.SearchRequest(
            query=query,
            collection=collection,
            top_k=top_k,
            filter=_filter(conditions),
            mode=_MODES[options.mode],
            fusion=_fusion(options.fusion) if options.fusion else None,
            rerank=None if options.rerank is None else search_pb2.Rerank(candidates=options.rerank),
            score_threshold=options.threshold,
            chunks_per_document=options.chunks_per_document,
            with_highlights=options.highlights,
            with_explanations=options.explains,
            paged=options.paged,
            page_token=options.page_token,
            reading=_reading(options.reading) if options.reading else None,
            diversity=options.diversity,
            like_ids=options.like_ids,
            unlike_ids=options.unlike_ids,
            more_collections=options.more_collections,
        )


def count_request(
    collection: str, field: str, conditions: Sequence[search_pb2.Condition] | search_pb2.Filter, limit: int
) -> search_pb2.CountValuesRequest:
    """Return the request. Raises InvalidRequestError for a limit that no message can hold."""
    with _explained():
        return search_pb2.CountValuesRequest(
            collection=collection, field=field, filter=_filter(conditions), limit=limit
        )


def search_page(reply: search_pb2.SearchResponse) -> SearchPage:
    """Return what the service has answered."""
    mode = _MODE_NAMES.get(reply.mode, "dense")  # a service of an earlier version does not say
    return SearchPage([_hit(hit) for hit in reply.hits], reply.next_page_token, reply.read_query, mode)


def value_counts(reply: search_pb2.CountValuesResponse) -> list[ValueCount]:
    """Return the counts that the service has answered."""
    return [ValueCount(getattr(each, each.WhichOneof("value") or "keyword"), each.chunks) for each in reply.values]


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except UnicodeEncodeError:  # which is a ValueError, and the client's to tell
        raise
    except (ValueError, KeyError) as error:
        raise InvalidRequestError(f"this cannot be asked for: {error}; see SearchOptions") from error


def _filter(conditions: Sequence[search_pb2.Condition] | search_pb2.Filter) -> search_pb2.Filter | None:
    if isinstance(conditions, search_pb2.Filter):
        return conditions
    return search_pb2.Filter(must=conditions) if conditions else None


def _fusion(fusion: Fusion) -> search_pb2.Fusion:
    return search_pb2.Fusion(
        method=_METHODS[fusion.method],
        lexical_weight=fusion.lexical_weight,
        rrf_k=fusion.rrf_k,
        candidates=fusion.candidates,
    )


def _reading(reading: ReadingOptions) -> search_pb2.Reading:
    return search_pb2.Reading(
        keeps_keyboard=reading.keeps_keyboard, keeps_spacing=reading.keeps_spacing, keeps_typos=reading.keeps_typos
    )


def _hit(hit: search_pb2.Hit) -> Hit:
    return Hit(
        id=hit.id,
        score=hit.score,
        title=hit.title,
        text=hit.text,
        chunk_index=hit.chunk_index,
        payload=json_format.MessageToDict(hit.payload),
        collection=hit.collection,
        highlights=tuple(Highlight(each.start, each.end, each.is_in_title, each.term) for each in hit.highlights),
        explanation=_explanation(hit.explanation) if hit.HasField("explanation") else None,
    )


def _explanation(told: search_pb2.Explanation) -> Explanation:
    return Explanation(
        dense_rank=told.dense_rank if told.HasField("dense_rank") else None,
        dense_score=told.dense_score if told.HasField("dense_score") else None,
        lexical_rank=told.lexical_rank if told.HasField("lexical_rank") else None,
        lexical_score=told.lexical_score if told.HasField("lexical_score") else None,
        max_sim=told.max_sim if told.HasField("max_sim") else None,
        matched_terms=tuple(MatchedTerm(each.term, each.count) for each in told.matched_terms),
    )
