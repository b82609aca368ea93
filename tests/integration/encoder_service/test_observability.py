"""What those who run the service see: health with a canary, figures for Prometheus."""

import asyncio
import socket
import urllib.request
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from kosearch.errors import SettingsError
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc


class SickEngine:
    """The engine it is given, until it falls ill."""

    def __init__(self, engine: Any) -> None:
        self.dim, self._engine, self.illness = engine.dim, engine, ""

    def encode(self, token_ids: Sequence[Any]) -> Any:
        embeddings = self._engine.encode(token_ids)
        if self.illness == "raises":
            raise RuntimeError("the device is gone")
        if self.illness == "wrong":
            return -embeddings
        return embeddings * np.nan if self.illness == "NaN" else embeddings


async def health_of(channel: grpc.aio.Channel, service: str) -> int:
    reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
    return int(reply.status)


async def wait_for_health(channel: grpc.aio.Channel, status: int) -> None:
    request = health_pb2.HealthCheckRequest(service="kosearch.v1.Encoder")
    async for reply in health_pb2_grpc.HealthStub(channel).Watch(request, timeout=10):
        if reply.status == status:
            return


@pytest.mark.parametrize("illness", ["raises", "wrong", "NaN"])
async def test_health_tells_of_an_engine_that_falls_ill_and_recovers(
    serve: Any, tiny_engine: Any, illness: str
) -> None:
    engine = SickEngine(tiny_engine)
    async with serve(engine=engine, canary_pause_s=0.05) as channel:
        await asyncio.sleep(0.2)
        assert await health_of(channel, "") == health_pb2.HealthCheckResponse.SERVING
        engine.illness = illness
        await wait_for_health(channel, health_pb2.HealthCheckResponse.NOT_SERVING)
        assert await health_of(channel, "") == health_pb2.HealthCheckResponse.NOT_SERVING
        engine.illness = ""
        await wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def read_metrics(address: str) -> dict[tuple[str, ...], float]:
    def read() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    families = text_string_to_metric_families(await asyncio.to_thread(read))
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


async def test_prometheus_finds_calls_texts_and_queues(serve: Any) -> None:
    address = f"127.0.0.1:{free_port()}"
    async with serve(metrics_address=address) as channel:
        stub = encoder_pb2_grpc.EncoderStub(channel)
        reply = await stub.Encode(encoder_pb2.EncodeRequest(texts=["치타", "원숭이"]), timeout=30)
        await stub.Encode(encoder_pb2.EncodeRequest(texts=["치타"], priority=encoder_pb2.PRIORITY_BULK), timeout=30)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Encode(encoder_pb2.EncodeRequest(), timeout=30)
        found = await read_metrics(address)
    method = "/kosearch.v1.Encoder/Encode"
    assert found["kosearch_calls_total", "OK", method] == 2
    assert found["kosearch_calls_total", "INVALID_ARGUMENT", method] == 1
    assert found["kosearch_encoder_texts_total", "tiny-bert", "query"] == 2
    assert found["kosearch_encoder_texts_total", "tiny-bert", "bulk"] == 1
    assert found["kosearch_encoder_tokens_total", "tiny-bert", "query"] == sum(reply.token_counts)
    assert found["kosearch_encoder_batch_seconds_count", "tiny-bert"] == 2
    assert found["kosearch_encoder_queue_seconds_count", "tiny-bert", "bulk"] == 1
    assert found["kosearch_encoder_queued_tokens", "tiny-bert", "query"] == 0


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans: dict[str, Any] = {}

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        for group in request.resource_spans:
            for scope in group.scope_spans:
                self.spans |= {span.name: span for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_a_collector_gets_the_parts_of_a_call_under_the_callers_trace(serve: Any) -> None:
    collector, server = Collector(), grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    trace_id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with serve(spans_to=f"http://127.0.0.1:{port}") as channel:
        await wait_for_health(channel, health_pb2.HealthCheckResponse.SERVING)
        await encoder_pb2_grpc.EncoderStub(channel).Encode(
            encoder_pb2.EncodeRequest(texts=["치타"]),
            metadata=(("traceparent", f"00-{trace_id}-{caller}-01"),),
            timeout=30,
        )
    await server.stop(0)
    call = collector.spans.pop("/kosearch.v1.Encoder/Encode")
    assert (call.trace_id.hex(), call.parent_span_id.hex()) == (trace_id, caller)
    assert set(collector.spans) == {"tokenise", "queue", "encode"}  # and nothing of health
    assert {span.parent_span_id for span in collector.spans.values()} == {call.span_id}
    assert call.start_time_unix_nano <= collector.spans["tokenise"].start_time_unix_nano
    assert collector.spans["encode"].end_time_unix_nano > collector.spans["encode"].start_time_unix_nano


async def test_a_collector_that_is_away_costs_no_call(serve: Any) -> None:
    async with serve(spans_to="http://127.0.0.1:1") as channel:
        reply = await encoder_pb2_grpc.EncoderStub(channel).Encode(
            encoder_pb2.EncodeRequest(texts=["치타"]), timeout=30
        )
    assert reply.dim == 32


async def test_a_port_that_is_taken_is_named(serve: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="KOSEARCH_ENCODER__METRICS_ADDRESS"):
            async with serve(metrics_address=f"127.0.0.1:{taken.getsockname()[1]}"):
                pass
