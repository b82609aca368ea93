"""JSON files as lines: cut apart between values, whatever is in them."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.readers import json_values
from indexer_worker.readers.byte_streams import open_bytes
from indexer_worker.readers.json_values import as_json_lines

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.lists(st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=5)


def lines_of(content: bytes) -> list[Any]:
    return [json.loads(line) for line in as_json_lines(io.BytesIO(content)) if line.strip()]


@given(objects=OBJECTS, indent=st.sampled_from([None, 0, 2]), is_ascii=st.booleans(), chunk=st.integers(1, 40))
def test_an_array_is_a_line_for_each_value(objects: list[Any], indent: int | None, is_ascii: bool, chunk: int) -> None:
    """However it is written, and wherever a chunk ends; line n is value n."""
    content = json.dumps(objects, indent=indent, ensure_ascii=is_ascii).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_CHUNK_BYTES", max(chunk, 3))
        lines = [line for line in as_json_lines(io.BytesIO(content)) if line.strip()]
    assert [json.loads(line) for line in lines] == objects


@given(objects=OBJECTS, indent=st.sampled_from([None, 2]))
def test_values_without_an_array_are_lines_too(objects: list[Any], indent: int | None) -> None:
    """One object, or several: many a file called .json holds JSON lines."""
    assert lines_of("\n".join(json.dumps(each, indent=indent) for each in objects).encode()) == objects


@pytest.mark.parametrize("content", [b"", b" \n", b"[]", b"[\n]\n", b"\xef\xbb\xbf[ ]"])
def test_nothing_is_no_line(content: bytes) -> None:
    """White space and an empty array hold no document."""
    assert lines_of(content) == []


def test_a_malformed_value_costs_its_own_line() -> None:
    """The others are as they were."""
    lines = as_json_lines(io.BytesIO(b'[{"a": 1}, {"b": NaN,}, x, {"c": "]"}]')).readlines()
    assert [line.strip() for line in lines] == [b'{"a": 1}', b'{"b": NaN,}', b"x", b'{"c": "]"}']


@pytest.mark.parametrize("content", [b'[{"a": 1}, {"a"', b'{"a": "x', b'[{"a": 1}', b'{"a": [1}', b'{"a": "\\'])
def test_a_text_that_ends_within_a_value_is_damaged(content: bytes) -> None:
    """A download that broke off is not mistaken for a short file."""
    with pytest.raises(ConversionError) as caught:
        as_json_lines(io.BytesIO(content)).read()
    assert caught.value.reason is Reason.DAMAGED


def test_deep_nesting_takes_no_memory() -> None:
    """A file that was made to harm is one malformed line."""
    assert len(as_json_lines(io.BytesIO(b"[" * 300_000 + b"]" * 300_000)).readlines()) == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
@pytest.mark.parametrize("suffix", [".json", ".json.zst", ".JSON"])
def test_a_json_file_is_read_by_its_name(suffix: str, encoding: str, tmp_path: Path) -> None:
    """Compressed and in any encoding, as other texts."""
    content = '[\n  {"id": "1", "text": "한글"},\n  {"id": "2", "text": "글"}\n]'.encode(encoding)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(zstandard.compress(content) if suffix.endswith(".zst") else content)
    with open_bytes(path) as stream:
        assert [json.loads(line)["text"] for line in stream if line.strip()] == ["한글", "글"]
