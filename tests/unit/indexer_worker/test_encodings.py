"""Files in the encodings of Korean programs, read as if they were UTF-8."""

import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer_worker.readers.byte_streams import ForwardReader, open_bytes
from indexer_worker.readers.encodings import as_utf8, detect_encoding
from indexer_worker.sources import source_of

LINES = [f"제{number}조 이 법은 똠방각하의 펲시콜라를 정한다.\n" for number in range(1, 2000)]
TEXT = "".join(LINES)


def read_all(path: Path) -> bytes:
    with open_bytes(path) as stream:
        return stream.read()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_reads_as_utf8_whatever_it_is_in(tmp_path: Path, encoding: str, packed: bool) -> None:
    content, path = TEXT.encode(encoding), tmp_path / ("laws.txt.gz" if packed else "laws.txt")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_all(path).decode("utf-8-sig") == TEXT


def test_utf16_of_either_byte_order_has_a_mark() -> None:
    for encoding, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        content = mark + TEXT.encode(encoding)
        found = detect_encoding(io.BytesIO(content))
        assert as_utf8(io.BytesIO(content), found).read() == TEXT.encode()


def test_what_is_ascii_for_long_does_not_hide_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    text = "id,text\n" * 400_000 + TEXT
    path.write_bytes(text.encode("cp949"))
    assert read_all(path) == text.encode()


def test_parts_of_a_file_are_places_in_its_text(tmp_path: Path) -> None:
    path = tmp_path / "laws.txt"
    path.write_bytes(TEXT.encode("cp949"))
    whole, reader = TEXT.encode(), ForwardReader()
    for start, end in ((0, 100), (100, 70_000), (90_000, 95_000), (10, 20)):
        assert reader.read(source_of(path), start, end) == whole[start:end]
    reader.close()


@pytest.mark.parametrize(("encoding", "broken"), [("cp949", b"\xff\n"), ("utf-16-le", b"\x00\xdc\n\x00")])
def test_bytes_that_are_no_character_cost_their_own_line(encoding: str, broken: bytes) -> None:
    mark = b"\xff\xfe" if encoding.startswith("utf-16") else b""
    head, tail = ("".join(part).encode(encoding) for part in (LINES[:1500], LINES[1500:]))
    content = mark + head + broken + tail
    assert detect_encoding(io.BytesIO(content)) == ("utf-16" if mark else "cp949")
    read = as_utf8(io.BytesIO(content), "utf-16" if mark else "cp949").read().splitlines(keepends=True)
    assert [line.decode() for line in read[:1500]] == LINES[:1500]
    with pytest.raises(UnicodeDecodeError):
        read[1500].decode()
    assert [line.decode() for line in read[1501:]] == LINES[1500:]


def test_a_damaged_utf8_file_is_taken_for_nothing_else() -> None:
    damaged = TEXT.encode()[:5000] + b"\xea\xb0" + TEXT.encode()[5000:]
    assert detect_encoding(io.BytesIO(damaged)) == "utf-8"


@pytest.mark.parametrize("content", [b"", b"id,text\n", "가".encode(), "가".encode("cp949")])
def test_little_is_enough(content: bytes) -> None:
    is_cp949 = content == "가".encode("cp949")
    assert detect_encoding(io.BytesIO(content)) == ("cp949" if is_cp949 else "utf-8")


@given(st.text(st.characters(min_codepoint=1, max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=200))
def test_any_text_in_utf16_comes_through(text: str) -> None:
    assert as_utf8(io.BytesIO(text.encode("utf-16")), "utf-16").read() == text.encode()
