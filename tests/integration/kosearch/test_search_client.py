"""The client's searches, against a service that answers as told."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from kosearch.client import Client
from kosearch.errors import ConflictError, InvalidRequestError
from kosearch.search_client import (
    AS_TYPED,
    Explanation,
    Fusion,
    Highlight,
    MatchedTerm,
    SearchOptions,
    SearchPage,
    ValueCount,
)
from kosearch.settings import EncoderSettings
from protos.kosearch.v1 import search_pb2, search_pb2_grpc


class FakeSearch(search_pb2_grpc.SearchServicer):
    """Answers with the query as id."""

    def __init__(self) -> None:
        self.requests: list[search_pb2.SearchRequest] = []
        self.counts: list[search_pb2.CountValuesRequest] = []

    def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        self.requests.append(request)
        if request.mode == search_pb2.SEARCH_MODE_HYBRID:
            context.set_trailing_metadata((("x-request-id", "1"),))
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no words")
        return search_pb2.SearchResponse(
            hits=[
                search_pb2.Hit(
                    id=request.query,
                    collection=request.collection,
                    highlights=[search_pb2.Highlight(start=1, end=2, is_in_title=True, term="목적")],
                    explanation=search_pb2.Explanation(
                        lexical_rank=3,
                        lexical_score=0.5,
                        matched_terms=[search_pb2.MatchedTerm(term="목적", count=2)],
                    ),
                )
            ],
            mode=search_pb2.SEARCH_MODE_LEXICAL,
            next_page_token="next",
            read_query="read",
        )

    def SearchStream(  # noqa: N802
        self, requests: Iterator[search_pb2.SearchRequest], context: Any
    ) -> Iterator[search_pb2.SearchResponse]:
        for request in requests:
            yield search_pb2.SearchResponse(hits=[search_pb2.Hit(id=request.query)])

    def CountValues(  # noqa: N802
        self, request: search_pb2.CountValuesRequest, context: Any
    ) -> search_pb2.CountValuesResponse:
        self.counts.append(request)
        values = [
            search_pb2.ValueCount(keyword="가", chunks=3),
            search_pb2.ValueCount(integer=0, chunks=2),
            search_pb2.ValueCount(boolean=False, chunks=1),
        ]
        return search_pb2.CountValuesResponse(values=values)


@pytest.fixture
def service() -> Iterator[FakeSearch]:
    """A service on a free port; its address is `service.address`."""
    made = FakeSearch()
    server = grpc.server(ThreadPoolExecutor(4))
    search_pb2_grpc.add_SearchServicer_to_server(made, server)
    made.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"  # type: ignore[attr-defined]
    server.start()
    yield made
    server.stop(None).wait()


@pytest.fixture
def client(service: Any) -> Iterator[Client]:
    """A client of the service."""
    with Client(EncoderSettings(address=service.address)) as made:
        yield made


def test_hits_tell_what_the_service_told(client: Client) -> None:
    """What a leg does not have is None, and not 0."""
    (hit,) = client.search("목적", "laws")
    assert (hit.id, hit.collection) == ("목적", "laws")
    assert hit.highlights == (Highlight(1, 2, is_in_title=True, term="목적"),)
    assert hit.explanation == Explanation(None, None, 3, 0.5, None, (MatchedTerm("목적", 2),))


def test_a_page_is_the_whole_answer(client: Client) -> None:
    """Token, mode and the query as it was read."""
    page = client.search_page("목적", "laws")
    assert page == SearchPage(page.hits, "next", "read", "lexical")


def test_nothing_is_asked_for_that_was_not_wanted(client: Client, service: FakeSearch) -> None:
    """Everything else is the service's default."""
    client.search("목적", "laws")
    assert service.requests == [search_pb2.SearchRequest(query="목적", collection="laws", top_k=10)]


def test_options_and_filters_reach_the_service(client: Client, service: FakeSearch) -> None:
    """Conditions that must all hold, or a whole filter."""
    condition = search_pb2.Condition(field="law", keyword="민법")
    some = search_pb2.Filter(should=[condition])
    options = SearchOptions(mode="dense", fusion=Fusion("weighted", 0.25, 10, 50), reading=AS_TYPED, like_ids=["a"])
    client.search("목적", "laws", 3, [condition], options)
    client.search("목적", "laws", 3, some, SearchOptions(rerank=0))
    first, second = service.requests
    assert (first.HasField("rerank"), second.rerank) == (False, search_pb2.Rerank())
    assert second.HasField("rerank")
    assert (list(first.filter.must), second.filter) == ([condition], some)
    assert first.fusion == search_pb2.Fusion(
        method=search_pb2.Fusion.METHOD_WEIGHTED, lexical_weight=0.25, rrf_k=10, candidates=50
    )
    assert (first.mode, first.reading.keeps_typos, list(first.like_ids)) == (search_pb2.SEARCH_MODE_DENSE, True, ["a"])


def test_a_mode_that_the_collection_lacks_is_a_conflict(client: Client) -> None:
    """The state does not allow it."""
    with pytest.raises(ConflictError, match="no words"):
        client.search("목적", "laws", options=SearchOptions(mode="hybrid"))


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.search("x", "laws", top_k=-1),
        lambda client: client.search("x", "laws", options=SearchOptions(mode="fuzzy")),
        lambda client: client.search("x", "laws", options=SearchOptions(fusion=Fusion(rrf_k=1 << 40))),
        lambda client: client.count_values("laws", "year", limit=-1),
    ],
)
def test_what_no_message_can_hold_is_refused(client: Client, call: Any) -> None:
    """By the client itself."""
    with pytest.raises(InvalidRequestError):
        call(client)


def test_a_stream_answers_in_order(client: Client) -> None:
    """Query by query."""
    queries = [f"질의 {number}" for number in range(30)]
    assert [page.hits[0].id for page in client.search_stream(queries, "laws")] == queries


def test_a_query_that_cannot_be_sent_ends_a_stream_with_its_fault(client: Client) -> None:
    """Those before it are answered."""
    stream = client.search_stream(["가", "\ud800", "나"], "laws")
    assert next(stream).hits[0].id == "가"
    with pytest.raises(InvalidRequestError, match="surrogate"):
        next(stream)


def test_values_keep_their_kind(client: Client, service: FakeSearch) -> None:
    """0 and false are not the same."""
    counts = client.count_values("laws", "year", [search_pb2.Condition(field="law", keyword="민법")], limit=5)
    assert counts == [ValueCount("가", 3), ValueCount(0, 2), ValueCount(False, 1)]
    assert [type(count.value) for count in counts] == [str, int, bool]
    assert (service.counts[0].limit, len(service.counts[0].filter.must)) == (5, 1)
