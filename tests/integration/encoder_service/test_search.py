"""Search through the service, on the store process and on a Qdrant server."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf import json_format

from kosearch.documents import Chunk, Document
from kosearch.korean.kiwi import shared_kiwi
from kosearch.korean.morphemes import MorphemeAnalyser
from protos.kosearch.v1 import search_pb2, search_pb2_grpc
from tests.integration.encoder_service.search_corpus import CHUNKS, DOCUMENTS, Corpus, Engine, ask, search
from tests.real_qdrant import running_qdrant, why_unavailable
from tests.store_process import running_store

DENSE, LEXICAL, HYBRID = search_pb2.SEARCH_MODE_DENSE, search_pb2.SEARCH_MODE_LEXICAL, search_pb2.SEARCH_MODE_HYBRID
DRUMS = {f"drum-{number}" for number in range(20)}
Condition, Filter = search_pb2.Condition, search_pb2.Filter
NAN = float("nan")


def on(field: str, **test: Any) -> search_pb2.Condition:
    return Condition(field=field, **test)


def group(**conditions: Any) -> search_pb2.Condition:
    return Condition(filter=Filter(**conditions))


@pytest.fixture(scope="session")
def corpus(tiny_model: Any, make_ids: Any) -> Corpus:
    """Documents, embedded by the textbook implementation of the model."""
    return Corpus(tiny_model, make_ids)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, corpus: Corpus) -> Iterator[Engine]:
    """A store process with the collection `animals`."""
    with running_store(tmp_path_factory.mktemp("store") / "data") as process:
        yield filled(Engine(process), corpus)


@pytest.fixture(scope="module")
def server(corpus: Corpus) -> Iterator[Engine]:
    """A Qdrant server with the collection `animals`."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    with running_qdrant() as process:
        yield filled(Engine(process), corpus)


def filled(engine: Engine, corpus: Corpus) -> Engine:
    with closing(engine.client()) as client:
        corpus.create(client, "animals")
        corpus.add(client, "animals")
    return engine


@pytest.fixture(params=["store", "server"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two in turn."""
    chosen: Engine = request.getfixturevalue(request.param)
    return chosen


@pytest.fixture
async def channel(serve: Any, engine: Engine) -> AsyncIterator[grpc.aio.Channel]:
    """A connection to the service."""
    async with serve(qdrant=engine.settings) as channel:
        yield channel


@pytest.fixture
def new_collection(engine: Engine) -> Iterator[str]:
    """The name of a collection that is gone after the test."""
    name = f"new-{uuid4().hex}"
    yield name
    with closing(engine.client()) as client:
        client.delete_collection(name)


def refusal_of(caught: Any) -> tuple[grpc.StatusCode, str]:
    return caught.value.code(), caught.value.details() or ""


async def test_the_text_itself_is_found_first(channel: grpc.aio.Channel) -> None:
    """By meaning its score is 1, and everything that was stored comes back."""
    hits = await search(channel, DOCUMENTS[0].text, mode=DENSE)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert (hits[0].id, hits[0].title, hits[0].text) == ("cheetah", "동물", DOCUMENTS[0].text)
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert json_format.MessageToDict(hits[0].payload) == DOCUMENTS[0].fields


async def test_a_word_is_found_whatever_is_attached_to_it(channel: grpc.aio.Channel) -> None:
    """Particles and endings do not matter; nothing without the word is found."""
    for query in ("음식", "음식은", unicodedata.normalize("NFD", "음식을")):
        hits = await search(channel, query, mode=LEXICAL, chunks_per_document=1)
        assert {hit.id for hit in hits} == {"man", "woman", "long"}


async def test_a_query_is_read_as_it_was_meant(channel: grpc.aio.Channel) -> None:
    """드럼 on the other keyboard; what was searched for is told, and pages go on with it."""
    answer = await ask(channel, "emfja", mode=LEXICAL, top_k=3, paged=True, with_highlights=True)
    assert (answer.read_query, len(answer.hits)) == ("드럼", 3)
    assert all(hit.highlights for hit in answer.hits)
    again = await ask(channel, "emfja", mode=LEXICAL, top_k=3, page_token=answer.next_page_token, with_highlights=True)
    assert again.read_query == "드럼"
    assert all(hit.highlights for hit in again.hits)
    as_typed = search_pb2.Reading(keeps_keyboard=True, keeps_spacing=True, keeps_typos=True)
    typed = await ask(channel, "emfja", mode=LEXICAL, reading=as_typed)
    assert (typed.read_query, len(typed.hits)) == ("", 0)


async def test_hybrid_is_what_one_gets(channel: grpc.aio.Channel) -> None:
    """Both legs have their part in the list, and say so."""
    answer = await ask(channel, "드럼을 연주하는 원숭이", with_explanations=True, top_k=30)
    best = answer.hits[0]
    assert (answer.mode, best.id, best.explanation.dense_rank, best.explanation.lexical_rank) == (
        HYBRID,
        "monkey",
        1,
        1,
    )
    told = best.explanation
    assert best.score == pytest.approx(0.5 * told.dense_score + 0.5 * told.lexical_score / 30)
    assert {each.term: each.count for each in best.explanation.matched_terms}["원숭이"] == 1
    assert any(not hit.explanation.HasField("lexical_rank") for hit in answer.hits)


@pytest.mark.parametrize("method", list(search_pb2.Fusion.Method.values()))
async def test_both_engines_give_the_same_hits_in_the_same_order(
    serve: Any, store: Engine, server: Engine, method: Any
) -> None:
    """Fusion and ties are the service's, whatever is below it."""
    fusion = search_pb2.Fusion(method=method)
    lists: list[list[tuple[str, int]]] = []
    for engine in (store, server):
        async with serve(qdrant=engine.settings) as channel:
            found = [
                (hit.id, hit.chunk_index)
                for query in ("드럼 이야기", "음식을 먹는 여자", "손해배상 판결", "3번")
                for mode in (DENSE, LEXICAL, HYBRID)
                for hit in await search(channel, query, mode=mode, fusion=fusion, top_k=40)
            ]
            lists.append(found)
    assert lists[0] == lists[1]


async def test_both_engines_rerank_alike(serve: Any, store: Engine, server: Engine) -> None:
    """And what was asked for word by word is as like as can be."""
    found = []
    for engine in (store, server):
        async with serve(qdrant=engine.settings) as channel:
            asked: dict[str, Any] = {"rerank": search_pb2.Rerank(candidates=5), "with_explanations": True, "top_k": 40}
            for mode in (DENSE, LEXICAL, HYBRID):
                hits = await search(channel, f"{DOCUMENTS[0].title} {DOCUMENTS[0].text}", mode=mode, **asked)
                assert hits[0].explanation.max_sim == pytest.approx(1, abs=1e-3)
                assert [hit.explanation.HasField("max_sim") for hit in hits] == [n < 5 for n in range(len(hits))]
                found.append((engine, [(hit.id, hit.chunk_index) for hit in hits]))
    assert [ids for where, ids in found if where is store] == [ids for where, ids in found if where is server]


async def test_further_pages_tell_the_likeness_too(channel: grpc.aio.Channel) -> None:
    asked: dict[str, Any] = {"rerank": search_pb2.Rerank(), "with_explanations": True, "top_k": 3}
    first = await ask(channel, "드럼 이야기", paged=True, **asked)
    second = await ask(channel, "드럼 이야기", page_token=first.next_page_token, **asked)
    max_sims = [hit.explanation.max_sim for hit in (*first.hits, *second.hits)]
    assert len(max_sims) == 6
    assert all(max_sims)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (Filter(must=[on("다리", integer=2)]), {"monkey", "man"}),
        (Filter(must=[on("다리", range=search_pb2.Range(gt=2))]), {"cheetah"}),
        (Filter(must=[on("다리", range=search_pb2.Range(gte=2, lt=4))]), {"monkey", "man"}),
        (Filter(must=[on("wild", boolean=False)]), {"man"}),
        (Filter(must=[on("kind", keyword="cat")]), {"cheetah"}),
        (Filter(must=[on("kind", keyword=unicodedata.normalize("NFD", "요리"))]), {"woman"}),
        (Filter(must=[on("tags", keyword="음악")]), {"monkey"}),
        (Filter(must=[on("years", integer=2003)]), {"ruling"}),
        (Filter(must=[on("rating", integer=8)]), {"monkey"}),
        (Filter(must=[on("rating", integer=1)]), {"man"}),
        (Filter(must=[on("rating", any_of=search_pb2.Values(integers=[1, 8]))]), {"monkey", "man"}),
        (Filter(must=[on("kind", any_of=search_pb2.Values(keywords=["cat", "ape"]))]), {"cheetah", "monkey"}),
        (Filter(must=[on("n", any_of=search_pb2.Values(integers=[3, 7, 99]))]), {"drum-3", "drum-7"}),
        (
            Filter(must=[on("n", is_missing=True), on("kind", is_missing=True)]),
            {"man", "parts"},
        ),
        (Filter(must=[on("tags", is_missing=False)]), {"cheetah", "monkey"}),
        (Filter(must=[on("n", is_missing=True)], must_not=[on("kind", keyword="law")]),
         {"cheetah", "monkey", "man", "woman", "parts", "long"}),
        (Filter(should=[on("다리", integer=4), on("n", integer=1)]), {"cheetah", "drum-1"}),
        # The 1st of March in Korea is the 29th of February in UTC.
        (Filter(must=[on("date", keyword="2020-02-29")]), {"cheetah", "monkey"}),
        (Filter(must=[on("date", dates=search_pb2.DateRange(gte="2020-02-29", lt="2020-03"))]),
         {"cheetah", "monkey"}),
        (Filter(must=[on("date", dates=search_pb2.DateRange(gt="2020"))]), {"man", "woman"}),
        (Filter(must=[on("date", dates=search_pb2.DateRange(gte="2021", lte="2021"))]), {"man"}),
        (Filter(must=[on("date", integer=2021)]), {"man"}),
        (Filter(must=[on("date", range=search_pb2.Range(gt=2021))]), {"woman"}),
        (Filter(must=[on("date", dates=search_pb2.DateRange(gt="2020-02-29T12:00:00Z", lte="2021-12"))]),
         {"monkey", "man"}),
        (Filter(must=[on("date", dates=search_pb2.DateRange(gt="9999"))]), set()),
        (
            Filter(
                must=[group(should=[on("wild", boolean=True), on("n", integer=5)])],
                must_not=[group(must=[on("다리", integer=4), on("kind", keyword="cat")])],
            ),
            {"monkey", "drum-5"},
        ),
        (
            Filter(
                must=[
                    on("parts", nested=Filter(must=[on("name", keyword="wheel"), on("count", integer=4)]),
                    )
                ]
            ),
            {"parts"},
        ),
        (
            Filter(
                must=[
                    on("parts", nested=Filter(must=[on("name", keyword="wheel"), on("count", integer=1)]),
                    )
                ]
            ),
            set(),
        ),
        (Filter(must=[on("absent", keyword="cat")], allows_unindexed=True), set()),
    ],
)  # fmt: skip
async def test_only_what_meets_the_filter_is_found(
    channel: grpc.aio.Channel, wanted: search_pb2.Filter, found: set[str]
) -> None:
    """In both legs."""
    for mode in (DENSE, HYBRID):
        hits = await search(channel, "드럼", mode=mode, filter=wanted, top_k=50)
        assert {hit.id for hit in hits} == found


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"query": ""}, "empty"),
        ({"query": " \u200b\n"}, "empty"),
        ({"query": "가" * 10_001}, "10,001"),
        ({"query": "ㅋ" * 40_000}, "40,000"),
        ({"top_k": 1_000_000}, "1,000,000"),
        ({"mode": 9}, "mode 9"),
        ({"score_threshold": NAN}, "score_threshold"),
        ({"diversity": 2}, "diversity"),
        ({"rerank": search_pb2.Rerank(candidates=201)}, "1 to 200"),
        ({"query": "", "like_ids": ["man"], "rerank": search_pb2.Rerank()}, "leave rerank out"),
        ({"fusion": search_pb2.Fusion(lexical_weight=1.5)}, "lexical_weight"),
        ({"fusion": search_pb2.Fusion(lexical_weight=-1)}, "lexical_weight"),
        ({"fusion": search_pb2.Fusion(method=7)}, "fusion method 7"),
        ({"chunks_per_document": 11}, "chunks_per_document"),
        ({"page_token": "AQ=="}, "page token"),
        ({"filter": Filter(must=[on("absent", keyword="cat")])}, "n (integers)"),
        ({"filter": Filter(must=[on("다리", keyword="넷")])}, "다리>=8"),
        ({"filter": Filter(must=[on("kind", integer=3)])}, 'kind="2023"'),
        ({"filter": Filter(must=[on("wild", range=search_pb2.Range(gt=1))])}, "wild=true"),
        ({"filter": Filter(must=[on("date", keyword="어제")])}, "no date"),
        ({"filter": Filter(must=[on("date", integer=3)])}, "date>=2020-01"),
        ({"filter": Filter(must=[on("rating", range=search_pb2.Range(gt=NAN))])}, "rating"),
        ({"filter": Filter(must=[on("n")])}, "tests nothing"),
        ({"filter": Filter(must=[on("n", integer=1)] * 65)}, "65 conditions"),
        ({"filter": Filter(must=[Condition(filter=Filter())])}, "no condition"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_what_would(
    channel: grpc.aio.Channel, asked: dict[str, Any], words: str
) -> None:
    """INVALID_ARGUMENT, and the message helps."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, **{"query": "드럼", **asked})
    code, details = refusal_of(caught)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert words in details


@pytest.mark.parametrize("query", ["은 는 이 가", "🍰", "가" * 10_000, "ㅋ" * 10_000, "?!", "a" * 9_999, "의 " * 4_000])
async def test_odd_queries_get_an_answer(channel: grpc.aio.Channel, query: str) -> None:
    """By meaning something is near; by word nothing may be."""
    assert await search(channel, query)
    await search(channel, query, mode=LEXICAL)


async def test_only_stop_words_say_nothing_by_word(channel: grpc.aio.Channel) -> None:
    """Searched by meaning, and the answer says so; by word nothing is found."""
    assert (await ask(channel, "그리고 에서는")).mode == DENSE
    assert not await search(channel, "그리고 에서는", mode=LEXICAL)


async def test_pages_neither_repeat_nor_skip_while_documents_come(
    channel: grpc.aio.Channel, engine: Engine, corpus: Corpus, new_collection: str
) -> None:
    """The list is found once; what is deleted meanwhile is passed over."""
    with closing(engine.client()) as client:
        corpus.create(client, new_collection)
        corpus.add(client, new_collection)
        whole = await search(channel, "드럼", collection=new_collection, top_k=40)
        answer = await ask(channel, "드럼", collection=new_collection, top_k=7, paged=True)
        gone = next(hit for hit in whole[7:] if hit.id != "long")
        client.delete(new_collection, points_selector=[Chunk(Document(gone.id, ""), 0, "", "").point_id], wait=True)
        found = list(answer.hits)
        for number in range(20):
            if not answer.next_page_token:
                break
            newest = Document(f"new-{number}", "드럼을 두드리는 드럼", "드럼")
            corpus.add(client, new_collection, [Chunk(newest, 0, newest.text, newest.text)])
            answer = await ask(
                channel, "드럼", collection=new_collection, top_k=4, paged=True, page_token=answer.next_page_token
            )
            found += answer.hits
    expected = [(hit.id, hit.chunk_index) for hit in whole if hit.id != gone.id]
    assert [(hit.id, hit.chunk_index) for hit in found] == expected


async def test_a_token_of_another_search_is_refused(channel: grpc.aio.Channel) -> None:
    """Another query, another filter, another mode: the list would be another one."""
    token = (await ask(channel, "드럼", top_k=2, paged=True)).next_page_token
    assert await search(channel, "드럼", top_k=9, page_token=token)
    for other in (
        {"query": "음식"},
        {"mode": DENSE},
        {"filter": Filter(must=[on("n", integer=1)])},
        {"diversity": 0.5},
        {"with_explanations": True},
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, **{"query": "드럼", "top_k": 2, "page_token": token, **other})
        code, details = refusal_of(caught)
        assert (code, "another search" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_a_token_outlives_the_service(serve: Any, engine: Engine) -> None:
    """Any other process goes on with it."""
    async with serve(qdrant=engine.settings) as channel:
        first = await ask(channel, "드럼", top_k=5, paged=True)
    async with serve(qdrant=engine.settings) as channel:
        second = await search(channel, "드럼", top_k=5, page_token=first.next_page_token)
        both = await search(channel, "드럼", top_k=10)
    assert [hit.id for hit in (*first.hits, *second)] == [hit.id for hit in both]


@pytest.mark.parametrize("query", ["음식 케이크", "損害賠償 판결", "드럼을 두드리는", "고의 과실 손해 배상"])
async def test_highlights_are_the_words_of_the_query(channel: grpc.aio.Channel, query: str) -> None:
    """Each stretch, analysed for itself, has its words; beside emoji and Hanja, and for a query in NFD, too."""
    analyser = MorphemeAnalyser(shared_kiwi())
    hits = await search(channel, unicodedata.normalize("NFD", query), with_highlights=True, top_k=5)
    assert any(hit.highlights for hit in hits)
    for hit in hits:
        for each in hit.highlights:
            text = hit.title if each.is_in_title else hit.text
            assert 0 <= each.start < each.end <= len(text)
            surface = text[each.start : each.end]
            words = {term.text for term in analyser.terms(surface)}
            assert all(word in words or word in surface for word in each.term.split())


async def test_documents_like_others(channel: grpc.aio.Channel) -> None:
    """Instead of a query or with it; the examples are not among the hits."""
    hits = await search(channel, "", like_ids=["drum-3", "drum-4"], top_k=5)
    assert {hit.id for hit in hits} <= DRUMS - {"drum-3", "drum-4"}
    away = await search(channel, "드럼", like_ids=["drum-3"], unlike_ids=["cheetah"], top_k=40)
    assert {"drum-3", "cheetah"}.isdisjoint(hit.id for hit in away)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(channel, "", like_ids=["drum-3", "nowhere"])
    assert refusal_of(caught)[0] is grpc.StatusCode.NOT_FOUND
    assert "nowhere" in refusal_of(caught)[1]


async def test_chunks_of_a_document_stand_together(channel: grpc.aio.Channel) -> None:
    """At most so many; top_k counts documents."""
    hits = await search(channel, "드럼 이야기", chunks_per_document=2, top_k=6)
    ids = [hit.id for hit in hits]
    assert ids[0] == ids[1] == "long"
    assert ids.count("long") == 2
    assert len(set(ids)) == 6


async def test_other_hits_are_moved_up(channel: grpc.aio.Channel) -> None:
    """Twenty texts that say the same make room."""
    plain = await search(channel, "드럼을 두드린다", top_k=5)
    diverse = await search(channel, "드럼을 두드린다", top_k=5, diversity=0.7)
    assert {hit.id for hit in plain} <= DRUMS
    assert plain[0].id == diverse[0].id
    assert not {hit.id for hit in diverse} <= DRUMS


async def test_several_collections_are_one_list(
    channel: grpc.aio.Channel, engine: Engine, corpus: Corpus, new_collection: str
) -> None:
    """By score, and each hit says where it is from; another model is refused."""
    more = Document("bear", "곰 한 마리가 음식을 먹는다.", "동물", {})
    with closing(engine.client()) as client:
        corpus.create(client, new_collection)
        corpus.add(client, new_collection, [Chunk(more, 0, more.text, more.text)])
        hits = await search(channel, more.text, mode=DENSE, more_collections=[new_collection], top_k=2)
        assert (hits[0].id, hits[0].collection) == ("bear", new_collection)
        assert hits[1].collection == "animals"
        client.delete_collection(new_collection)
        corpus.create(client, new_collection, "0" * 64)
    await asyncio.sleep(5.1)  # until what is known of the collection is asked for again
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(channel, "곰", more_collections=[new_collection])
    assert refusal_of(caught)[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_collection_without_words_is_searched_by_meaning(
    channel: grpc.aio.Channel, engine: Engine, corpus: Corpus, new_collection: str
) -> None:
    """Words that are asked for are missed, with what to do."""
    with closing(engine.client()) as client:
        corpus.create(client, new_collection, has_words=False)
        corpus.add(client, new_collection, CHUNKS[:3], has_words=False)
    answer = await ask(channel, "치타", collection=new_collection)
    assert (answer.mode, len(answer.hits)) == (DENSE, 3)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, "치타", collection=new_collection, mode=HYBRID)
    code, details = refusal_of(caught)
    assert (code, "again" in details) == (grpc.StatusCode.FAILED_PRECONDITION, True)


async def test_a_stream_is_answered_in_order(channel: grpc.aio.Channel) -> None:
    """The first error ends it."""
    queries = [f"드럼 {number}번" for number in range(12)]

    async def requests() -> AsyncIterator[search_pb2.SearchRequest]:
        for query in queries:
            yield search_pb2.SearchRequest(query=query, collection="animals", top_k=1, mode=LEXICAL)
        yield search_pb2.SearchRequest(query="", collection="animals")

    first: list[str] = []

    async def read() -> None:
        async for response in search_pb2_grpc.SearchStub(channel).SearchStream(requests(), timeout=60):
            first.append(response.hits[0].id)

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read()
    assert first == [f"drum-{number}" for number in range(12)]
    assert refusal_of(caught)[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("field", "wanted", "counted"),
    [
        ("kind", Filter(), {"law": 2, "long": 4, "cat": 1, "ape": 1, "요리": 1}),
        ("tags", Filter(), {"빠름": 1, "고양이과": 1, "음악": 1}),
        ("다리", Filter(must=[on("wild", boolean=True)]), {4: 1, 2: 1}),
        ("wild", Filter(), {True: 2, False: 1}),
    ],
)
async def test_values_are_counted(
    channel: grpc.aio.Channel, field: str, wanted: search_pb2.Filter, counted: dict[Any, int]
) -> None:
    """Texts, numbers and truth values, by falling count."""
    request = search_pb2.CountValuesRequest(collection="animals", field=field, filter=wanted)
    reply = await search_pb2_grpc.SearchStub(channel).CountValues(request, timeout=20)
    values = {getattr(each, each.WhichOneof("value") or ""): each.chunks for each in reply.values}
    assert values == counted
    assert [each.chunks for each in reply.values] == sorted(counted.values(), reverse=True)


async def test_a_field_of_dates_is_not_counted(channel: grpc.aio.Channel) -> None:
    """The message names the fields that can be."""
    request = search_pb2.CountValuesRequest(collection="animals", field="date")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search_pb2_grpc.SearchStub(channel).CountValues(request, timeout=20)
    code, details = refusal_of(caught)
    assert (code, "kind (texts)" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_an_unknown_collection_is_not_found(channel: grpc.aio.Channel) -> None:
    """The message has the command that makes it."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await search(channel, "치타", collection="plants")
    code, details = refusal_of(caught)
    assert (code, "--collection plants" in details) == (grpc.StatusCode.NOT_FOUND, True)


async def test_a_killed_store_is_found_again_once_it_is_back(serve: Any, corpus: Corpus, tmp_path: Path) -> None:
    """Meanwhile it is UNAVAILABLE."""
    with running_store(tmp_path / "store") as process:
        engine = filled(Engine(process), corpus)
        async with serve(qdrant=engine.settings) as channel:
            assert await search(channel, "치타")
            process.kill()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await search(channel, "치타")
            assert refusal_of(caught)[0] is grpc.StatusCode.UNAVAILABLE
            back = process.spawn("--port", str(process.port))
            try:
                assert await asyncio.wait_for(_until_found(channel), timeout=20)
            finally:
                back.kill()
                back.wait()


async def _until_found(channel: grpc.aio.Channel) -> list[search_pb2.Hit]:
    while True:
        try:
            return await search(channel, "치타")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            await asyncio.sleep(0.1)
