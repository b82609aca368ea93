"""The edge towards the front-ends of this service: token ids in, what Encoder.Encode answers out."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoder_service.embedding_types import check_form
from encoder_service.encoder import Options
from encoder_service.model_registry import ModelRegistry
from encoder_service.scheduling import Priority
from encoder_service.servicer import encode_response, patiently
from encoder_service.tokeniser import TokenisedTexts
from encoder_service.wire import embedding_type_of, priority_of
from kosearch.errors import OutdatedError
from protos.kosearch.v1 import encoder_pb2, tokens_pb2, tokens_pb2_grpc


class TokensServicer(tokens_pb2_grpc.TokensServicer):
    """Answers kosearch.v1.Tokens."""

    def __init__(self, models: ModelRegistry) -> None:
        self._models = models

    async def Encode(self, request: tokens_pb2.TokensRequest, context: Any) -> encoder_pb2.EncodeResponse:  # noqa: N802
        """Encode what a front-end has tokenised."""
        served = self._models.get(request.model)
        if served.directory.fingerprint != request.model_fingerprint:
            raise OutdatedError(f"{served.directory.name!r} answers now; tokenise again, with its tokeniser")
        kind = embedding_type_of(request.embedding_type)
        check_form(served.directory.dim, request.dimensions, kind)
        tokenised = _tokenised(request)
        options = Options(
            priority=priority_of(request.priority, Priority.QUERY),
            dimensions=request.dimensions,
            client=request.client,
            deadline_s=None if request.is_patient else context.time_remaining(),
        )

        async def encode() -> encoder_pb2.EncodeResponse:
            encoded = await served.encoder.encode_tokenised(tokenised, options, request.tokenise_s)
            return encode_response(served, encoded, kind, options)

        return await (patiently(encode) if request.is_patient else encode())

    async def Tokeniser(  # noqa: N802
        self, request: tokens_pb2.TokeniserRequest, context: Any
    ) -> tokens_pb2.TokeniserResponse:
        """Tell where a model is."""
        directory = self._models.get(request.model).directory
        return tokens_pb2.TokeniserResponse(path=str(directory.path.resolve()), model_fingerprint=directory.fingerprint)


def _tokenised(request: tokens_pb2.TokensRequest) -> TokenisedTexts:
    ids = np.frombuffer(request.token_ids, "<i4")
    ends = np.cumsum(_numbers(request.lengths)).tolist()
    return TokenisedTexts(
        [ids[start:end] for start, end in zip([0, *ends], ends, strict=False)],
        _numbers(request.chunk_counts).tolist(),
        [byte == 1 for byte in request.truncated],
    )


def _numbers(packed: bytes) -> NDArray[np.int32]:
    return np.frombuffer(packed, "<i4")
