"""Which encoding a file is in, and its text as UTF-8 whatever that is.

Korean files of Windows programs are in CP949 (of which EUC-KR is a part) or, where a program says "Unicode", in UTF-16
with a byte-order mark.
"""

import codecs
import io
from collections.abc import Iterator
from typing import IO

from indexer_worker.readers.chunk_stream import ChunkStream

_CHUNK_BYTES = 1 << 20
# Enough to tell: of random bytes hardly any thousand is Korean in CP949, and none in UTF-8.
_WINDOW_BYTES = 1 << 16
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Bytes that are no character in their encoding become one that is none in UTF-8, so that their line alone is refused.
_KEEP_UNREADABLE = "kosearch.unreadable"
_UNREADABLE = "\udcff"


def detect_encoding(stream: IO[bytes]) -> str:
    """Return the encoding of a text, told by its mark or its first bytes beyond ASCII; `utf-8` where nothing fits."""
    chunk = stream.read(_CHUNK_BYTES)
    for mark, encoding in _MARKS:
        if chunk.startswith(mark):
            return encoding
    while chunk.isascii():
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            return "utf-8"
    first = next(place for place, byte in enumerate(chunk) if byte > 127)
    window = (chunk[first:] + stream.read(_WINDOW_BYTES))[:_WINDOW_BYTES]
    return next((encoding for encoding in ("utf-8", "cp949") if _fits(window, encoding)), "utf-8")


def as_utf8(stream: IO[bytes], encoding: str) -> IO[bytes]:
    """Return the text of a stream in UTF-8, without byte-order mark; it closes that stream with itself."""
    return io.BufferedReader(ChunkStream(_utf8_chunks(stream, encoding), stream), _CHUNK_BYTES)


def _fits(window: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        decoder.decode(window, final=len(window) < _WINDOW_BYTES)  # a full window may end within a character
    except UnicodeDecodeError:
        return False
    return True


def _utf8_chunks(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_KEEP_UNREADABLE)
    is_over = False
    while not is_over:
        chunk = stream.read(_CHUNK_BYTES)
        is_over = not chunk
        if text := decoder.decode(chunk, final=is_over):
            yield text.encode("utf-8", "surrogateescape")


def _keep_unreadable(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return _UNREADABLE, error.end


codecs.register_error(_KEEP_UNREADABLE, _keep_unreadable)
