"""Points on the pipe to the process that builds a shard."""

import io
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import qdrant_edge as edge

from standalone.store.point_pages import LAST_FRAME, decode_page, encode_page, framed, read_frame

ID = UUID("1e577be3-0997-43fd-981d-60db5c2ab732")


def record(point_id: Any, vector: Any, payload: Any) -> Any:
    """Return what the engine reads."""
    return SimpleNamespace(id=point_id, vector=vector, payload=payload)


def test_points_arrive_as_they_left() -> None:
    payload = {"text": "한글", "n": 2**63 - 1, "x": 1.0, "inner": {"list": [None, True]}}
    page = decode_page(encode_page([record(ID, [0.5, -2.0], payload), record(2**64 - 1, [1.0, 0.25], None)]))
    assert [(point.id, list(point.vector), point.payload) for point in page] == [
        (ID, [0.5, -2.0], payload),
        (2**64 - 1, [1.0, 0.25], {}),
    ]
    assert type(page[0].payload["x"]) is float


def test_a_point_may_lack_a_named_vector() -> None:
    vectors = [{"a": [1.0], "b": [2.0, 3.0]}, {"b": [4.0, 5.0]}, {}]
    page = decode_page(encode_page([record(n, vector, {}) for n, vector in enumerate(vectors)]))
    assert [point.vector for point in page] == vectors


def test_sparse_vectors_arrive_beside_dense_ones() -> None:
    """Points without one, and sparse vectors without a term, included; names come in any order."""
    sent = [
        {"": [1.0], "lexical": edge.SparseVector([0, 2**32 - 1], [0.5, -2.0]), "a": edge.SparseVector([7], [1.0])},
        [2.0],
        {"lexical": edge.SparseVector([], [])},
        {"lexical": edge.SparseVector([5], [0.25]), "b": [3.0, 4.0]},
    ]
    page = decode_page(encode_page([record(n, vector, {}) for n, vector in enumerate(sent)]))
    assert [plain(point.vector) for point in page] == [plain(vector) for vector in sent]


def plain(vector: Any) -> Any:
    """Return a point's vectors as what can be compared."""
    if not isinstance(vector, dict):
        return list(vector)
    return {
        name: (each.indices, each.values) if isinstance(each, edge.SparseVector) else list(each)
        for name, each in vector.items()
    }


def test_frames_end_with_an_empty_one() -> None:
    stream = io.BytesIO(framed(b"a" * 300) + framed(b"b") + framed(LAST_FRAME))
    assert [read_frame(stream) for _ in range(3)] == [b"a" * 300, b"b", LAST_FRAME]


@pytest.mark.parametrize("cut", [0, 3, 4, 10])
def test_an_end_without_the_last_frame_is_none(cut: int) -> None:
    with pytest.raises(EOFError):
        read_frame(io.BytesIO(framed(b"a" * 100)[:cut]))
