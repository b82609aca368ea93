"""The edge: protobuf in, protobuf out. Errors become a status in the interceptor."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2

from encoder_service.encoder import Encoder
from encoder_service.searcher import Condition, Hit, Range, Searcher
from kosearch import __version__
from kosearch.errors import InvalidRequestError
from kosearch.model_directory import ModelDirectory
from protos.kosearch.v1 import encoder_pb2, encoder_pb2_grpc, search_pb2, search_pb2_grpc


@dataclass(frozen=True, slots=True)
class Limits:
    """What one call may carry."""

    max_texts: int
    max_text_bytes: int


class EncoderServicer(encoder_pb2_grpc.EncoderServicer):
    """Answers kosearch.v1.Encoder."""

    def __init__(self, encoder: Encoder, model: ModelDirectory, limits: Limits) -> None:
        self._encoder = encoder
        self._model = model
        self._limits = limits

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:  # noqa: N802
        """Encode texts."""
        encoded = await self._encoder.encode(request.texts)
        return encoder_pb2.EncodeResponse(
            embeddings=encoded.embeddings.astype("<f4", copy=False).tobytes(),
            dim=encoded.embeddings.shape[1],
            token_counts=encoded.token_counts,
            truncated=encoded.truncated,
            model_fingerprint=self._model.fingerprint,
        )

    async def Info(self, request: encoder_pb2.InfoRequest, context: Any) -> encoder_pb2.InfoResponse:  # noqa: N802
        """Tell model and limits."""
        return encoder_pb2.InfoResponse(
            model_name=self._model.name,
            model_fingerprint=self._model.fingerprint,
            dim=self._model.dim,
            max_tokens=self._model.max_tokens,
            max_texts=self._limits.max_texts,
            max_text_bytes=self._limits.max_text_bytes,
            server_version=__version__,
        )


class SearchServicer(search_pb2_grpc.SearchServicer):
    """Answers kosearch.v1.Search."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher

    async def Search(self, request: search_pb2.SearchRequest, context: Any) -> search_pb2.SearchResponse:  # noqa: N802
        """Find the nearest chunks."""
        conditions = [_condition(condition) for condition in request.filter.must]
        hits = await self._searcher.search(request.query, request.collection, request.top_k, conditions)
        return search_pb2.SearchResponse(hits=map(_hit_message, hits))


def _condition(message: search_pb2.Condition) -> Condition:
    match message.WhichOneof("test"):
        case "keyword":
            return Condition(message.field, message.keyword)
        case "integer":
            return Condition(message.field, message.integer)
        case "boolean":
            return Condition(message.field, message.boolean)
        case "range":
            return Condition(message.field, _range(message.range))
        case _:
            raise InvalidRequestError(
                f"the condition on field {message.field!r} tests nothing; set keyword, integer, boolean or range"
            )


def _range(message: search_pb2.Range) -> Range:
    return Range(
        gt=message.gt if message.HasField("gt") else None,
        gte=message.gte if message.HasField("gte") else None,
        lt=message.lt if message.HasField("lt") else None,
        lte=message.lte if message.HasField("lte") else None,
    )


def _hit_message(hit: Hit) -> search_pb2.Hit:
    payload = struct_pb2.Struct()
    payload.update(hit.fields)
    return search_pb2.Hit(
        id=hit.document_id,
        score=hit.score,
        text=hit.text,
        title=hit.title,
        payload=payload,
        chunk_index=hit.chunk_index,
    )
