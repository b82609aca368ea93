"""Errors and their status."""

import grpc
import pytest
from google.rpc import error_details_pb2

from encoder_service.interceptors import status_of
from kosearch import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidRequestError("빈 문장"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFoundError("no such collection"), grpc.StatusCode.NOT_FOUND),
        (errors.ConflictError("another model"), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.UnauthenticatedError("no key"), grpc.StatusCode.UNAUTHENTICATED),
        (errors.OverloadedError("full", 1.0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.UnavailableError("down"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_an_error_for_the_user_keeps_its_message(error: errors.KosearchError, code: grpc.StatusCode) -> None:
    status = status_of(error, "r1")
    assert (status.code, status.message) == (code.value[0], str(error))


@pytest.mark.parametrize(
    "error", [ZeroDivisionError("secret"), errors.ModelError("secret"), errors.SettingsError("secret")]
)
def test_any_other_error_is_internal_and_shows_the_request_id_only(error: Exception) -> None:
    status = status_of(error, "r1")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "r1" in status.message
    assert "secret" not in status.message


def test_overload_tells_when_to_come_back() -> None:
    (detail,) = status_of(errors.OverloadedError("full", 1.5), "r1").details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    assert retry.retry_delay.ToTimedelta().total_seconds() == 1.5


def test_a_message_fits_into_a_header() -> None:
    status = status_of(errors.NotFoundError("없" * 10_000), "r1")
    assert len(status.message.encode()) * 3 < 8192  # percent-encoded
