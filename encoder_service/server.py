"""The gRPC server: which services it has, how it starts and how it stops."""

import asyncio
import ipaddress
import os
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from opentelemetry.trace import Tracer

from encoder_service.canary import PAUSE_S, Canary
from encoder_service.dictionary_servicer import DictionaryServicer
from encoder_service.dictionary_watcher import DictionaryWatcher
from encoder_service.dispatcher import Dispatcher
from encoder_service.engine_thread import EngineThread
from encoder_service.engines.engine import AsyncEngine
from encoder_service.front_end.orders import Orders
from encoder_service.front_ends import running_front_ends
from encoder_service.grpc_options import ALONE_ON_PORT, SERVER_OPTIONS
from encoder_service.index_servicer import IndexServicer
from encoder_service.interceptors import AuthenticationInterceptor, CallInterceptor
from encoder_service.metrics import Metrics, served_metrics
from encoder_service.model_loading import load_model
from encoder_service.model_registry import LoadedModel, ModelRegistry
from encoder_service.models_servicer import ModelsServicer
from encoder_service.search.chunk_store import ChunkStore
from encoder_service.search.collections import Collections
from encoder_service.search.korean import Linguists, LoadedKorean
from encoder_service.search.searcher import Searcher
from encoder_service.search_servicer import SearchServicer
from encoder_service.servicer import EncoderServicer, Limits
from encoder_service.tokens_servicer import TokensServicer
from encoder_service.tracing import tracing
from kosearch.errors import SettingsError
from kosearch.graceful_stop import finish_calls, stop_event
from kosearch.korean.dictionary import Dictionary
from kosearch.korean.kiwi import kiwi_with
from kosearch.korean.morphemes import MorphemeAnalyser
from kosearch.korean.reading import QueryReader
from kosearch.ledger import Ledger
from kosearch.model_directory import ModelDirectory
from kosearch.qdrant_connection import connect_async
from kosearch.settings import Settings
from kosearch.task_queue import TaskQueue
from kosearch.vector_store import VectorStore
from protos.kosearch.v1 import (
    dictionary_pb2,
    dictionary_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    index_pb2,
    index_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    search_pb2,
    search_pb2_grpc,
    tokens_pb2_grpc,
)

_TOKENISER_THREADS_BESIDE_CPU_ENGINE = 2

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Service:
    """A gRPC service: its full name, and what adds it to a server."""

    name: str
    add_to: Callable[[grpc.aio.Server], None]


async def serve_until_signal(settings: Settings, model: LoadedModel) -> None:
    """Serve until SIGTERM or SIGINT, then finish the calls in flight. Raises SettingsError when it cannot listen."""
    stopping = stop_event()
    async with running_server(settings, model):
        await stopping.wait()


@asynccontextmanager
async def running_server(settings: Settings, model: LoadedModel, canary_pause_s: float = PAUSE_S) -> AsyncIterator[str]:
    """Run the server inside the block; yields the address it listens at, the port filled in where 0 was asked for.

    The canary looks every `canary_pause_s` seconds whether the service is well.
    """
    check_address(settings.encoder.address, settings.encoder.api_key)
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stack.enter_context(served_metrics(metrics, settings.encoder.metrics_address))
        traced = await stack.enter_async_context(tracing(settings.tracing.endpoint))
        models = _serve_models(stack, settings, model, metrics, traced.tracer)
        services = _build_services(stack, settings, models, traced.tracer)
        server = grpc.aio.server(
            interceptors=(
                *traced.interceptors,
                CallInterceptor(metrics.count_call),
                AuthenticationInterceptor(settings.encoder.api_key, settings.encoder.admin_key),
            ),
            options=(*SERVER_OPTIONS, *ALONE_ON_PORT),
        )
        health_servicer = await _register(server, services)
        if settings.encoder.front_ends:
            address = await _serve_behind_front_ends(stack, server, health_servicer, settings, models)
        else:
            address = _listen(server, settings.encoder.address)
            await server.start()
            stack.push_async_callback(_stop, server, health_servicer)
        tell = partial(_tell_health, health_servicer, ["", *(service.name for service in services)])
        canary = asyncio.create_task(Canary(models, tell, canary_pause_s).run(), name="canary")
        stack.push_async_callback(_cancelled, canary)
        _log.info(
            "server.started", address=address, model=model.directory.name, fingerprint=model.directory.fingerprint[:12]
        )
        yield address


async def _tell_health(health_servicer: health.aio.HealthServicer, names: list[str], is_well: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if is_well else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in names:
        await health_servicer.set(name, status)


def check_address(address: str, api_key: str | None) -> None:
    """Raise SettingsError when others could call the service without a key, or the address is none."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65_535:
        raise SettingsError(f"KOSEARCH_ENCODER__ADDRESS is {address!r}; write host:port, such as 127.0.0.1:7410")
    if api_key is None and not _is_loopback(host):
        raise SettingsError(
            f"KOSEARCH_ENCODER__ADDRESS {address} can be reached from other machines; set KOSEARCH_ENCODER__API_KEY, "
            "or listen at 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _serve_models(
    stack: AsyncExitStack, settings: Settings, model: LoadedModel, metrics: Metrics, tracer: Tracer | None
) -> ModelRegistry:
    """Start an engine thread for each device, with the first model on them."""
    tokeniser_threads = stack.enter_context(ThreadPoolExecutor(_count_tokeniser_threads(model), "tokenise"))
    work = threading.Condition()
    engine_threads = [EngineThread(work, asyncio.get_running_loop()) for _ in model.engines]
    # What waits is refused first, then the batches that run are finished, and then their callers hear of it.
    stack.push_async_callback(asyncio.sleep, 0)
    for thread in engine_threads:
        thread.start()
        stack.push_async_callback(asyncio.to_thread, thread.stop)
    chosen = settings.encoder
    models = ModelRegistry(
        engine_threads,
        work,
        tokeniser_threads,
        partial(load_model, settings=chosen),
        chosen.max_batch_tokens,
        chosen.max_queued_tokens,
        chosen.bulk_batch_s,
        chosen.max_texts,
        metrics,
        tracer,
    )
    stack.callback(models.stop)
    models.add(model)
    return models


def _count_tokeniser_threads(model: LoadedModel) -> int:
    """All cores where a GPU encodes, which takes more texts than one core can tokenise; few beside a CPU engine."""
    if all(isinstance(engine, AsyncEngine) for engine in model.engines):
        return len(os.sched_getaffinity(0))
    return _TOKENISER_THREADS_BESIDE_CPU_ENGINE


def _build_services(
    stack: AsyncExitStack, settings: Settings, models: ModelRegistry, tracer: Tracer | None
) -> list[Service]:
    """Put the use cases together; what they need is taken down with the stack, in reverse order."""
    qdrant = connect_async(settings.qdrant)
    stack.push_async_callback(qdrant.close)
    collections = Collections(qdrant, settings.qdrant)
    ledger = stack.enter_context(closing(Ledger(settings.ledger_url)))
    store = stack.enter_context(closing(VectorStore(settings.qdrant)))
    watcher = DictionaryWatcher(ledger.dictionary, _make_linguists)
    korean = LoadedKorean(watcher.load)
    speaking = asyncio.create_task(_keep_speaking(korean, watcher), name="korean")
    stack.push_async_callback(_cancelled, speaking)
    searcher = Searcher(models, collections, ChunkStore(qdrant, settings.qdrant, tracer), korean)

    encoder_servicer = EncoderServicer(models, Limits(settings.encoder.max_texts, settings.encoder.max_text_bytes))
    search_servicer = SearchServicer(searcher)
    index_servicer = _build_index_servicer(stack, settings, ledger, store, lambda: models.get().directory)
    dictionary_servicer = DictionaryServicer(ledger.dictionary, store)
    models_servicer = ModelsServicer(models, settings.data_dir / "models")
    return [
        Service(
            encoder_pb2.DESCRIPTOR.services_by_name["Encoder"].full_name,
            lambda server: encoder_pb2_grpc.add_EncoderServicer_to_server(encoder_servicer, server),
        ),
        Service(
            search_pb2.DESCRIPTOR.services_by_name["Search"].full_name,
            lambda server: search_pb2_grpc.add_SearchServicer_to_server(search_servicer, server),
        ),
        Service(
            index_pb2.DESCRIPTOR.services_by_name["Index"].full_name,
            lambda server: index_pb2_grpc.add_IndexServicer_to_server(index_servicer, server),
        ),
        Service(
            models_pb2.DESCRIPTOR.services_by_name["Models"].full_name,
            lambda server: models_pb2_grpc.add_ModelsServicer_to_server(models_servicer, server),
        ),
        Service(
            dictionary_pb2.DESCRIPTOR.services_by_name["Dictionary"].full_name,
            lambda server: dictionary_pb2_grpc.add_DictionaryServicer_to_server(dictionary_servicer, server),
        ),
    ]


def _make_linguists(dictionary: Dictionary) -> Linguists:
    # The reader has the words, too: it mends none of them.
    kiwi = kiwi_with(dictionary.words)
    return Linguists(QueryReader(kiwi), MorphemeAnalyser(kiwi))


async def _keep_speaking(korean: LoadedKorean, watcher: DictionaryWatcher[Linguists]) -> None:
    """Load Korean, for which the first query would wait otherwise, and have it follow the dictionary."""
    await korean.load()
    await watcher.watch(korean.use)


def _build_index_servicer(
    stack: AsyncExitStack,
    settings: Settings,
    ledger: Ledger,
    store: VectorStore,
    model: Callable[[], ModelDirectory],
) -> IndexServicer:
    """Put the Index service together and start its dispatcher."""
    queue = stack.enter_context(closing(TaskQueue(settings)))
    dispatching = asyncio.create_task(Dispatcher(ledger, queue).run(), name="dispatcher")
    stack.push_async_callback(_cancelled, dispatching)
    return IndexServicer(ledger, queue, store, model, settings.worker.roots)


async def _cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _register(server: grpc.aio.Server, services: list[Service]) -> health.aio.HealthServicer:
    """Add the services, their health (by name, and "" for all) and reflection."""
    health_servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    for service in services:
        service.add_to(server)
        await health_servicer.set(service.name, health_pb2.HealthCheckResponse.SERVING)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    return health_servicer


def _listen(server: grpc.aio.Server, address: str) -> str:
    """Bind the address. Returns it with the port that was bound."""
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise SettingsError(
            f"cannot listen at {address}: the port is in use or the address is not of this machine; stop the other "
            "process (`kosearch down` for a running stack) or set KOSEARCH_ENCODER__ADDRESS"
        ) from error
    return f"{address.rpartition(':')[0]}:{port}"


async def _serve_behind_front_ends(
    stack: AsyncExitStack,
    server: grpc.aio.Server,
    health_servicer: health.aio.HealthServicer,
    settings: Settings,
    models: ModelRegistry,
) -> str:
    """Listen to front-ends alone and start them. Returns the address that they share; they stop before the server."""
    tokens_pb2_grpc.add_TokensServicer_to_server(TokensServicer(models), server)
    chosen = settings.encoder
    folder = stack.enter_context(TemporaryDirectory(prefix="kosearch-"))  # which others cannot enter
    engine = f"unix:{folder}/engine"
    server.add_insecure_port(engine)
    await server.start()
    stack.push_async_callback(_stop, server, health_servicer)
    orders = Orders(
        address=chosen.address,
        engine=engine,
        api_key=chosen.api_key,
        admin_key=chosen.admin_key,
        max_texts=chosen.max_texts,
        max_text_bytes=chosen.max_text_bytes,
        log_level=settings.log.level,
        log_format=settings.log.format,
    )
    return await stack.enter_async_context(running_front_ends(chosen.front_ends, orders))


async def _stop(server: grpc.aio.Server, health_servicer: health.aio.HealthServicer) -> None:
    """Say that we stop, take no more calls, let those in flight finish."""
    _log.info("server.stopping")
    await finish_calls(server, health_servicer)
    _log.info("server.stopped")
