"""Chunks of bytes that are made one after the other, as a stream to read from."""

import io
from collections.abc import Iterator
from typing import IO, Any


class ChunkStream(io.RawIOBase):
    """The chunks of an iterator, none of them empty; closes the stream that they are made from with itself."""

    def __init__(self, chunks: Iterator[bytes], source: IO[bytes]) -> None:
        self._chunks = chunks
        self._source = source
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer; 0 at the end."""
        if not self._ready:
            self._ready = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def close(self) -> None:
        """Close the source, too."""
        self._source.close()
        super().close()
