"""Names and errors at the border to Qdrant."""

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from kosearch.errors import (
    InvalidRequestError,
    KosearchError,
    NotFoundError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from kosearch.settings import QdrantSettings
from kosearch.vector_store import check_collection_name, translated_errors

SETTINGS = QdrantSettings(url="http://qdrant:6333", grpc_port=6334)


@pytest.mark.parametrize("name", ["laws", "LAWS_2024-01.v2", "a", "a" * 255, "_", "-"])
def test_a_name_that_qdrant_takes_is_returned(name: str) -> None:
    """Letters, digits, and three signs."""
    assert check_collection_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a b", "법률", "a" * 256, "a\n", "a\0", "../a"])
def test_a_name_that_no_file_system_could_hold_is_refused(name: str) -> None:
    """Names become directories in the store."""
    with pytest.raises(InvalidRequestError, match="collection name"):
        check_collection_name(name)


@given(st.text(max_size=300))
def test_an_accepted_name_is_one_harmless_path_component(name: str) -> None:
    """Whatever is typed, nothing leads out of the directory of collections."""
    try:
        check_collection_name(name)
    except InvalidRequestError:
        return
    assert name.isascii()
    assert "/" not in name
    assert not name.startswith(".")
    assert 0 < len(name) <= 255


class CallError(grpc.RpcError, grpc.Call):  # type: ignore[misc]
    """An error as a stub raises it."""

    def __init__(self, code: grpc.StatusCode, details: str | None = "details") -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


CallError.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("code", "kind", "word"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFoundError, "'laws' does not exist"),
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequestError, "details"),
        (grpc.StatusCode.ALREADY_EXISTS, InvalidRequestError, "details"),
        (grpc.StatusCode.UNAUTHENTICATED, UnauthenticatedError, "KOSEARCH_QDRANT__API_KEY"),
        (grpc.StatusCode.PERMISSION_DENIED, UnauthenticatedError, "KOSEARCH_QDRANT__API_KEY"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, OverloadedError, "no room"),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError, "KOSEARCH_QDRANT__URL"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, UnavailableError, "qdrant:6334"),
        (grpc.StatusCode.INTERNAL, UnavailableError, "INTERNAL"),
    ],
)
def test_each_status_becomes_one_error_of_ours(code: grpc.StatusCode, kind: type[KosearchError], word: str) -> None:
    """The message says what is wrong and what to do."""
    with pytest.raises(kind, match=word), translated_errors(SETTINGS, "laws"):
        raise CallError(code)


def test_an_error_without_details_is_no_crash() -> None:
    """gRPC allows for none."""
    with pytest.raises(UnavailableError), translated_errors(SETTINGS, "laws"):
        raise CallError(grpc.StatusCode.UNKNOWN, None)


def test_the_advised_pause_is_kept() -> None:
    """A rate-limiting server says how long to wait."""
    with pytest.raises(OverloadedError) as caught, translated_errors(SETTINGS, "laws"):
        raise ResourceExhaustedResponse("slow down", retry_after_s=7)
    assert caught.value.retry_after_s == 7
