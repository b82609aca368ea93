"""Points on the pipe to the process that builds a shard: frames of JSON and raw numbers.

A frame is its length (4 bytes) and so many bytes; a frame of length 0 is the last. A page of points is the length of
its JSON part (4 bytes), that part, the float32 rows of every dense vector one after the other; of a sparse vector
the uint32 indices of all its points, and then their float32 values.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import accumulate
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
    described, numbers = [], []
    for name in sorted({name for named in vectors for name in named}):
        # A point may lack one of several vectors.
        owners = [row for row, named in enumerate(vectors) if name in named]
        owned = [vectors[row][name] for row in owners]
        size, encoded = _encode_sparse(owned) if isinstance(owned[0], edge.SparseVector) else _encode_dense(owned)
        described.append([name, owners, size])
        numbers.append(encoded)
    head = orjson.dumps(
        {
            "ids": [str(record.id) if isinstance(record.id, UUID) else record.id for record in records],
            "payloads": [record.payload or {} for record in records],
            "vectors": described,
        }
    )
    return b"".join([_LENGTH.pack(len(head)), head, *numbers])


def decode_page(content: bytes) -> list["edge.Point"]:
    """Return the points of a frame."""
    (head_bytes,) = _LENGTH.unpack_from(content)
    head = orjson.loads(content[_LENGTH.size : _LENGTH.size + head_bytes])
    vectors: list[dict[str, Any]] = [{} for _ in head["ids"]]
    offset = _LENGTH.size + head_bytes
    for name, owners, size in head["vectors"]:
        if isinstance(size, list):
            decoded, offset = _decode_sparse(content, offset, size)
        else:
            decoded, offset = _decode_dense(content, offset, len(owners), size)
        for row, vector in zip(owners, decoded, strict=True):
            vectors[row][name] = vector
    return [
        edge.Point(_point_id(point_id), named[""] if named.keys() == {""} else named, payload)
        for point_id, named, payload in zip(head["ids"], vectors, head["payloads"], strict=True)
    ]


def _encode_dense(vectors: Sequence[Sequence[float]]) -> tuple[int, bytes]:
    """Return their dimension and rows."""
    rows = np.asarray(vectors, dtype="<f4")  # (len(vectors), dim)
    return rows.shape[1], rows.tobytes()


def _decode_dense(content: bytes, offset: int, count: int, dim: int) -> tuple[list[Any], int]:
    rows = np.frombuffer(content, dtype="<f4", count=count * dim, offset=offset).reshape(count, dim)
    return rows.tolist(), offset + rows.nbytes


def _encode_sparse(vectors: Sequence["edge.SparseVector"]) -> tuple[list[int], bytes]:
    """Return how many terms each has, and the indices and values of all."""
    indices = [vector.indices for vector in vectors]
    flat_indices = np.asarray([index for each in indices for index in each], dtype="<u4")
    flat_values = np.asarray([value for vector in vectors for value in vector.values], dtype="<f4")
    return [len(each) for each in indices], flat_indices.tobytes() + flat_values.tobytes()


def _decode_sparse(content: bytes, offset: int, lengths: Sequence[int]) -> tuple[list[Any], int]:
    total = sum(lengths)
    indices = np.frombuffer(content, dtype="<u4", count=total, offset=offset).tolist()
    values = np.frombuffer(content, dtype="<f4", count=total, offset=offset + 4 * total).tolist()
    ends = list(accumulate(lengths))
    vectors = [
        edge.SparseVector(indices[end - length : end], values[end - length : end])
        for length, end in zip(lengths, ends, strict=True)
    ]
    return vectors, offset + 8 * total


def _by_name(vector: Any) -> Mapping[str, Any]:
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
