"""The client before it reaches a service."""

import pytest

from kosearch.client import Client
from kosearch.documents import Document
from kosearch.errors import InvalidRequestError
from kosearch.settings import EncoderSettings

LONE_SURROGATE = "치타\ud800"


def test_a_text_without_utf8_form_is_refused_with_its_place() -> None:
    with Client(EncoderSettings(address="127.0.0.1:9")) as client:
        for call in (lambda: client.encode([LONE_SURROGATE]), lambda: client.search(LONE_SURROGATE, "laws")):
            with pytest.raises(InvalidRequestError, match=r"character 2 is '\\ud800'"):
                call()


def test_a_pushed_document_without_utf8_form_is_refused() -> None:
    """In its identifier, its text, or one of its fields; nothing is sent."""
    documents = [
        Document(LONE_SURROGATE, "글"),
        Document("a", LONE_SURROGATE),
        Document("a", "글", "", {"법": LONE_SURROGATE}),
        Document("a", "글", "", {LONE_SURROGATE: 1}),
    ]
    with Client(EncoderSettings(address="127.0.0.1:9")) as client:
        for document in documents:
            with pytest.raises(InvalidRequestError):
                client.push_documents("laws", [document])


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_a_pushed_field_that_is_no_json_is_refused(value: object) -> None:
    """What protobuf cannot carry is the caller's mistake."""
    with (
        Client(EncoderSettings(address="127.0.0.1:9")) as client,
        pytest.raises(InvalidRequestError),
    ):
        client.push_documents("laws", [Document("a", "글", "", {"field": value})])
