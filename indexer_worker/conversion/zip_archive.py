"""A look at an archive before a parser unpacks it."""

import zipfile
from pathlib import Path

from indexer_worker.conversion.failure import ConversionError, Reason

MAGIC = b"PK\x03\x04"
# An official notice of a hundred pages has 10 MB of XML.
_MAX_UNPACKED_BYTES = 512 << 20


def check_archive(path: Path, member: str = "") -> bytes:
    """Return a small member of the archive, empty when it has none of that name. Raises ConversionError."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
            if unpacked > _MAX_UNPACKED_BYTES:
                raise ConversionError(Reason.TOO_LARGE, f"{path.name} would unpack to {unpacked:,} bytes")
            return archive.read(member) if member in archive.namelist() else b""
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise ConversionError(Reason.DAMAGED, f"{path.name} is a damaged archive ({error})") from error
