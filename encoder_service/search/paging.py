"""Page tokens: what is left of a list of candidates, so that any replica can go on with it, after a restart, too.

A token is no secret and no proof: whoever makes one up names points, and of those a page shows what the filter of the
request lets through, as a search would.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from math import isnan, nan
from uuid import UUID

from encoder_service.search.fusion import Candidate, PointKey
from encoder_service.search.grouping import Group
from encoder_service.search.requests import Mode, Place, SearchRequest
from kosearch.errors import InvalidRequestError

MAX_CANDIDATES = 1000

_VERSION = 2
# Version, checksum of all that follows, digest of the search.
_HEAD = struct.Struct("<B8s16s")
_LENGTHS = struct.Struct("<BH")  # mode, candidates
# Point, collection, whether it begins a group, score, ranks and scores of both legs (rank 0: not in that leg), MaxSim
# (NaN: not reranked).
_CANDIDATE = struct.Struct("<16sB?fHfHff")
_MODES = tuple(Mode)
_MAX_BODY_BYTES = _LENGTHS.size + MAX_CANDIDATES * _CANDIDATE.size
_MAX_TOKEN_CHARACTERS = 100_000


def encode_token(left: Sequence[Group], mode: Mode, request: SearchRequest) -> str:
    """Return the token that goes on with these groups; empty when there are none. At most 1,000 candidates go along."""
    candidates = _flat(left)[:MAX_CANDIDATES]
    if not candidates:
        return ""
    body = _LENGTHS.pack(_MODES.index(mode), len(candidates)) + b"".join(candidates)
    signed = _digest(request) + zlib.compress(body, 9)
    return base64.urlsafe_b64encode(bytes([_VERSION]) + _checksum(signed) + signed).decode()


def decode_token(token: str, request: SearchRequest) -> tuple[list[Group], Mode]:
    """Return what is left, and how it was searched. Raises InvalidRequestError saying what to do."""
    version, signed = _opened(token)
    if version != _VERSION:
        raise InvalidRequestError(
            "the page token was made by another version of the service; begin again with the first page"
        )
    digest, packed = signed[:16], signed[16:]
    if digest != _digest(request):
        raise InvalidRequestError(
            "the page token belongs to another search; only top_k may differ from page to page: repeat query, "
            "collection, filter and options, or begin again without a token"
        )
    try:
        body = _unpacked(packed)
        mode, count = _LENGTHS.unpack_from(body)
        candidates = list(_CANDIDATE.iter_unpack(body[_LENGTHS.size :]))
        if len(candidates) != count or not 0 < count <= MAX_CANDIDATES:
            raise _damaged()
        return _grouped(candidates, len(request.collections)), _MODES[mode]
    except (struct.error, zlib.error, IndexError) as error:
        raise _damaged() from error


def _opened(token: str) -> tuple[int, bytes]:
    try:
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise _damaged()
        message = base64.b64decode(token, altchars=b"-_", validate=True)
        version, checksum, _ = _HEAD.unpack_from(message)
    except (binascii.Error, ValueError, struct.error) as error:
        raise _damaged() from error
    signed = message[9:]
    if version == _VERSION and checksum != _checksum(signed):
        raise _damaged()
    return version, signed


def _unpacked(packed: bytes) -> bytes:
    """Unpack no more than a token may hold: a few bytes can be made to become gigabytes."""
    unpacking = zlib.decompressobj()
    body = unpacking.decompress(packed, _MAX_BODY_BYTES)
    if unpacking.unconsumed_tail or not unpacking.eof:
        raise _damaged()
    return body


def _damaged() -> InvalidRequestError:
    return InvalidRequestError(
        "the page token is damaged; send next_page_token of an answer as it was, or begin again without a token"
    )


def _digest(request: SearchRequest) -> bytes:
    """Of everything that decides the list. The size of a page does not, nor does what is marked in its hits."""
    asked = replace(request, top_k=0, with_highlights=False, is_paged=False, page_token="")
    return blake2b(repr(asked).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _checksum(message: bytes) -> bytes:
    return blake2b(message, digest_size=8).digest()


def _flat(groups: Sequence[Group]) -> list[bytes]:
    return [_packed(candidate, is_first=place == 0) for group in groups for place, candidate in enumerate(group)]


def _packed(candidate: Candidate, *, is_first: bool) -> bytes:
    dense, lexical = candidate.dense or Place(0, 0.0), candidate.lexical or Place(0, 0.0)
    return _CANDIDATE.pack(
        UUID(candidate.key.point_id).bytes,
        candidate.key.collection,
        is_first,
        candidate.score,
        dense.rank,
        dense.score,
        lexical.rank,
        lexical.score,
        nan if candidate.max_sim is None else candidate.max_sim,
    )


def _grouped(
    rows: Sequence[tuple[bytes, int, bool, float, int, float, int, float, float]], collections: int
) -> list[Group]:
    groups: list[list[Candidate]] = []
    for point, collection, is_first, score, dense_rank, dense_score, lexical_rank, lexical_score, max_sim in rows:
        if collection >= collections:
            raise _damaged()
        dense = Place(dense_rank, dense_score) if dense_rank else None
        lexical = Place(lexical_rank, lexical_score) if lexical_rank else None
        if is_first or not groups:
            groups.append([])
        key = PointKey(str(UUID(bytes=point)), collection)
        groups[-1].append(Candidate(key, score, dense, lexical, None if isnan(max_sim) else max_sim))
    return [tuple(group) for group in groups]
