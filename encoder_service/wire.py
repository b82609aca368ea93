"""What numbers on the wire mean, and whose call it is: the same for every process of the service."""

from collections.abc import Mapping
from typing import Any, TypeVar

from encoder_service.embedding_types import EmbeddingType
from encoder_service.scheduling import Priority
from encoder_service.text_reader import Role
from encoder_service.tokeniser import LongText
from kosearch.errors import InvalidRequestError
from protos.kosearch.v1 import encoder_pb2

T = TypeVar("T")

CLIENT_KEY = "x-client-id"

PRIORITY_NUMBERS = {
    Priority.QUERY: encoder_pb2.PRIORITY_QUERY,
    Priority.BULK: encoder_pb2.PRIORITY_BULK,
}
TYPE_NUMBERS = {
    EmbeddingType.FLOAT32: encoder_pb2.EMBEDDING_TYPE_FLOAT32,
    EmbeddingType.FLOAT16: encoder_pb2.EMBEDDING_TYPE_FLOAT16,
    EmbeddingType.INT8: encoder_pb2.EMBEDDING_TYPE_INT8,
    EmbeddingType.BINARY: encoder_pb2.EMBEDDING_TYPE_BINARY,
}
_PRIORITIES: dict[int, Priority] = {number: priority for priority, number in PRIORITY_NUMBERS.items()}
_TYPES: dict[int, EmbeddingType] = {
    encoder_pb2.EMBEDDING_TYPE_UNSPECIFIED: EmbeddingType.FLOAT32,
    **{number: kind for kind, number in TYPE_NUMBERS.items()},
}
_ROLES: dict[int, Role] = {
    encoder_pb2.ROLE_UNSPECIFIED: Role.NONE,
    encoder_pb2.ROLE_QUERY: Role.QUERY,
    encoder_pb2.ROLE_DOCUMENT: Role.DOCUMENT,
}
_LONG_TEXTS: dict[int, LongText] = {
    encoder_pb2.LONG_TEXT_UNSPECIFIED: LongText.TRUNCATE,
    encoder_pb2.LONG_TEXT_TRUNCATE: LongText.TRUNCATE,
    encoder_pb2.LONG_TEXT_ERROR: LongText.ERROR,
    encoder_pb2.LONG_TEXT_MEAN_OF_CHUNKS: LongText.MEAN_OF_CHUNKS,
}


def priority_of(number: int, usual: Priority) -> Priority:
    """The class of a call; `usual` where it names none. Raises InvalidRequestError, as the next three do."""
    return usual if number == encoder_pb2.PRIORITY_UNSPECIFIED else known(_PRIORITIES, number, "priority")


def role_of(number: int) -> Role:
    """What the texts of a call are."""
    return known(_ROLES, number, "role")


def long_text_of(number: int) -> LongText:
    """What becomes of long texts."""
    return known(_LONG_TEXTS, number, "long_text")


def embedding_type_of(number: int) -> EmbeddingType:
    """The numbers that a caller wants."""
    return known(_TYPES, number, "embedding_type")


def client_of(context: Any) -> str:
    """Whose turn a call takes: the name it gives itself, else its connection."""
    for key, value in context.invocation_metadata() or ():
        if key == CLIENT_KEY:
            return str(value)
    return str(context.peer())


def known(meanings: Mapping[int, T], number: int, field: str) -> T:
    """The meaning of a number on the wire. Raises InvalidRequestError for one that is not among them."""
    try:
        return meanings[number]
    except KeyError:
        raise InvalidRequestError(
            f"{field} {number} is unknown to this version; the client is newer, or wrong"
        ) from None
