"""Word documents (.docx) and PDF."""

import zipfile
from pathlib import Path

import mammoth
import pypdfium2

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.conversion.zip_archive import check_archive

_OLE_MAGIC = b"\xd0\xcf\x11\xe0"  # Word wraps documents with a password in it
_PDF_PASSWORD = 4  # FPDF_ERR_PASSWORD


def docx_to_html(path: Path) -> str:
    """Return a Word document as HTML. Raises ConversionError."""
    with path.open("rb") as file:
        if file.read(len(_OLE_MAGIC)) == _OLE_MAGIC:
            raise ConversionError(
                Reason.ENCRYPTED, f"{path.name} has a password, or is of Word before 2007; save it as .docx without one"
            )
        check_archive(path)
        try:
            return str(mammoth.convert_to_html(file, convert_image=mammoth.images.img_element(lambda _: {})).value)
        except (zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, SyntaxError) as error:
            raise ConversionError(Reason.DAMAGED, f"{path.name} is no Word document, or damaged ({error})") from error


def pdf_to_text(path: Path) -> str:
    """Return the text of a PDF, page after page. Raises ConversionError."""
    try:
        with pypdfium2.PdfDocument(path) as document:
            return "\n\n".join(page.get_textpage().get_text_bounded() for page in document)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) == _PDF_PASSWORD:
            raise ConversionError(Reason.ENCRYPTED, f"{path.name} has a password; save it without one") from error
        raise ConversionError(Reason.DAMAGED, f"{path.name} is no PDF, or damaged ({error})") from error
