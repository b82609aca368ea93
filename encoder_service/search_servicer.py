"""The edge of search: protobuf in, protobuf out. Errors become a status in the interceptor."""

from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

from google.protobuf import struct_pb2

from encoder_service.search import requests as domain
from encoder_service.search.searcher import Searcher
from encoder_service.streams import answer_in_order
from encoder_service.wire import known
from kosearch.errors import InvalidRequestError
from kosearch.korean.reading import ReadingOptions
from protos.kosearch.v1 import search_pb2, search_pb2_grpc

_MODE_NUMBERS = {
    domain.Mode.DENSE: search_pb2.SEARCH_MODE_DENSE,
    domain.Mode.LEXICAL: search_pb2.SEARCH_MODE_LEXICAL,
    domain.Mode.HYBRID: search_pb2.SEARCH_MODE_HYBRID,
}
_MODES: dict[int, domain.Mode | None] = {
    search_pb2.SEARCH_MODE_UNSPECIFIED: None,
    **{number: mode for mode, number in _MODE_NUMBERS.items()},
}
_DEFAULT_FUSION = domain.Fusion()
_METHODS: dict[int, domain.FusionMethod] = {
    search_pb2.Fusion.METHOD_UNSPECIFIED: _DEFAULT_FUSION.method,
    search_pb2.Fusion.METHOD_LINEAR: domain.FusionMethod.LINEAR,
    search_pb2.Fusion.METHOD_RRF: domain.FusionMethod.RRF,
    search_pb2.Fusion.METHOD_WEIGHTED: domain.FusionMethod.WEIGHTED,
    search_pb2.Fusion.METHOD_DBSF: domain.FusionMethod.DBSF,
}


class SearchServicer(search_pb2_grpc.SearchServicer):
    """Answers kosearch.v1.Search."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        """Search one query."""
        return await self._answer(request)

    async def SearchStream(  # noqa: N802
        self, requests: AsyncIterator[search_pb2.SearchRequest], context: Any
    ) -> AsyncIterator[search_pb2.SearchResponse]:
        """Search query after query; a few are on their way at once."""
        async with aclosing(answer_in_order(requests, self._answer)) as responses:
            async for response in responses:
                yield response

    async def CountValues(  # noqa: N802
        self, request: search_pb2.CountValuesRequest, context: Any
    ) -> search_pb2.CountValuesResponse:
        """Count the values of a field."""
        counts = await self._searcher.count_values(
            request.collection, request.field, _filter(request.filter), request.limit
        )
        return search_pb2.CountValuesResponse(values=map(_count_message, counts))

    async def _answer(self, request: search_pb2.SearchRequest) -> search_pb2.SearchResponse:
        answer = await self._searcher.search(_request(request))
        return search_pb2.SearchResponse(
            hits=map(_hit_message, answer.hits),
            next_page_token=answer.next_page_token,
            read_query=answer.read_query,
            mode=_MODE_NUMBERS[answer.mode],
        )


# In


def _request(message: search_pb2.SearchRequest) -> domain.SearchRequest:
    reading = message.reading
    return domain.SearchRequest(
        query=message.query,
        collection=message.collection,
        top_k=message.top_k,
        filter=_filter(message.filter),
        mode=known(_MODES, message.mode, "mode"),
        fusion=_fusion(message.fusion),
        score_threshold=message.score_threshold if message.HasField("score_threshold") else None,
        chunks_per_document=message.chunks_per_document,
        with_highlights=message.with_highlights,
        with_explanations=message.with_explanations,
        is_paged=message.paged,
        page_token=message.page_token,
        reading=ReadingOptions(reading.keeps_keyboard, reading.keeps_spacing, reading.keeps_typos),
        diversity=message.diversity,
        like_ids=tuple(message.like_ids),
        unlike_ids=tuple(message.unlike_ids),
        more_collections=tuple(message.more_collections),
        rerank=domain.Rerank(message.rerank.candidates) if message.HasField("rerank") else None,
    )


def _fusion(message: search_pb2.Fusion) -> domain.Fusion:
    return domain.Fusion(
        known(_METHODS, message.method, "fusion method"),
        message.lexical_weight or _DEFAULT_FUSION.lexical_weight,
        message.rrf_k or _DEFAULT_FUSION.rrf_k,
        message.candidates or _DEFAULT_FUSION.candidates,
    )


def _filter(message: search_pb2.Filter) -> domain.Filter:
    return domain.Filter(
        _clauses(message.must), _clauses(message.should), _clauses(message.must_not), message.allows_unindexed
    )


def _clauses(messages: Iterable[search_pb2.Condition]) -> tuple[domain.Clause, ...]:
    return tuple(map(_clause, messages))


def _clause(message: search_pb2.Condition) -> domain.Clause:
    match message.WhichOneof("test"):
        case "filter":
            if message.field:
                raise InvalidRequestError(
                    f"the condition on field {message.field!r} is a group; leave its field out, or set nested"
                )
            return _filter(message.filter)
        case "nested":
            return domain.Nested(message.field, _filter(message.nested))
        case None:
            raise InvalidRequestError(
                f"the condition on field {message.field!r} tests nothing; set keyword, integer, boolean, range, "
                "any_of, dates or is_missing"
            )
        case kind:
            return domain.Condition(message.field, _test(message, kind))


def _test(message: search_pb2.Condition, kind: str) -> domain.Test:
    match kind:
        case "range":
            return _range(message.range)
        case "dates":
            dates = message.dates
            return domain.DateRange(dates.gt, dates.gte, dates.lt, dates.lte)
        case "any_of":
            return _any_of(message)
        case "is_missing":
            return domain.Presence(message.is_missing)
        case _:  # keyword, integer, boolean
            value: str | int | bool = getattr(message, kind)
            return value


def _range(message: search_pb2.Range) -> domain.Range:
    return domain.Range(
        gt=message.gt if message.HasField("gt") else None,
        gte=message.gte if message.HasField("gte") else None,
        lt=message.lt if message.HasField("lt") else None,
        lte=message.lte if message.HasField("lte") else None,
    )


def _any_of(message: search_pb2.Condition) -> domain.AnyOf:
    keywords, integers = message.any_of.keywords, message.any_of.integers
    if keywords and integers:
        raise InvalidRequestError(
            f"the condition on field {message.field!r} lists texts and numbers; a field holds one or the other"
        )
    return domain.AnyOf(tuple(keywords) if keywords else tuple(integers))


# Out


def _hit_message(hit: domain.Hit) -> search_pb2.Hit:
    payload = struct_pb2.Struct()
    payload.update(hit.fields)
    return search_pb2.Hit(
        id=hit.document_id,
        score=hit.score,
        text=hit.text,
        title=hit.title,
        payload=payload,
        chunk_index=hit.chunk_index,
        collection=hit.collection,
        highlights=[
            search_pb2.Highlight(start=each.start, end=each.end, is_in_title=each.is_in_title, term=each.term)
            for each in hit.highlights
        ],
        explanation=_explanation_message(hit.explanation) if hit.explanation else None,
    )


def _explanation_message(explanation: domain.Explanation) -> search_pb2.Explanation:
    dense, lexical = explanation.dense, explanation.lexical
    return search_pb2.Explanation(
        dense_rank=dense.rank if dense else None,
        dense_score=dense.score if dense else None,
        lexical_rank=lexical.rank if lexical else None,
        lexical_score=lexical.score if lexical else None,
        max_sim=explanation.max_sim,
        matched_terms=[search_pb2.MatchedTerm(term=term, count=count) for term, count in explanation.matched_terms],
    )


def _count_message(count: domain.ValueCount) -> search_pb2.ValueCount:
    match count.value:
        case bool():  # which is an int, too
            return search_pb2.ValueCount(boolean=count.value, chunks=count.chunks)
        case int():
            return search_pb2.ValueCount(integer=count.value, chunks=count.chunks)
        case _:
            return search_pb2.ValueCount(keyword=count.value, chunks=count.chunks)
