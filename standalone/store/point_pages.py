"""Points on the pipe to the process that builds a shard: frames of JSON and raw float32 rows.

A frame is its length (4 bytes) and so many bytes; a frame of length 0 is the last. A page of points is the length of
its JSON part (4 bytes), that part, and the rows of every vector one after the other.
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO
from uuid import UUID

import numpy as np
import orjson
import qdrant_edge as edge

from standalone.store.translation.values import PointId

LAST_FRAME = b""
_LENGTH = struct.Struct("<I")


def framed(content: bytes) -> bytes:
    """Return a frame of this content."""
    return _LENGTH.pack(len(content)) + content


def read_frame(stream: BinaryIO) -> bytes:
    """Return the next frame's content. Raises EOFError when the other side ended without the last frame."""
    return _read_exactly(stream, _LENGTH.unpack(_read_exactly(stream, _LENGTH.size))[0])


def encode_page(records: Sequence["edge.Record"]) -> bytes:
    """Return the frame's content for points read with payload and vectors."""
    vectors = [_by_name(record.vector) for record in records]
    names = sorted({name for named in vectors for name in named})
    # A point may lack one of several named vectors.
    owners = {name: [row for row, named in enumerate(vectors) if name in named] for name in names}
    rows = {
        name: np.asarray([vectors[row][name] for row in owning], dtype="<f4") for name, owning in owners.items()
    }  # each (points that have it, dim)
    head = orjson.dumps(
        {
            "ids": [str(record.id) if isinstance(record.id, UUID) else record.id for record in records],
            "payloads": [record.payload or {} for record in records],
            "vectors": [[name, owners[name], rows[name].shape[1]] for name in names],
        }
    )
    return b"".join([_LENGTH.pack(len(head)), head, *(rows[name].tobytes() for name in names)])


def decode_page(content: bytes) -> list["edge.Point"]:
    """Return the points of a frame."""
    (head_bytes,) = _LENGTH.unpack_from(content)
    head = orjson.loads(content[_LENGTH.size : _LENGTH.size + head_bytes])
    vectors: list[dict[str, Any]] = [{} for _ in head["ids"]]
    offset = _LENGTH.size + head_bytes
    for name, owners, dim in head["vectors"]:
        rows = np.frombuffer(content, dtype="<f4", count=len(owners) * dim, offset=offset).reshape(-1, dim)
        offset += rows.nbytes
        for row, values in zip(owners, rows.tolist(), strict=True):
            vectors[row][name] = values
    return [
        edge.Point(_point_id(point_id), named[""] if named.keys() == {""} else named, payload)
        for point_id, named, payload in zip(head["ids"], vectors, head["payloads"], strict=True)
    ]


def _by_name(vector: Any) -> Mapping[str, Sequence[float]]:
    if vector is None:
        return {}
    return vector if isinstance(vector, dict) else {"": vector}


def _point_id(point_id: int | str) -> PointId:
    return point_id if isinstance(point_id, int) else UUID(point_id)


def _read_exactly(stream: BinaryIO, count: int) -> bytes:
    content = stream.read(count)
    if len(content) < count:
        raise EOFError("the points ended early")
    return content
