"""The gRPC server of a front-end."""

from collections.abc import AsyncIterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from encoder_service.front_end.forwarding import Forwarder
from encoder_service.front_end.orders import Orders
from encoder_service.front_end.readers import Readers
from encoder_service.front_end.servicer import FrontEndServicer
from encoder_service.grpc_options import ENGINE_CHANNEL_OPTIONS, SERVER_OPTIONS, TOGETHER_ON_PORT
from encoder_service.interceptors import AuthenticationInterceptor, CallInterceptor
from kosearch.errors import SettingsError
from kosearch.graceful_stop import finish_calls
from protos.kosearch.v1 import (
    dictionary_pb2,
    encoder_pb2,
    index_pb2,
    models_pb2,
    search_pb2,
    tokens_pb2,
    tokens_pb2_grpc,
)

_TOKENISER_THREADS = 4

_ENCODER = encoder_pb2.DESCRIPTOR.services_by_name["Encoder"]
_FORWARDED = (
    _ENCODER,
    *(
        module.DESCRIPTOR.services_by_name[name]
        for module, name in (
            (search_pb2, "Search"),
            (index_pb2, "Index"),
            (models_pb2, "Models"),
            (dictionary_pb2, "Dictionary"),
            (health_pb2, "Health"),
            (reflection_pb2, "ServerReflection"),
        )
    ),
)


@asynccontextmanager
async def running_front_end(orders: Orders) -> AsyncIterator[None]:
    """Take calls inside the block. Raises SettingsError when it cannot listen."""
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(_TOKENISER_THREADS, "tokenise"))
        engine = await stack.enter_async_context(
            grpc.aio.insecure_channel(orders.engine, options=ENGINE_CHANNEL_OPTIONS)
        )
        server = grpc.aio.server(
            interceptors=(CallInterceptor(), AuthenticationInterceptor(orders.api_key, orders.admin_key)),
            options=(*SERVER_OPTIONS, *TOGETHER_ON_PORT),
        )
        server.add_generic_rpc_handlers(_handlers(orders, engine, threads))
        try:
            server.add_insecure_port(orders.address)
        except RuntimeError as error:
            raise SettingsError(f"cannot listen at {orders.address}; set KOSEARCH_ENCODER__ADDRESS") from error
        await server.start()
        stack.push_async_callback(finish_calls, server)
        yield


def _handlers(orders: Orders, engine: grpc.aio.Channel, threads: Executor) -> "tuple[grpc.GenericRpcHandler, ...]":
    """Encode and EncodeStream of our own; all other methods go to the process with the engine."""
    readers = Readers(tokens_pb2_grpc.TokensStub(engine), threads, orders.max_texts, orders.max_text_bytes)
    encode: grpc.aio.UnaryUnaryMultiCallable[tokens_pb2.TokensRequest, bytes] = engine.unary_unary(
        _path(tokens_pb2.DESCRIPTOR.services_by_name["Tokens"], "Encode"),
        request_serializer=tokens_pb2.TokensRequest.SerializeToString,
    )
    servicer = FrontEndServicer(readers, encode)
    read = encoder_pb2.EncodeRequest.FromString
    own: dict[str, grpc.RpcMethodHandler[encoder_pb2.EncodeRequest, bytes]] = {
        "Encode": grpc.unary_unary_rpc_method_handler(servicer.encode, read),
        "EncodeStream": grpc.stream_stream_rpc_method_handler(servicer.encode_stream, read),
    }
    others = [
        _path(service, method.name)
        for service in _FORWARDED
        for method in service.methods
        if service is not _ENCODER or method.name not in own
    ]
    return grpc.method_handlers_generic_handler(_ENCODER.full_name, own), Forwarder(engine, others)


def _path(service: ServiceDescriptor, method: str) -> str:
    return f"/{service.full_name}/{method}"
