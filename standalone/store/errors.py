"""The errors that an RPC answers with. Statuses and messages follow Qdrant's server, so that clients cannot tell.

StoreError                   INTERNAL: the engine or the disk failed
├── InvalidArgumentError     INVALID_ARGUMENT: the request is wrong
├── MissingError             NOT_FOUND: no such collection, alias or point
├── ExistsError              ALREADY_EXISTS: the name is taken
├── UnsupportedError         UNIMPLEMENTED: a Qdrant server could do it, this store does not
├── NoSpaceError             RESOURCE_EXHAUSTED: the disk is full, or nearly
└── DamagedError             DATA_LOSS: the collection's files cannot be opened
"""

from typing import ClassVar

import grpc

from kosearch.errors import KosearchError


class StoreError(KosearchError):
    """The engine or the disk failed."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class InvalidArgumentError(StoreError):
    """The request is wrong; asking again does not help."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class MissingError(StoreError):
    """A collection, alias or point that does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class ExistsError(StoreError):
    """The name is taken."""

    code = grpc.StatusCode.ALREADY_EXISTS


class UnsupportedError(StoreError):
    """Part of Qdrant's API that this store does not have."""

    code = grpc.StatusCode.UNIMPLEMENTED

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the kosearch store does not support {what}; use a Qdrant server by setting KOSEARCH_QDRANT__URL"
        )


class NoSpaceError(StoreError):
    """The disk has no room for the write."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DamagedError(StoreError):
    """The collection's files cannot be opened."""

    code = grpc.StatusCode.DATA_LOSS


def unknown_collection(name: str) -> MissingError:
    """Return the error for a collection that does not exist, in Qdrant's words."""
    return MissingError(f"Not found: Collection `{name}` doesn't exist!")
