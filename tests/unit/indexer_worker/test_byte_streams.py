"""Files as streams of bytes, whole or not at all."""

import gzip
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer_worker.readers.byte_streams import READ_ERRORS, ForwardReader, open_bytes, record_suffix
from indexer_worker.sources import source_of
from kosearch.errors import InvalidRequestError

CONTENT = b"".join(b'{"id": %d, "text": "%s"}\n' % (n, os.urandom(20).hex().encode()) for n in range(10_000))


def write(path: Path, content: bytes = CONTENT) -> Path:
    """Write a file, compressed as its name says."""
    match path.suffix:
        case ".zst":
            path.write_bytes(zstandard.compress(content))
        case ".gz":
            path.write_bytes(gzip.compress(content))
        case _:
            path.write_bytes(content)
    return path


def read_all(path: Path) -> bytes:
    with open_bytes(path) as stream:
        return stream.read()


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.jsonl", ".jsonl"),
        ("a.jsonl.zst", ".jsonl"),
        ("a.CSV.GZ", ".csv"),
        ("a.b.tsv", ".tsv"),
        ("a.zst", ""),
        ("a", ""),
        (".txt", ""),
    ],
)
def test_the_format_is_the_suffix_before_the_compression(name: str, suffix: str) -> None:
    """`laws.jsonl.zst` is JSONL."""
    assert record_suffix(Path(name)) == suffix


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz", "a.jsonl.GZ"])
def test_a_file_is_decompressed_by_its_name(name: str, tmp_path: Path) -> None:
    """Plain, zstd and gzip files give the same bytes."""
    path = write(tmp_path / name.lower()).rename(tmp_path / name)
    assert read_all(path) == CONTENT


def test_several_frames_are_one_file(tmp_path: Path) -> None:
    """Archives that were appended to, and skippable frames (as pzstd writes), are read to the end."""
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"meta"
    (tmp_path / "a.zst").write_bytes(zstandard.compress(b"one\n") + skippable + zstandard.compress(b"two\n"))
    assert read_all(tmp_path / "a.zst") == b"one\ntwo\n"


def test_a_stream_without_its_size_and_with_a_checksum_is_read(tmp_path: Path) -> None:
    """What `zstd` writes from a pipe is read as well."""
    compressor = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compressobj()
    (tmp_path / "a.zst").write_bytes(compressor.compress(CONTENT) + compressor.flush())
    assert read_all(tmp_path / "a.zst") == CONTENT


@pytest.mark.parametrize("name", ["a.zst", "a.gz"])
@pytest.mark.parametrize("part", [0.01, 0.5, 0.9999])
def test_a_truncated_archive_is_an_error(name: str, part: float, tmp_path: Path) -> None:
    """A download that broke off is not mistaken for a short file."""
    path = write(tmp_path / name)
    os.truncate(path, int(path.stat().st_size * part))
    with pytest.raises(READ_ERRORS):
        read_all(path)


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_truncated_checksum_is_an_error(cut: int, tmp_path: Path) -> None:
    """Even the last bytes count."""
    whole = zstandard.ZstdCompressor(write_checksum=True).compress(CONTENT)
    (tmp_path / "a.zst").write_bytes(whole[:-cut])
    with pytest.raises(READ_ERRORS):
        read_all(tmp_path / "a.zst")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 150), content=st.binary(max_size=100))
def test_no_truncation_goes_unnoticed(cut: int, content: bytes, tmp_path: Path) -> None:
    """Wherever a small archive is cut off, it is whole, empty or an error."""
    whole = zstandard.compress(content) + zstandard.compress(b"second frame")
    boundaries = {0, len(zstandard.compress(content)), len(whole)}
    (tmp_path / "a.zst").write_bytes(whole[:cut])
    if min(cut, len(whole)) in boundaries:
        read_all(tmp_path / "a.zst")
    else:
        with pytest.raises(READ_ERRORS):
            read_all(tmp_path / "a.zst")


@pytest.mark.parametrize("name", ["a.zst", "a.gz"])
def test_what_is_no_archive_is_an_error(name: str, tmp_path: Path) -> None:
    """A plain file with the name of an archive is refused."""
    (tmp_path / name).write_bytes(b'{"id": 1, "text": "x"}\n')
    with pytest.raises(READ_ERRORS):
        read_all(tmp_path / name)


@pytest.mark.parametrize("name", ["a.zst", "a.gz"])
def test_bytes_behind_an_archive_are_an_error(name: str, tmp_path: Path) -> None:
    """Two files glued together by mistake are not read as one."""
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes() + b"rubbish behind it")
    with pytest.raises(READ_ERRORS):
        read_all(path)


def test_an_altered_gzip_is_an_error(tmp_path: Path) -> None:
    """gzip's own checksum is checked."""
    path = write(tmp_path / "a.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(READ_ERRORS):
        read_all(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.gz", "a.zst", "a.json", "a.pdf", "a.parquet"])
def test_a_pipe_is_an_error_and_not_waited_for(name: str, tmp_path: Path) -> None:
    """Whoever put it in the place of a file does not hold up a worker for ever."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="not a file"):
        open_bytes(tmp_path / name)


# ForwardReader


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz"])
def test_ranges_are_read_in_any_order(name: str, tmp_path: Path) -> None:
    """Forward, with gaps, backward: the bytes asked for come back."""
    source = source_of(write(tmp_path / name))
    reader = ForwardReader()
    for start, end in [(0, 10), (10, 30), (5000, 6000), (6000, 6000), (20, 40), (len(CONTENT) - 5, len(CONTENT))]:
        assert reader.read(source, start, end) == CONTENT[start:end]
    reader.close()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.zst", "a.jsonl.gz"])
@pytest.mark.parametrize("start", [10, len(CONTENT) + 10])
def test_a_range_beyond_the_end_is_an_error(name: str, start: int, tmp_path: Path) -> None:
    """A file that became shorter is noticed, wherever the range begins; the next read is right again."""
    source = source_of(write(tmp_path / name))
    reader = ForwardReader()
    with pytest.raises(InvalidRequestError, match="longer when the job was planned"):
        reader.read(source, start, len(CONTENT) + 20)
    assert reader.read(source, 0, 10) == CONTENT[:10]
    reader.close()


def test_a_replaced_file_is_opened_anew(tmp_path: Path) -> None:
    """A worker that still holds the old file open reads the new one for the next job."""
    path = write(tmp_path / "a.jsonl", b"old" * 100)
    reader = ForwardReader()
    assert reader.read(source_of(path), 0, 3) == b"old"
    write(tmp_path / "new", b"NEW!" * 100).replace(path)
    assert reader.read(source_of(path), 4, 8) == b"NEW!"
    reader.close()


def test_reading_goes_on_after_an_unreadable_file(tmp_path: Path) -> None:
    """One damaged file does not disturb the next one."""
    bad, good = write(tmp_path / "bad.gz"), write(tmp_path / "good.gz")
    source = source_of(bad)
    os.truncate(bad, 20)
    reader = ForwardReader()
    with pytest.raises(READ_ERRORS):
        reader.read(source, 0, 1000)
    assert reader.read(source_of(good), 0, 10) == CONTENT[:10]
    reader.close()
