"""The server as its clients see it, over a real connection."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, search_pb2, search_pb2_grpc

SERVICES = ["kosearch.v1.Encoder", "kosearch.v1.Search"]


async def encode(channel: grpc.aio.Channel, texts: Sequence[str], **call: Any) -> encoder_pb2.EncodeResponse:
    stub = encoder_pb2_grpc.EncoderStub(channel)
    return await stub.Encode(encoder_pb2.EncodeRequest(texts=texts), timeout=30, **call)


class GatedEngine:
    """Waits for the gate before each batch; tells how many tokens the texts of each batch had."""

    def __init__(self, engine: Any) -> None:
        self.dim, self._engine, self.batches = engine.dim, engine, list[list[int]]()
        self.gate, self.entered = threading.Event(), threading.Event()

    def encode(self, token_ids: Sequence[Any]) -> Any:
        self.entered.set()
        assert self.gate.wait(30)
        self.batches.append([len(ids) for ids in token_ids])
        return self._engine.encode(token_ids)


async def test_embeddings_are_rows_of_little_endian_float32(serve: Any, tiny_model: Any, make_ids: Any) -> None:
    texts = ["한 남자가 음식을 먹는다.", "치타", "원숭이 " * 100]
    async with serve() as channel:
        reply = await encode(channel, texts)
    rows = np.frombuffer(reply.embeddings, "<f4").reshape(len(texts), reply.dim)
    np.testing.assert_allclose(rows, [tiny_model.forward(make_ids(text)) for text in texts], atol=2e-6)
    assert reply.token_counts == [len(make_ids(text)) for text in texts]
    assert reply.truncated == [False, False, True]
    assert reply.model_fingerprint == tiny_model.directory.fingerprint


async def test_a_request_larger_than_a_batch_keeps_its_order(serve: Any, tiny_model: Any, make_ids: Any) -> None:
    texts = ["원숭이 한 마리가 드럼을 연주한다."[: 1 + number % 18] for number in range(200)]
    async with serve(max_batch_tokens=256) as channel:
        reply = await encode(channel, texts)
    rows = np.frombuffer(reply.embeddings, "<f4").reshape(len(texts), reply.dim)
    np.testing.assert_allclose(rows, [tiny_model.forward(make_ids(text)) for text in texts], atol=2e-6)


async def test_many_callers_at_once_each_get_their_own(serve: Any, tiny_model: Any, make_ids: Any) -> None:
    texts = [f"{'치타 ' * (number % 7 + 1)}{'원숭이 ' * (number % 3)}" for number in range(64)]
    async with serve() as channel:
        replies = await asyncio.gather(*(encode(channel, [text]) for text in texts))
    for text, reply in zip(texts, replies, strict=True):
        np.testing.assert_allclose(
            np.frombuffer(reply.embeddings, "<f4"), tiny_model.forward(make_ids(text)), atol=2e-6
        )


async def test_info_tells_model_and_limits(serve: Any, tiny_model: Any) -> None:
    async with serve(max_texts=7) as channel:
        info = await encoder_pb2_grpc.EncoderStub(channel).Info(encoder_pb2.InfoRequest(), timeout=5)
    assert (info.model_name, info.dim, info.max_tokens, info.max_texts) == ("tiny-bert", 32, 160, 7)
    assert info.model_fingerprint == tiny_model.directory.fingerprint


@pytest.mark.parametrize(
    ("texts", "complaint"),
    [
        ([], "no text"),
        (["치타", " "], r"texts[1] is empty"),
        (["치타"] * 3, "3 texts, 2"),
        (["가" * 400], "1,200 bytes"),
    ],
)
async def test_bad_input_is_refused_and_the_service_lives_on(serve: Any, texts: list[str], complaint: str) -> None:
    async with serve(max_texts=2, max_text_bytes=1024) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await encode(channel, texts)
        assert (await encode(channel, ["치타"])).dim == 32
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert complaint in (refusal.value.details() or "")


BAD_UTF8 = b"\x0a\x03\xed\xa0\x80"  # an EncodeRequest whose text is a lone surrogate


async def test_bytes_that_are_no_request_are_refused(serve: Any) -> None:
    async with serve() as channel:
        call: Any = channel.unary_unary("/kosearch.v1.Encoder/Encode")
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await call(BAD_UTF8, timeout=30)
        assert (await encode(channel, ["치타"])).dim == 32
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "UTF-8" in (refusal.value.details() or "")


async def test_a_stream_ends_at_bytes_that_are_no_request(serve: Any) -> None:
    good = encoder_pb2.EncodeRequest(texts=["치타"]).SerializeToString()
    async with serve() as channel:
        call: Any = channel.stream_stream("/kosearch.v1.Encoder/EncodeStream")
        replies = call(iter([good, BAD_UTF8, good]), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            [reply async for reply in replies]
        assert (await encode(channel, ["치타"])).dim == 32
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_hundred_thousand_texts_and_a_megabyte(serve: Any) -> None:
    async with serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await encode(channel, ["치타"] * 100_000)
        megabyte = await encode(channel, ["치타 원숭이 " * ((1 << 20) // 19)])
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "100,000 texts, 1,024" in (refusal.value.details() or "")
    assert list(megabyte.truncated) == [True]
    assert list(megabyte.token_counts) == [160]


async def test_a_deadline_that_is_past(serve: Any, tiny_engine: Any) -> None:
    engine = GatedEngine(tiny_engine)
    async with serve(engine=engine) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Encode(encoder_pb2.EncodeRequest(texts=["치타"]), timeout=-1)
    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not engine.entered.is_set()


async def test_an_unknown_model_is_not_found(serve: Any) -> None:
    async with serve() as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await stub.Encode(encoder_pb2.EncodeRequest(texts=["치타"], model="none"), timeout=30)
    assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
    assert "tiny-bert" in (refusal.value.details() or "")


async def test_a_full_queue_refuses_with_a_delay(serve: Any, tiny_engine: Any) -> None:
    engine = GatedEngine(tiny_engine)
    async with serve(engine=engine, max_batch_tokens=256, max_queued_tokens=1024) as channel:
        # 150 tokens a text, one a batch: one call with the engine, six in the queue.
        calls = {asyncio.ensure_future(encode(channel, ["치 " * 148])) for _ in range(16)}
        refused: set[asyncio.Future[Any]] = set()
        while len(refused) < 9:
            done, _ = await asyncio.wait(calls - refused, return_when=asyncio.FIRST_COMPLETED)
            refused |= done
        engine.gate.set()
        await asyncio.wait(calls)
    errors: Any = [call.exception() for call in refused]
    assert {error.code() for error in errors} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    status = rpc_status.from_call(errors[0])
    retry = error_details_pb2.RetryInfo()
    assert status is not None
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0


async def test_a_caller_past_its_deadline_is_not_encoded(serve: Any, tiny_engine: Any) -> None:
    engine = GatedEngine(tiny_engine)
    async with serve(engine=engine, max_batch_tokens=256) as channel:
        busy = asyncio.ensure_future(encode(channel, ["치 " * 148] * 3))  # one running, two waiting
        await asyncio.to_thread(engine.entered.wait, 30)
        hurried = encoder_pb2_grpc.EncoderStub(channel).Encode(encoder_pb2.EncodeRequest(texts=["치타"]), timeout=0.3)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await hurried
        engine.gate.set()
        await busy
        await encode(channel, ["원숭이"])
    assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(engine.batches) == 4


async def test_an_engine_fault_is_internal_and_shows_nothing_but_the_request_id(serve: Any, tiny_engine: Any) -> None:
    class Broken:
        dim = tiny_engine.dim

        def encode(self, _token_ids: Any) -> Any:
            raise ZeroDivisionError("a secret")

    async with serve(engine=Broken()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await encode(channel, ["치타"], metadata=(("x-request-id", "job-7"),))
    assert refusal.value.code() is grpc.StatusCode.INTERNAL
    assert "job-7" in (refusal.value.details() or "")
    assert "secret" not in (refusal.value.details() or "")


async def test_embeddings_travel_in_the_type_and_dimensions_asked_for(
    serve: Any, tiny_model: Any, make_ids: Any
) -> None:
    texts = ["한 남자가 음식을 먹는다.", "치타"]
    expected = np.stack([tiny_model.forward(make_ids(text)) for text in texts])[:, :16]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    replies = {}
    async with serve() as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        for kind in encoder_pb2.EmbeddingType.values()[1:]:
            request = encoder_pb2.EncodeRequest(texts=texts, dimensions=16, embedding_type=kind)
            replies[kind] = await stub.Encode(request, timeout=30)
    assert all(reply.dim == 16 and reply.embedding_type == kind for kind, reply in replies.items())
    for kind, dtype, tolerance in (
        (encoder_pb2.EMBEDDING_TYPE_FLOAT32, "<f4", 2e-6),
        (encoder_pb2.EMBEDDING_TYPE_FLOAT16, "<f2", 1e-3),
    ):
        rows = np.frombuffer(replies[kind].embeddings, dtype).reshape(2, 16)
        np.testing.assert_allclose(rows, expected, atol=tolerance)
    int8 = replies[encoder_pb2.EMBEDDING_TYPE_INT8]
    rows = np.frombuffer(int8.embeddings, np.int8).reshape(2, 16) * int8.scale
    assert ((rows * expected).sum(axis=1) / np.linalg.norm(rows, axis=1)).min() > 0.999
    bits = np.unpackbits(np.frombuffer(replies[encoder_pb2.EMBEDDING_TYPE_BINARY].embeddings, np.uint8)).reshape(2, 16)
    np.testing.assert_array_equal(bits, expected > 0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"dimensions": 33}, "dimensions is 33, the model's embeddings have 32"),
        ({"dimensions": 12, "embedding_type": encoder_pb2.EMBEDDING_TYPE_BINARY}, "multiple of 8"),
        ({"long_text": encoder_pb2.LONG_TEXT_ERROR}, "texts[0] is longer than the 160 tokens"),
        ({"role": 9}, "role 9 is unknown to this version"),
    ],
)
async def test_options_that_cannot_be_met_are_refused(serve: Any, options: dict[str, Any], complaint: str) -> None:
    async with serve() as channel:
        request = encoder_pb2.EncodeRequest(texts=["원숭이 " * 100], **options)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await encoder_pb2_grpc.EncoderStub(channel).Encode(request, timeout=30)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert complaint in (refusal.value.details() or "")


async def test_a_query_does_not_wait_for_bulk_work(serve: Any, tiny_engine: Any) -> None:
    engine = GatedEngine(tiny_engine)
    async with serve(engine=engine, max_batch_tokens=256) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        request = encoder_pb2.EncodeRequest(texts=["치 " * 148] * 6, priority=encoder_pb2.PRIORITY_BULK)
        bulk = asyncio.ensure_future(stub.Encode(request, timeout=30))
        await asyncio.to_thread(engine.entered.wait, 30)
        query = asyncio.ensure_future(encode(channel, ["치타"]))
        await asyncio.sleep(0.2)  # it has come to the queue
        engine.gate.set()
        await query
        timing = (await bulk).timing
    assert [min(batch) < 150 for batch in engine.batches].index(True) == 1  # after the one that ran
    assert len(engine.batches) > 2
    assert timing.encode_s > 0


# ---- streams ----


async def test_a_stream_answers_in_the_order_of_its_requests(serve: Any, tiny_model: Any, make_ids: Any) -> None:
    texts = [f"{'치타 ' * (1 + 7 * number % 11)}" for number in range(60)]
    async with serve() as channel:
        call = encoder_pb2_grpc.EncoderStub(channel).EncodeStream(
            (encoder_pb2.EncodeRequest(texts=[text]) for text in texts), timeout=30
        )
        rows = [np.frombuffer(reply.embeddings, "<f4") async for reply in call]
    np.testing.assert_allclose(rows, [tiny_model.forward(make_ids(text)) for text in texts], atol=2e-6)


async def test_a_stream_waits_for_room_where_a_call_is_refused(serve: Any) -> None:
    requests = [encoder_pb2.EncodeRequest(texts=["치 " * 148]) for _ in range(40)]
    async with serve(max_batch_tokens=256, max_queued_tokens=1024) as channel:  # room for six
        call = encoder_pb2_grpc.EncoderStub(channel).EncodeStream(iter(requests), timeout=60)
        assert len([reply async for reply in call]) == 40


async def test_the_first_error_ends_a_stream_and_the_service_lives_on(serve: Any) -> None:
    requests = [encoder_pb2.EncodeRequest(texts=[text]) for text in ("치타", " ", "원숭이")]
    async with serve() as channel:
        call = encoder_pb2_grpc.EncoderStub(channel).EncodeStream(iter(requests), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            async for _ in call:
                pass
        assert (await encode(channel, ["치타"])).dim == 32
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "texts[0] is empty" in (refusal.value.details() or "")


async def test_a_client_that_leaves_its_stream_leaves_nothing_behind(serve: Any, tiny_engine: Any) -> None:
    engine = GatedEngine(tiny_engine)
    async with serve(engine=engine, max_batch_tokens=256) as channel:
        requests = (encoder_pb2.EncodeRequest(texts=["치 " * 148]) for _ in range(30))
        call = encoder_pb2_grpc.EncoderStub(channel).EncodeStream(requests, timeout=30)
        await asyncio.to_thread(engine.entered.wait, 30)
        call.cancel()
        await asyncio.sleep(0.2)
        engine.gate.set()
        await encode(channel, ["치타"])
    assert len(engine.batches) == 2  # the one that ran, and ours


async def test_a_stream_needs_the_key(serve: Any) -> None:
    async with serve(api_key="secret") as channel:
        call = encoder_pb2_grpc.EncoderStub(channel).EncodeStream(
            iter([encoder_pb2.EncodeRequest(texts=["치타"])]), timeout=30
        )
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            async for _ in call:
                pass
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("given", "answered"), [("job-7", "job-7"), ("", None), ("x" * 300, None)], ids=["usable", "empty", "too long"]
)
async def test_every_answer_carries_a_request_id(serve: Any, given: str, answered: str | None) -> None:
    async with serve() as channel:
        call = encoder_pb2_grpc.EncoderStub(channel).Info(
            encoder_pb2.InfoRequest(), timeout=5, metadata=(("x-request-id", given),)
        )
        await call
        request_id = dict(await call.trailing_metadata())["x-request-id"]
    assert request_id == answered if answered else len(request_id) == 32


# ---- authentication ----


@pytest.mark.parametrize("metadata", [(), (("api-key", "wrong"),), (("api-key", ""),)], ids=["none", "wrong", "empty"])
async def test_a_call_without_the_key_is_refused(serve: Any, metadata: Any) -> None:
    async with serve(api_key="비밀-key") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await encode(channel, ["치타"], metadata=metadata)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert "KOSEARCH_ENCODER__API_KEY" in (refusal.value.details() or "")


async def test_a_call_with_the_key_passes(serve: Any) -> None:
    async with serve(api_key="secret") as channel:
        assert (await encode(channel, ["치타"], metadata=(("api-key", "secret"),))).dim == 32


async def test_health_needs_no_key(serve: Any) -> None:
    async with serve(api_key="secret") as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ["", *SERVICES]:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def list_services(channel: grpc.aio.Channel, metadata: Any = ()) -> set[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5, metadata=metadata
    )
    return {service.name async for reply in call for service in reply.list_services_response.service}


async def test_reflection_lists_the_services(serve: Any) -> None:
    async with serve() as channel:
        assert set(SERVICES) < await list_services(channel)


async def test_reflection_needs_the_key(serve: Any) -> None:
    async with serve(api_key="secret") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await list_services(channel)
        assert set(SERVICES) < await list_services(channel, (("api-key", "secret"),))
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_unknown_method_is_unimplemented(serve: Any) -> None:
    async with serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await channel.unary_unary("/kosearch.v1.Encoder/Decode")(b"", timeout=5)
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


# ---- search without a Qdrant ----


async def test_search_says_that_qdrant_is_down_and_encoding_goes_on(serve: Any) -> None:
    async with serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await search_pb2_grpc.SearchStub(channel).Search(
                search_pb2.SearchRequest(query="치타", collection="animals"), timeout=10
            )
        assert (await encode(channel, ["치타"])).dim == 32
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "127.0.0.1:1 does not answer" in (refusal.value.details() or "")


async def test_a_condition_that_tests_nothing_is_refused(serve: Any) -> None:
    request = search_pb2.SearchRequest(query="치타", collection="animals")
    request.filter.must.add(field="year")
    async with serve() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await search_pb2_grpc.SearchStub(channel).Search(request, timeout=5)
    assert refusal.value.code() is grpc.StatusCode.INVALID_ARGUMENT
