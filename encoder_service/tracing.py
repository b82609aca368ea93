"""OpenTelemetry spans of calls, sent to a collector when one is set."""

from asyncio import to_thread
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from kosearch import __version__


@dataclass(frozen=True, slots=True)
class Tracing:
    """Makes spans: the interceptors one for each call, the tracer those inside it; none when nobody collects them."""

    tracer: Tracer | None
    interceptors: Sequence[grpc.aio.ServerInterceptor]


@asynccontextmanager
async def tracing(endpoint: str) -> AsyncIterator[Tracing]:
    """Send spans to the OTLP collector at `endpoint` inside the block; an empty one makes none.

    Which calls are traced is said by the variables that OpenTelemetry defines, such as `OTEL_TRACES_SAMPLER`. A
    collector that is away costs its spans and nothing else.
    """
    if not endpoint:
        yield Tracing(None, ())
        return
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: "kosearch-encoder", SERVICE_VERSION: __version__})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, insecure=endpoint.startswith("http:"))))
    # Health probes would drown the rest.
    ours = filters.service_prefix("kosearch.")
    interceptor: grpc.aio.ServerInterceptor = aio_server_interceptor(provider, ours)  # type: ignore[no-untyped-call]
    try:
        yield Tracing(provider.get_tracer("kosearch"), (interceptor,))
    finally:
        await to_thread(provider.shutdown)  # sends what is left
