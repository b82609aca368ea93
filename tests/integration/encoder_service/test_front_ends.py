"""Front-ends: processes that take the calls and tokenise before the one that encodes. To a client nothing changes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from encoder_service.engines.engine import Embeddings, TokenIds
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, models_pb2, models_pb2_grpc

TEXTS = ["한 남자가 음식을 먹는다.", "치타", "원숭이 한 마리가 드럼을 연주한다. " * 12]


def front_ends_of(process: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(process).children() if "encoder_service.front_end" in child.cmdline()]


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"role": encoder_pb2.ROLE_QUERY, "priority": encoder_pb2.PRIORITY_BULK},
        {"embedding_type": encoder_pb2.EMBEDDING_TYPE_INT8, "dimensions": 16},
        {"long_text": encoder_pb2.LONG_TEXT_MEAN_OF_CHUNKS},
    ],
    ids=["as usual", "role and class", "int8 of 16 dimensions", "mean of chunks"],
)
async def test_answers_are_those_of_a_service_without(serve: Any, options: dict[str, Any]) -> None:
    request = encoder_pb2.EncodeRequest(texts=TEXTS, **options)
    answers = []
    for front_ends in (0, 2):
        async with serve(front_ends=front_ends) as channel:
            answer = await encoder_pb2_grpc.EncoderStub(channel).Encode(request, timeout=30)
            assert answer.timing.tokenise_s > 0
            answer.ClearField("timing")
            answers.append(answer)
    assert answers[0] == answers[1]
    assert answers[1].truncated[2] != ("long_text" in options)


async def test_a_stream_is_answered_in_its_order_and_ends_with_its_first_error(
    serve: Any, tiny_model: Any, make_ids: Any
) -> None:
    requests = [encoder_pb2.EncodeRequest(texts=[TEXTS[number % 2]] * (1 + number % 3)) for number in range(40)]
    async with serve(front_ends=2) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        answers = [answer async for answer in stub.EncodeStream(iter(requests), timeout=30)]
        with pytest.raises(grpc.aio.AioRpcError, match=r"texts\[0\] is empty"):
            async for _ in stub.EncodeStream(iter([requests[0], encoder_pb2.EncodeRequest(texts=[" "])]), timeout=30):
                pass
    for request, answer in zip(requests, answers, strict=True):
        rows = np.frombuffer(answer.embeddings, "<f4").reshape(len(request.texts), -1)
        np.testing.assert_allclose(rows, [tiny_model.forward(make_ids(text)) for text in request.texts], atol=2e-6)


async def test_what_is_wrong_is_told_as_ever(serve: Any) -> None:
    async with serve(front_ends=1, max_texts=2, api_key="secret") as channel:
        stub, key = encoder_pb2_grpc.EncoderStub(channel), (("api-key", "secret"),)

        async def refused(metadata: Any = key, **request: Any) -> tuple[grpc.StatusCode, str]:
            return await code_of(stub.Encode(encoder_pb2.EncodeRequest(**request), metadata=metadata, timeout=30))

        code, details = await refused((), texts=["치타"])
        assert (code, "KOSEARCH_ENCODER__API_KEY" in details) == (grpc.StatusCode.UNAUTHENTICATED, True)
        code, details = await refused(texts=["치타"] * 3)
        assert (code, "2 are accepted" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        code, details = await refused(texts=["치타"], model="no-such")
        assert (code, "tiny-bert" in details) == (grpc.StatusCode.NOT_FOUND, True)
        code, details = await refused(texts=["치타"], dimensions=77)
        assert (code, "dimensions is 77" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
        code, _ = await refused(texts=["치타"], long_text=9)
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        unreadable = channel.unary_unary("/kosearch.v1.Encoder/Encode")(b"\xff\xff", metadata=key, timeout=30)
        assert (await code_of(unreadable))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_everything_else_goes_to_the_process_that_encodes(serve: Any, tiny_model: Any) -> None:
    async with serve(front_ends=1, admin_key="of few") as channel:
        info = await encoder_pb2_grpc.EncoderStub(channel).Info(encoder_pb2.InfoRequest(), timeout=30)
        assert info.model_fingerprint == tiny_model.directory.fingerprint
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        models, listing = models_pb2_grpc.ModelsStub(channel), models_pb2.ListModelsRequest()
        assert (await code_of(models.ListModels(listing, timeout=30)))[0] is grpc.StatusCode.UNAUTHENTICATED
        listed = await models.ListModels(listing, metadata=(("admin-key", "of few"),), timeout=30)
        assert [model.name for model in listed.models] == ["tiny-bert"]
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        (reflected,) = [answer async for answer in stub.ServerReflectionInfo(asked, timeout=30)]
        names = {service.name for service in reflected.list_services_response.service}
        assert {"kosearch.v1.Encoder", "kosearch.v1.Search", "kosearch.v1.Index"} <= names
        for hidden in ("/kosearch.v1.Tokens/Encode", "/kosearch.v1.Encoder/NoSuch"):
            assert (await code_of(channel.unary_unary(hidden)(b"", timeout=30)))[0] is grpc.StatusCode.UNIMPLEMENTED


class Waiting:
    """An engine that lets its first batch wait, so that others queue."""

    dim = 32

    def __init__(self) -> None:
        self.waits = True

    def encode(self, token_ids: Sequence[TokenIds]) -> Embeddings:
        while self.waits:
            time.sleep(0.01)
        return np.full((len(token_ids), self.dim), self.dim**-0.5, np.float32)


async def test_overload_is_refused_with_the_pause_to_make_and_a_stream_waits(serve: Any) -> None:
    engine = Waiting()
    async with serve(engine=engine, front_ends=2, max_queued_tokens=1024, max_batch_tokens=256) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        large = encoder_pb2.EncodeRequest(texts=["치타 음식 " * 10] * 60, priority=encoder_pb2.PRIORITY_BULK)
        first = [asyncio.ensure_future(stub.Encode(large, timeout=60)) for _ in range(2)]
        await asyncio.sleep(0.5)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Encode(large, timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        packed = dict(refused.value.trailing_metadata() or ())["grpc-status-details-bin"]
        (detail,) = status_pb2.Status.FromString(packed).details
        pause = error_details_pb2.RetryInfo()
        assert detail.Unpack(pause)
        assert pause.retry_delay.ToMilliseconds() > 0

        async def stream() -> int:
            return len([answer async for answer in stub.EncodeStream(iter([large] * 3), timeout=60)])

        streaming = asyncio.create_task(stream())
        await asyncio.sleep(0.2)
        engine.waits = False
        assert await streaming == 3
        await asyncio.gather(*first, return_exceptions=True)


async def test_a_front_end_that_dies_is_started_again_and_the_others_answer(serve: Any) -> None:
    async with serve(front_ends=2) as channel:
        stub, request = encoder_pb2_grpc.EncoderStub(channel), encoder_pb2.EncodeRequest(texts=TEXTS)
        before = front_ends_of(os.getpid())
        assert len(before) == 2
        before[0].kill()
        # A connection may have been to the one that died; gRPC makes another one.
        await stub.Encode(request, timeout=30, wait_for_ready=True)
        async with asyncio.timeout(30):
            while len(front_ends_of(os.getpid())) < 2:  # noqa: ASYNC110  # nobody tells of it
                await asyncio.sleep(0.1)
        assert before[1] in front_ends_of(os.getpid())
        await stub.Encode(request, timeout=30, wait_for_ready=True)
    assert front_ends_of(os.getpid()) == []


@pytest.fixture
def process(tmp_path: Path, tiny_model: Any) -> Any:
    """A service with two front-ends as a process of its own, and its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KOSEARCH_")},
        "KOSEARCH_DATA_DIR": str(tmp_path),
        "KOSEARCH_BROKER__URL": "memory://",
        "KOSEARCH_ENCODER__ADDRESS": address,
        "KOSEARCH_ENCODER__MODEL": str(tiny_model.directory.path),
        "KOSEARCH_ENCODER__FRONT_ENDS": "2",
    }
    with subprocess.Popen([sys.executable, "-m", "encoder_service"], env=environment) as running:
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(timeout=30)
            yield running, address, environment
        finally:
            running.kill()


def test_a_port_of_another_service_is_not_shared(process: Any) -> None:
    _, address, environment = process
    for front_ends in ("0", "2"):
        command = [sys.executable, "-m", "encoder_service"]
        settings = {**environment, "KOSEARCH_ENCODER__FRONT_ENDS": front_ends}
        second = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == 2
        assert f"cannot listen at {address}" in second.stderr
        assert "Traceback" not in second.stderr


def test_sigterm_finishes_the_calls_and_leaves_no_process(process: Any) -> None:
    running, address, _ = process
    children = front_ends_of(running.pid)
    assert len(children) == 2
    with grpc.insecure_channel(address) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        calls = [stub.Encode.future(encoder_pb2.EncodeRequest(texts=["치타 " * 30] * 40), timeout=30) for _ in range(4)]
        stub.Info(encoder_pb2.InfoRequest(), timeout=5)  # behind the calls: they have arrived
        running.send_signal(signal.SIGTERM)
        assert [len(call.result().token_counts) for call in calls] == [40] * 4
    assert running.wait(timeout=20) == 0
    assert not any(child.is_running() for child in children)


def test_front_ends_do_not_outlive_a_service_that_is_killed(process: Any) -> None:
    running, _, _ = process
    children = front_ends_of(running.pid)
    running.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
