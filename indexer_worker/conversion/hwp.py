"""Files of Hancom's word processor: HWP 3, HWP 5 (OLE), HWPX (ZIP), told by content, since names are often wrong."""

import re
from pathlib import Path

import olefile
import unhwp

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.conversion.zip_archive import MAGIC, check_archive

# Bits of the properties in the stream FileHeader. Source: Hancom, "글 문서 파일 형식 5.0", revision 1.3, table 3.
_FLAGS_AT = 36
_PASSWORD, _DISTRIBUTION, _DRM = 1 << 1, 1 << 2, 1 << 4
# Markdown takes the stars of `**제안**하되` for text, since a particle stands behind them without a space.
_EMPHASIS = re.compile(r"(?<!\\)\*")


def hwp_to_markdown(path: Path) -> str:
    """Return the document as Markdown. Raises ConversionError."""
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
    if magic == MAGIC:
        _check_hwpx(path)
    elif olefile.isOleFile(path):
        _check_hwp5(path)
    try:
        return _EMPHASIS.sub("", str(unhwp.to_markdown(str(path))))
    except unhwp.UnhwpError as error:
        raise ConversionError(Reason.DAMAGED, f"{path.name} is no HWP or HWPX file, or damaged ({error})") from error


def _check_hwp5(path: Path) -> None:
    try:
        with olefile.OleFileIO(path) as ole:
            header = ole.openstream("FileHeader").read()
    except OSError as error:
        raise ConversionError(Reason.DAMAGED, f"{path.name} has no readable FileHeader ({error})") from error
    flags = int.from_bytes(header[_FLAGS_AT : _FLAGS_AT + 4], "little")
    if flags & _PASSWORD:
        raise ConversionError(Reason.ENCRYPTED, f"{path.name} has a password; save it without one")
    if flags & _DRM:
        raise ConversionError(Reason.DRM_PROTECTED, f"{path.name} is under DRM; save it as an ordinary document")
    if flags & _DISTRIBUTION:
        # Whoever reads it all the same gets one sentence that tells of a newer viewer.
        raise ConversionError(
            Reason.DISTRIBUTION_ONLY, f"{path.name} is a distribution document (배포용); ask for the ordinary one"
        )


def _check_hwpx(path: Path) -> None:
    if b"encryption-data" in check_archive(path, "META-INF/manifest.xml"):
        raise ConversionError(Reason.ENCRYPTED, f"{path.name} is encrypted; save it without a password")
