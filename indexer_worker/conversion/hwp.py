"""Files of Hancom's word processor: HWP 3, HWP 5 (OLE), HWPX (ZIP), told by content, since names are often wrong."""

import zipfile
from pathlib import Path

import olefile
import unhwp

from indexer_worker.conversion.failure import ConversionError, Reason

_ZIP_MAGIC = b"PK\x03\x04"
# An official notice of a hundred pages has 10 MB of XML.
_MAX_UNPACKED_BYTES = 512 << 20
# Bits of the properties in the stream FileHeader. Source: Hancom, "글 문서 파일 형식 5.0", revision 1.3, table 3.
_FLAGS_AT = 36
_PASSWORD, _DISTRIBUTION, _DRM = 1 << 1, 1 << 2, 1 << 4


def hwp_to_markdown(path: Path) -> str:
    """Return the document as Markdown. Raises ConversionError."""
    with path.open("rb") as file:
        magic = file.read(len(_ZIP_MAGIC))
    if magic == _ZIP_MAGIC:
        _check_hwpx(path)
    elif olefile.isOleFile(path):
        _check_hwp5(path)
    try:
        return str(unhwp.to_markdown(str(path)))
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
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            names = set(archive.namelist())
            manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ConversionError(Reason.DAMAGED, f"{path.name} is a damaged archive ({error})") from error
    if unpacked > _MAX_UNPACKED_BYTES:
        raise ConversionError(Reason.TOO_LARGE, f"{path.name} would unpack to {unpacked:,} bytes")
    if b"encryption-data" in manifest:
        raise ConversionError(Reason.ENCRYPTED, f"{path.name} is encrypted; save it without a password")
