"""The client before it reaches a service."""

import pytest

from kosearch.client import Client
from kosearch.errors import InvalidRequestError
from kosearch.settings import EncoderSettings

LONE_SURROGATE = "치타\ud800"


def test_a_text_without_utf8_form_is_refused_with_its_place() -> None:
    with Client(EncoderSettings(address="127.0.0.1:9")) as client:
        for call in (lambda: client.encode([LONE_SURROGATE]), lambda: client.search(LONE_SURROGATE, "laws")):
            with pytest.raises(InvalidRequestError, match=r"character 2 is '\\ud800'"):
                call()
