"""Search: what is asked of Qdrant, what is made of its answers, and what is refused before."""

import asyncio
import unicodedata
from math import hypot
from typing import Any

import grpc
import pytest
from qdrant_client import models
from qdrant_client.conversions.conversion import RestToGrpc

from encoder_service.search.chunk_store import HNSW_EF
from encoder_service.search.requests import (
    Condition,
    Filter,
    Fusion,
    FusionMethod,
    Highlight,
    Mode,
    Place,
    Presence,
    Rerank,
    ValueCount,
)
from encoder_service.text_reader import Role
from kosearch.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from kosearch.korean.reading import ReadingOptions

NAN = float("nan")
KINDS = {"fields.law": "keyword", "fields.year": "integer"}
CIVIL = Filter(must=(Condition("law", "민법"),))


async def test_a_hit_carries_what_the_indexer_stored(bench: Any) -> None:
    """All of the payload reaches the caller."""
    bench.qdrant.add("a", (0.6, 0.8), "본문", document_id="형법-1", chunk_index=2, title="형법", fields={"year": 1953})
    (hit,) = (await bench.search(mode=Mode.DENSE)).hits
    assert (hit.document_id, hit.chunk_index, hit.title, hit.text) == ("형법-1", 2, "형법", "본문")
    assert (hit.fields, hit.collection, hit.score) == ({"year": 1953}, "laws", pytest.approx(1))


class TestModes:
    """By meaning, by word, or both."""

    async def test_both_legs_are_asked_for(self, bench: Any) -> None:
        """Each by a request of its own."""
        bench.qdrant.add("a", (0.6, 0.8), "절도")
        answer = await bench.search()
        dense, lexical = sorted(bench.qdrant.queries, key=lambda query: query.using)
        assert (answer.mode, dense.using, lexical.using) == (Mode.HYBRID, "", "lexical")
        assert dense.query.nearest.dense.data == pytest.approx([0.6, 0.8])
        assert (dense.params.hnsw_ef, lexical.HasField("params")) == (HNSW_EF, False)

    async def test_what_both_legs_have_is_first(self, bench: Any) -> None:
        """Scores of both legs add up: cosine, and a thirtieth of what the words are worth."""
        bench.qdrant.add("nearest", (0.6, 0.8), "강도")
        bench.qdrant.add("both", (0.5, 0.8), "절도")
        answer = await bench.search()
        assert [hit.document_id for hit in answer.hits] == ["both", "nearest"]
        assert [hit.score for hit in answer.hits] == pytest.approx([0.5 * 0.94 / hypot(0.5, 0.8) + 0.5 / 30, 0.5])

    async def test_a_collection_without_words_is_searched_by_meaning(self, bench: Any) -> None:
        """Unless something else was asked for."""
        bench.qdrant.has_words = False
        bench.qdrant.add("a", (0.6, 0.8))
        assert (await bench.search()).mode is Mode.DENSE
        assert len(bench.qdrant.queries) == 1

    @pytest.mark.parametrize("mode", [Mode.LEXICAL, Mode.HYBRID])
    async def test_words_that_were_not_indexed_are_told_with_advice(self, bench: Any, mode: Mode) -> None:
        """It is the state of the collection that does not allow it."""
        bench.qdrant.has_words = False
        with pytest.raises(ConflictError, match=r"'laws'.*index .* again"):
            await bench.search(mode=mode)

    async def test_a_search_by_word_needs_no_model(self, bench: Any) -> None:
        """Nothing is encoded, and the score is that of the words."""
        bench.qdrant.metadata = {"model_name": "gone", "model_fingerprint": "0" * 64}
        bench.qdrant.add("a", (0.6, 0.8), "절도 미수")
        bench.qdrant.add("b", (0.6, 0.8), "강도")
        answer = await bench.search("절도 미수", mode=Mode.LEXICAL)
        assert [(hit.document_id, hit.score) for hit in answer.hits] == [("a", 2.0)]
        assert bench.models.encoder.texts == []

    async def test_a_query_without_words_is_searched_by_meaning_and_says_so(self, bench: Any) -> None:
        """Only particles: the lexical leg has nothing to look for."""
        bench.qdrant.add("a", (0.6, 0.8))
        answer = await bench.search("은 는")
        assert (answer.mode, len(answer.hits), len(bench.qdrant.queries)) == (Mode.DENSE, 1, 1)

    async def test_a_query_without_words_finds_nothing_by_word(self, bench: Any) -> None:
        """An empty answer is the honest one."""
        bench.qdrant.add("a", (0.6, 0.8))
        answer = await bench.search("은 는", mode=Mode.LEXICAL)
        assert (answer.mode, answer.hits, bench.qdrant.queries) == (Mode.LEXICAL, [], [])

    async def test_words_are_looked_for_while_the_query_is_encoded(
        self, bench: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The engine is at work before the analyser is asked, and still is when Qdrant has the words."""
        encode, query_vector, ask = bench.models.encoder.encode, bench.korean.query_vector, bench.qdrant.Query
        is_encoding, is_asked_for_words = asyncio.Event(), asyncio.Event()

        async def slow_encode(*given: Any) -> Any:
            is_encoding.set()
            await asyncio.wait_for(is_asked_for_words.wait(), 5)
            return await encode(*given)

        async def late_words(query: Any) -> Any:
            await asyncio.wait_for(is_encoding.wait(), 5)
            return await query_vector(query)

        async def told(query: Any, **given: Any) -> Any:
            is_asked_for_words.set()
            return await ask(query, **given)

        monkeypatch.setattr(bench.models.encoder, "encode", slow_encode)
        monkeypatch.setattr(bench.korean, "query_vector", late_words)
        monkeypatch.setattr(bench.qdrant, "Query", told)
        bench.qdrant.add("a", (0.6, 0.8), "절도")
        assert await bench.found() == ["a"]

    async def test_a_search_that_fails_leaves_no_work_behind(self, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The engine is not kept busy for an answer that nobody will get."""
        is_cancelled = asyncio.Event()

        async def endless_encode(*given: Any) -> Any:
            try:
                await asyncio.Event().wait()
            finally:
                is_cancelled.set()

        async def refuse(*given: Any, **more: Any) -> Any:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "no")

        monkeypatch.setattr(bench.models.encoder, "encode", endless_encode)
        monkeypatch.setattr(bench.qdrant, "Query", refuse)
        with pytest.raises(UnavailableError):
            await bench.search()
        await asyncio.wait_for(is_cancelled.wait(), 5)

    async def test_the_weight_of_words_decides(self, bench: Any) -> None:
        """Nearly all weight on one leg gives its order."""
        bench.qdrant.add("meaning", (0.6, 0.8), "강도")
        bench.qdrant.add("word", (-0.6, 0.8), "절도")
        assert await bench.found(fusion=Fusion(lexical_weight=0.01)) == ["meaning", "word"]
        assert await bench.found(fusion=Fusion(lexical_weight=0.99)) == ["word", "meaning"]


class TestReranking:
    """The best once more, token by token."""

    async def test_what_speaks_of_all_that_was_asked_is_first(self, bench: Any) -> None:
        """However near the other lies; its title is read, too."""
        bench.qdrant.add("near", (0.6, 0.8), "강도")
        bench.qdrant.add("whole", (0.5, 0.8), "미수", title="절도")
        assert await bench.found("절도 미수", mode=Mode.DENSE) == ["near", "whole"]
        answer = await bench.search("절도 미수", mode=Mode.DENSE, rerank=Rerank(), with_explanations=True)
        assert [hit.document_id for hit in answer.hits] == ["whole", "near"]
        assert answer.hits[0].explanation.max_sim == pytest.approx(1)
        assert answer.hits[0].score == pytest.approx(0.94 / hypot(0.5, 0.8) + 8)
        asked, compared = bench.models.encoder.compared
        assert (asked, compared[0], set(compared[1])) == (
            (Role.QUERY, ["절도 미수"]),
            Role.DOCUMENT,
            {"강도", "절도 미수"},
        )

    async def test_only_the_best_are_compared(self, bench: Any) -> None:
        """The others stand behind them, as they were."""
        for number, name in enumerate("abc"):
            bench.qdrant.add(name, (0.6, 0.8 - number / 10), "절도")
        answer = await bench.search(mode=Mode.DENSE, rerank=Rerank(2), with_explanations=True)
        assert [hit.document_id for hit in answer.hits] == ["a", "b", "c"]
        assert [hit.explanation.max_sim is None for hit in answer.hits] == [False, False, True]

    @pytest.mark.parametrize(
        ("asked", "limit"), [({}, 20), ({"top_k": 50}, 50), ({"top_k": 900}, 900), ({"rerank": Rerank(150)}, 150)]
    )
    async def test_so_many_candidates_are_found(self, bench: Any, asked: Any, limit: int) -> None:
        """As many as are compared, whatever is shown."""
        await bench.search(**{"mode": Mode.DENSE, "rerank": Rerank(), **asked})
        assert bench.qdrant.queries[0].limit == limit

    async def test_what_was_deleted_meanwhile_does_no_harm(self, bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """There is nothing to compare it by."""
        bench.qdrant.add("a", (0.6, 0.8), "절도")

        async def gone(*given: Any, **more: Any) -> list[Any]:
            return []

        monkeypatch.setattr(bench.qdrant, "retrieve", gone)
        assert await bench.found(rerank=Rerank()) == []

    async def test_it_needs_the_model_of_the_collection(self, bench: Any) -> None:
        """A search by word does not, otherwise."""
        bench.qdrant.metadata = {"model_name": "gone", "model_fingerprint": "0" * 64}
        bench.qdrant.add("a", (0.6, 0.8), "절도")
        with pytest.raises(ConflictError, match="kosearch model load"):
            await bench.search("절도", mode=Mode.LEXICAL, rerank=Rerank())

    async def test_without_a_query_there_is_nothing_to_compare(self, bench: Any) -> None:
        bench.qdrant.add("example", (1.0, 0.1))
        with pytest.raises(InvalidRequestError, match="leave rerank out"):
            await bench.search("", like_ids=("example",), rerank=Rerank())


class TestBounds:
    """What is refused before any work."""

    @pytest.mark.parametrize(
        ("asked", "fault"),
        [
            ({"query": " \u200b"}, "the query is empty"),
            ({"query": "가" * 10_001}, "10,001 characters"),
            ({"query": "ㅋ" * 40_000}, "40,000 characters"),
            ({"query": " " * 100_001}, "100,001 characters"),
            ({"top_k": 1001}, "1 to 1,000"),
            ({"top_k": 1_000_000}, "1,000,000"),
            ({"collection": "a/b"}, "not a collection name"),
            ({"collection": ""}, "not a collection name"),
            ({"score_threshold": NAN}, "score_threshold"),
            ({"diversity": 1.1}, "diversity"),
            ({"diversity": NAN}, "diversity"),
            ({"chunks_per_document": 11}, "1 to 10"),
            ({"fusion": Fusion(lexical_weight=0.0)}, "lexical_weight"),
            ({"fusion": Fusion(lexical_weight=1.5)}, "lexical_weight"),
            ({"fusion": Fusion(lexical_weight=NAN)}, "lexical_weight"),
            ({"fusion": Fusion(rrf_k=1001)}, "rrf_k"),
            ({"fusion": Fusion(candidates=1001)}, "candidates"),
            ({"like_ids": ("a",) * 17}, "16 documents"),
            ({"more_collections": tuple(map(str, range(16)))}, "16 collections"),
            ({"more_collections": ("laws",)}, "named twice"),
            ({"page_token": "nonsense"}, "page token is damaged"),
        ],
    )
    async def test_a_request_out_of_bounds_is_refused(self, bench: Any, asked: Any, fault: str) -> None:
        """The message names the bound."""
        with pytest.raises(InvalidRequestError, match=fault):
            await bench.search(**asked)
        assert bench.qdrant.queries == []

    async def test_ten_thousand_characters_are_a_query(self, bench: Any) -> None:
        """White space does not count, nor does the form of syllables."""
        await bench.search(unicodedata.normalize("NFD", "각 " * 5000))
        assert len(bench.models.encoder.texts[0]) == 9_999

    @pytest.mark.parametrize(
        ("asked", "limit"),
        [
            ({"mode": Mode.DENSE}, 10),
            ({"mode": Mode.DENSE, "top_k": 7}, 7),
            ({"mode": Mode.DENSE, "is_paged": True}, 1000),
            ({"mode": Mode.DENSE, "top_k": 7, "chunks_per_document": 1}, 21),
            ({"mode": Mode.DENSE, "top_k": 900, "chunks_per_document": 1}, 1000),
            ({"mode": Mode.DENSE, "diversity": 0.5}, 100),
            ({}, 100),
            ({"is_paged": True}, 100),
            ({"top_k": 500}, 500),
            ({"fusion": Fusion(candidates=30)}, 30),
            ({"fusion": Fusion(candidates=30), "top_k": 40}, 40),
        ],
    )
    async def test_so_many_candidates_are_taken(self, bench: Any, asked: Any, limit: int) -> None:
        """As many as the answer needs, and in a fusion as many whatever the page."""
        await bench.search(**asked)
        assert {query.limit for query in bench.qdrant.queries} == {limit}


class TestFilters:
    """What may be found."""

    async def test_both_legs_obey_the_filter(self, bench: Any) -> None:
        """The filter is part of either query."""
        bench.qdrant.kinds = KINDS
        await bench.search(filter=CIVIL)
        condition = models.FieldCondition(key="fields.law", match=models.MatchValue(value="민법"))
        expected = RestToGrpc.convert_filter(models.Filter(must=[condition]))
        assert [query.filter for query in bench.qdrant.queries] == [expected] * 2

    async def test_a_field_without_index_is_refused_naming_those_that_have_one(self, bench: Any) -> None:
        """Whoever filters learns by what."""
        bench.qdrant.kinds = KINDS
        with pytest.raises(InvalidRequestError, match=r"'colour'.*law \(texts\), year \(integers\)"):
            await bench.search(filter=Filter(must=(Condition("colour", "red"),)))

    async def test_what_is_known_of_fields_is_asked_for_again_after_a_refusal(self, bench: Any) -> None:
        """Somebody may just have made the index."""
        wanted = Filter(must=(Condition("law", Presence(is_missing=True)),))
        with pytest.raises(InvalidRequestError):
            await bench.search(filter=wanted)
        bench.qdrant.kinds = KINDS
        await bench.search(filter=wanted)


class TestPages:
    """A list that is found once."""

    async def test_pages_go_through_the_list_without_gap_or_repetition(self, bench: Any) -> None:
        """Together they are the list, whatever their sizes."""
        for number in range(25):
            bench.qdrant.add(f"d{number:02}", (1.0, number / 10), "절도" if number % 3 else "강도")
        whole = await bench.found(top_k=25)
        first = await bench.search(top_k=4, is_paged=True)
        found, token = [hit.document_id for hit in first.hits], first.next_page_token
        for size in (1, 10, 3, 25):
            bench.qdrant.add(f"new{size}", (0.6, 0.8), "절도")  # which must not move anything
            answer = await bench.search(top_k=size, is_paged=True, page_token=token)
            found += [hit.document_id for hit in answer.hits]
            token = answer.next_page_token
        assert found == whole
        assert token == ""

    async def test_no_token_is_made_unless_it_is_asked_for(self, bench: Any) -> None:
        """Most searches have one page."""
        for number in range(25):
            bench.qdrant.add(f"d{number}", (1.0, number / 10))
        assert (await bench.search(top_k=3)).next_page_token == ""

    async def test_chunks_deleted_meanwhile_are_passed_over(self, bench: Any) -> None:
        """A page is full as long as there is something to fill it with."""
        points = {f"d{number}": bench.qdrant.add(f"d{number}", (1.0, number / 10)) for number in range(8)}
        answer = await bench.search(top_k=2, is_paged=True)
        left = [name for name in await bench.found(top_k=8) if name not in {hit.document_id for hit in answer.hits}]
        for name in left[:2]:
            del bench.qdrant.collections["laws"][points[name]]
        again = await bench.search(top_k=3, is_paged=True, page_token=answer.next_page_token)
        assert [hit.document_id for hit in again.hits] == left[2:5]

    async def test_a_made_up_token_shows_nothing_that_the_filter_hides(self, bench: Any) -> None:
        """The points of a token are asked for together with the filter."""
        bench.qdrant.kinds = KINDS
        for number in range(6):
            bench.qdrant.add(f"d{number}", (1.0, number / 10), fields={"law": "민법" if number % 2 else "형법"})
        answer = await bench.search(top_k=1, is_paged=True, filter=CIVIL)  # the fake finds without the filter
        again = await bench.search(top_k=6, is_paged=True, filter=CIVIL, page_token=answer.next_page_token)
        assert again.hits
        assert {hit.fields["law"] for hit in again.hits} == {"민법"}

    async def test_further_pages_say_how_it_was_searched(self, bench: Any) -> None:
        """Scores, explanations and mode are those of the first search; nothing is encoded again."""
        for number in range(4):
            bench.qdrant.add(f"d{number}", (1.0, number / 10))
        answer = await bench.search("은 는", top_k=1, is_paged=True, with_explanations=True)
        bench.models.encoder.texts.clear()
        again = await bench.search(
            "은 는", top_k=1, is_paged=True, with_explanations=True, page_token=answer.next_page_token
        )
        assert (again.mode, bench.models.encoder.texts) == (Mode.DENSE, [])
        explanation = again.hits[0].explanation
        assert (explanation.dense.rank, explanation.lexical) == (2, None)
        assert explanation.dense.score == pytest.approx(again.hits[0].score)


class TestDocuments:
    """Chunks of a document stand together, and documents serve as examples."""

    async def test_documents_are_counted_and_their_chunks_stand_together(self, bench: Any) -> None:
        """At most so many of each, one below the other."""
        for number in range(12):
            bench.qdrant.add(f"c{number}", (1.0, number / 10), document_id=f"d{number % 4}", chunk_index=number)
        answer = await bench.search(mode=Mode.DENSE, top_k=3, chunks_per_document=2)
        assert [hit.document_id for hit in answer.hits] == ["d3", "d3", "d2", "d2", "d1", "d1"]

    async def test_pages_of_documents(self, bench: Any) -> None:
        """A page ends between documents."""
        for number in range(12):
            bench.qdrant.add(f"c{number}", (1.0, number / 10), document_id=f"d{number % 4}", chunk_index=number)
        options = {"mode": Mode.DENSE, "chunks_per_document": 2, "is_paged": True}
        first = await bench.search(top_k=1, **options)
        second = await bench.search(top_k=2, page_token=first.next_page_token, **options)
        assert [hit.document_id for hit in first.hits] == ["d3", "d3"]
        assert [hit.document_id for hit in second.hits] == ["d2", "d2", "d1", "d1"]

    async def test_documents_like_an_example_without_a_query(self, bench: Any) -> None:
        """What is nearest to the example, which itself is left out."""
        bench.qdrant.add("example", (1.0, 0.1))
        bench.qdrant.add("near", (1.0, 0.2))
        bench.qdrant.add("far", (0.0, 1.0))
        answer = await bench.search("", like_ids=("example",))
        assert answer.mode is Mode.DENSE
        assert bench.qdrant.queries[0].query.nearest.dense.data == pytest.approx([0.995, 0.0995], abs=1e-3)
        excluded = models.FieldCondition(key="document_id", match=models.MatchAny(any=["example"]))
        assert bench.qdrant.queries[0].filter == RestToGrpc.convert_filter(models.Filter(must_not=[excluded]))

    async def test_documents_unlike_an_example(self, bench: Any) -> None:
        """The search moves away from it."""
        bench.qdrant.add("bad", (0.0, 1.0))
        await bench.search("x", unlike_ids=("bad",), mode=Mode.DENSE)
        x, y = bench.qdrant.queries[0].query.nearest.dense.data
        assert x > 0.9
        assert y < 0

    async def test_an_unknown_example_is_named(self, bench: Any) -> None:
        """NOT_FOUND, with its id."""
        bench.qdrant.add("example", (1.0, 0.1))
        with pytest.raises(NotFoundError, match="no document nowhere in laws"):
            await bench.search("", like_ids=("example", "nowhere"))

    async def test_examples_have_no_words(self, bench: Any) -> None:
        """A search by words cannot use them."""
        with pytest.raises(InvalidRequestError, match="by meaning"):
            await bench.search("절도", like_ids=("example",), mode=Mode.LEXICAL)

    async def test_hits_that_say_the_same_are_moved_down(self, bench: Any) -> None:
        """The second of two equal chunks makes room for another one."""
        bench.qdrant.add("first", (1.0, 0.0))
        bench.qdrant.add("copy", (1.0, 0.0))
        bench.qdrant.add("other", (0.8, 0.6))
        found = await bench.found("x", mode=Mode.DENSE, top_k=3, diversity=0.6)
        assert (found[1], set(found)) == ("other", {"first", "copy", "other"})


class TestSeveralCollections:
    """Hits of several collections in one list."""

    async def test_hits_come_in_one_list_and_name_their_collection(self, bench: Any) -> None:
        """By score, wherever they are."""
        bench.qdrant.add("a", (1.0, 0.0))
        bench.qdrant.add("b", (1.0, 0.5), collection="cases")
        bench.qdrant.add("c", (1.0, 1.0))
        answer = await bench.search("x", mode=Mode.DENSE, more_collections=("cases",))
        assert [(hit.document_id, hit.collection) for hit in answer.hits] == [
            ("a", "laws"),
            ("b", "cases"),
            ("c", "laws"),
        ]

    async def test_the_same_document_in_two_collections_is_two_hits(self, bench: Any) -> None:
        """Points of the same id are told apart, over pages, too."""
        bench.qdrant.add("a", (1.0, 0.0))
        bench.qdrant.add("a", (1.0, 0.0), collection="cases")
        options = {"mode": Mode.DENSE, "more_collections": ("cases",), "top_k": 1, "is_paged": True}
        first = await bench.search("x", **options)
        second = await bench.search("x", page_token=first.next_page_token, **options)
        assert [each.hits[0].collection for each in (first, second)] == ["laws", "cases"]

    async def test_collections_of_different_models_are_refused(self, bench: Any) -> None:
        """Their scores cannot be compared."""
        bench.qdrant.collections["cases"] = {}
        bench.qdrant.other_metadata["cases"] = {"model_name": "kobert", "model_fingerprint": "0" * 64}
        with pytest.raises(ConflictError, match=r"'cases' was indexed with kobert, 'laws' with mini"):
            await bench.search(more_collections=("cases",))


class TestTelling:
    """What a hit tells of itself."""

    async def test_highlights_and_explanation(self, bench: Any) -> None:
        """Where the words stand, ranks and scores of both legs, and how often each word stands there."""
        bench.qdrant.add("a", (0.6, 0.8), "이 절도 절도 는", title="절도 미수")
        answer = await bench.search("절도 미수 는", with_highlights=True, with_explanations=True)
        (hit,) = answer.hits
        assert hit.highlights == (
            Highlight(0, 2, is_in_title=True, term="절도"),
            Highlight(3, 5, is_in_title=True, term="미수"),
            Highlight(2, 4, is_in_title=False, term="절도"),
            Highlight(5, 7, is_in_title=False, term="절도"),
        )
        assert hit.explanation.dense == Place(1, pytest.approx(1))
        assert hit.explanation.lexical == Place(1, 1.0)
        assert hit.explanation.matched_terms == (("절도", 3), ("미수", 1))

    async def test_nothing_is_told_unasked(self, bench: Any) -> None:
        """It costs an analysis of every hit."""
        bench.qdrant.add("a", (0.6, 0.8), "절도")
        (hit,) = (await bench.search()).hits
        assert (hit.highlights, hit.explanation) == ((), None)

    async def test_a_mended_query_is_told(self, bench: Any) -> None:
        """What was searched for is not what was asked."""
        bench.qdrant.add("a", (0.6, 0.8), "안녕")
        answer = await bench.search("dkssud", with_highlights=True)
        assert (answer.read_query, bench.models.encoder.texts) == ("안녕", ["안녕"])
        assert answer.hits[0].highlights
        assert (await bench.search("dkssud", reading=ReadingOptions(keeps_keyboard=True))).read_query == ""


class TestCounts:
    """Values of a field."""

    async def test_values_come_by_falling_count(self, bench: Any) -> None:
        """Equal counts by value."""
        bench.qdrant.kinds = KINDS
        counts = await bench.searcher.count_values("laws", "law", CIVIL, 0)
        assert counts == [ValueCount("다", 5), ValueCount("가", 2), ValueCount("나", 2)]
        assert (bench.qdrant.facets[0]["key"], bench.qdrant.facets[0]["limit"]) == ("fields.law", 20)

    @pytest.mark.parametrize(("field", "limit"), [("colour", 0), ("law", 1001), ("when", 0)])
    async def test_what_cannot_be_counted_is_refused(self, bench: Any, field: str, limit: int) -> None:
        """A field without index, one of dates, too many values."""
        bench.qdrant.kinds = {**KINDS, "fields.when": "datetime"}
        with pytest.raises(InvalidRequestError):
            await bench.searcher.count_values("laws", field, Filter(), limit)


class TestCollections:
    """What is known of a collection."""

    async def test_a_collection_of_another_model_is_refused_naming_both(self, bench: Any) -> None:
        """Embeddings of different models cannot be compared."""
        bench.qdrant.metadata = {"model_name": "kobert", "model_fingerprint": "0" * 64}
        with pytest.raises(ConflictError, match=r"kobert .*mini"):
            await bench.search()

    async def test_a_collection_without_a_model_is_refused(self, bench: Any) -> None:
        """Nobody knows what its vectors mean."""
        bench.qdrant.metadata = None
        with pytest.raises(ConflictError, match="an unknown model"):
            await bench.search()

    async def test_it_is_asked_for_once_in_five_seconds(self, bench: Any) -> None:
        """Not before every search."""
        for bench.now in (100.0, 104.9, 105.1, 106.0):
            await bench.search()
        assert bench.qdrant.checks == 2

    async def test_a_refused_collection_is_asked_for_again(self, bench: Any) -> None:
        """It may have been made anew."""
        good, bench.qdrant.metadata = bench.qdrant.metadata, None
        with pytest.raises(ConflictError):
            await bench.search()
        bench.qdrant.metadata = good
        await bench.search()

    async def test_an_unknown_collection_says_how_to_make_it(self, bench: Any) -> None:
        """NOT_FOUND, with the command."""
        with pytest.raises(NotFoundError, match=r"kosearch index .*--collection recipes"):
            await bench.search(collection="recipes")

    async def test_a_collection_deleted_meanwhile_is_asked_for_again_when_it_is_back(self, bench: Any) -> None:
        """What was known of it is forgotten."""
        await bench.search()
        bench.qdrant.fault = grpc.StatusCode.NOT_FOUND
        with pytest.raises(NotFoundError):
            await bench.search()
        bench.qdrant.fault = None
        await bench.search()
        assert bench.qdrant.checks == 2

    @pytest.mark.parametrize("fault", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED])
    async def test_a_qdrant_that_does_not_answer_is_named_with_advice(self, bench: Any, fault: grpc.StatusCode) -> None:
        """UNAVAILABLE, with the command that starts it."""
        bench.qdrant.fault = fault
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:7411.*kosearch up"):
            await bench.search()


@pytest.mark.parametrize("method", list(FusionMethod))
async def test_every_fusion_finds_all_candidates(bench: Any, method: FusionMethod) -> None:
    """None loses one."""
    for number in range(9):
        bench.qdrant.add(f"d{number}", (1.0, number / 10), "절도" if number % 2 else "강도")
    assert len(await bench.found(fusion=Fusion(method))) == 9
