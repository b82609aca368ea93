"""What the engine's exceptions are taken for."""

import errno

import grpc
import pytest

from standalone.store.engine import from_engine, is_panic


class PanicException(BaseException):
    """Stands for the engine's."""


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            Exception("Vector dimension error: expected dim: 4, got 3"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Wrong input: Vector dimension error: expected dim: 4, got 3",
        ),
        (
            Exception("Not existing vector name error: x"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "Wrong input: Not existing vector name error: x",
        ),
        (ValueError("invalid JSON path a["), grpc.StatusCode.INVALID_ARGUMENT, "Invalid json path: 'a['"),
        (Exception("No point with id 7"), grpc.StatusCode.NOT_FOUND, "Not found: No point with id 7 found"),
    ],
)
def test_message_is_the_servers(error: Exception, code: grpc.StatusCode, message: str) -> None:
    assert (from_engine(error).code, str(from_engine(error))) == (code, message)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        Exception("Service runtime error: IO Error: No space left on device (os error 28)"),
    ],
)
def test_full_disk(error: Exception) -> None:
    assert from_engine(error).code is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_anything_else_is_internal_and_named() -> None:
    failure = from_engine(KeyError("x"))
    assert failure.code is grpc.StatusCode.INTERNAL
    assert "KeyError" in str(failure)


def test_panic_is_told_from_an_interrupt() -> None:
    assert is_panic(PanicException("index out of bounds"))
    assert not is_panic(KeyboardInterrupt())
