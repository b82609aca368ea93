"""Page tokens."""

import base64
import zlib
from dataclasses import replace
from hashlib import blake2b
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.grouping import each_alone
from encoder_service.search.paging import decode_token, encode_token
from encoder_service.search.requests import (
    AnyOf,
    Condition,
    Filter,
    Fusion,
    Mode,
    Place,
    SearchRequest,
)
from kosearch.errors import InvalidRequestError
from kosearch.korean.reading import ReadingOptions

REQUEST = SearchRequest("절도", "laws", more_collections=("cases",))
FLOATS = st.floats(-1e6, 1e6, width=32)
PLACES = st.none() | st.builds(Place, st.integers(1, 1000), FLOATS)
CANDIDATES = st.builds(
    Candidate,
    st.builds(PointKey, st.uuids().map(str), st.integers(0, 1)),
    FLOATS,
    dense=PLACES,
    lexical=PLACES,
    max_sim=st.none() | st.floats(0, 1, width=32),
)
GROUPS = st.lists(st.lists(CANDIDATES, min_size=1, max_size=3).map(tuple), min_size=1, max_size=20)


def candidates(count: int) -> list[Candidate]:
    return [Candidate(PointKey(str(UUID(int=number))), 1.0) for number in range(count)]


TOKEN = encode_token(each_alone(candidates(3)), Mode.HYBRID, REQUEST)


@given(GROUPS, st.sampled_from(Mode))
def test_what_went_in_comes_out(groups: list[tuple[Candidate, ...]], mode: Mode) -> None:
    """Order, groups, scores, ranks and mode."""
    token = encode_token(groups, mode, REQUEST)
    assert decode_token(token, REQUEST) == (groups, mode)
    assert token.isascii()


def test_nothing_left_makes_no_token() -> None:
    """There is no further page."""
    assert encode_token([], Mode.DENSE, REQUEST) == ""


def test_a_token_of_a_thousand_points_fits_into_any_message() -> None:
    """Points cannot be compressed: 16 bytes each, and a few for the rest."""
    found = [
        Candidate(PointKey(str(UUID(int=number * (2**127 // 997)))), 1 / number, Place(number, 0.5))
        for number in range(1, 1200)
    ]
    token = encode_token(each_alone(found), Mode.HYBRID, REQUEST)
    assert len(token) < 50_000
    assert len(decode_token(token, REQUEST)[0]) == 1000


@pytest.mark.parametrize(
    "harmless", [{"top_k": 50}, {"with_highlights": True}, {"is_paged": True}, {"page_token": "x"}]
)
def test_the_size_of_a_page_may_change(harmless: dict[str, object]) -> None:
    """It does not decide what is in the list."""
    assert decode_token(TOKEN, replace(REQUEST, **harmless))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "other",
    [
        {"query": "강도"},
        {"collection": "cases", "more_collections": ("laws",)},
        {"more_collections": ()},
        {"mode": Mode.DENSE},
        {"filter": Filter(must=(Condition("a", 1),))},
        {"filter": Filter(must=(Condition("a", AnyOf((1,))),))},
        {"fusion": Fusion(rrf_k=61)},
        {"chunks_per_document": 1},
        {"diversity": 0.25},
        {"reading": ReadingOptions(keeps_typos=True)},
        {"like_ids": ("a",)},
        {"unlike_ids": ("a",)},
        {"score_threshold": 0.0},
    ],
)
def test_whatever_decides_the_list_has_to_be_as_it_was(other: dict[str, object]) -> None:
    """The message says to repeat it, or to begin again."""
    with pytest.raises(InvalidRequestError, match=r"another search.*begin again"):
        decode_token(TOKEN, replace(REQUEST, **other))  # type: ignore[arg-type]


def test_a_token_of_a_newer_version_says_so() -> None:
    """Nothing of it is read."""
    message = bytearray(base64.urlsafe_b64decode(TOKEN))
    message[0] += 1
    with pytest.raises(InvalidRequestError, match="another version"):
        decode_token(base64.urlsafe_b64encode(message).decode(), REQUEST)


@pytest.mark.parametrize("token", ["x", "AQ==", "AAAA", "====", "가", TOKEN[:-4], TOKEN + "AAAA", "A" * 200_000, " "])
def test_garbage_is_damaged(token: str) -> None:
    """Whatever somebody sends."""
    with pytest.raises(InvalidRequestError, match="page token"):
        decode_token(token, REQUEST)


@given(st.text() | st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))
def test_no_text_crashes_the_reader(token: str) -> None:
    """A refusal is all that can happen."""
    with pytest.raises(InvalidRequestError):
        decode_token(token, REQUEST)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    """A token is sent back as it was."""
    message = bytearray(base64.urlsafe_b64decode(TOKEN))
    message[place % len(message)] ^= change
    with pytest.raises(InvalidRequestError):
        decode_token(base64.urlsafe_b64encode(message).decode(), REQUEST)


def test_a_token_that_would_unpack_to_gigabytes_is_refused() -> None:
    """Whoever makes one up knows the checksum, too."""
    message = base64.urlsafe_b64decode(TOKEN)
    bomb = forged(message[9:25] + zlib.compress(bytes(50_000_000), 9))
    with pytest.raises(InvalidRequestError, match="damaged"):
        decode_token(bomb, REQUEST)


@pytest.mark.parametrize(
    "body", [b"", b"\x00", b"\x09\x01\x00" + bytes(37), b"\x00\x02\x00" + bytes(37), b"\x00\x00\x00"]
)
def test_a_made_up_body_is_refused(body: bytes) -> None:
    """No mode, no candidates, another number of them than it says."""
    message = base64.urlsafe_b64decode(TOKEN)
    with pytest.raises(InvalidRequestError, match="damaged"):
        decode_token(forged(message[9:25] + zlib.compress(body)), REQUEST)


def test_a_collection_that_the_request_does_not_have_is_refused() -> None:
    """A made-up token reads nothing out of bounds."""
    token = encode_token([(Candidate(PointKey(str(UUID(int=1)), 5), 1.0),)], Mode.DENSE, REQUEST)
    with pytest.raises(InvalidRequestError, match="damaged"):
        decode_token(token, REQUEST)


def forged(signed: bytes) -> str:
    """Return a token with a right checksum."""
    checksum = blake2b(signed, digest_size=8).digest()
    return base64.urlsafe_b64encode(b"\x02" + checksum + signed).decode()
