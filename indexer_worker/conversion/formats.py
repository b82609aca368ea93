"""Which converter a file gets, by its name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from indexer_worker.conversion.failure import ConversionError, Reason
from indexer_worker.conversion.markdown import plain_text
from indexer_worker.readers.encodings import as_utf8, detect_encoding


@dataclass(frozen=True, slots=True)
class Converted:
    """A document's text, and its title where the format has one."""

    text: str
    title: str = ""


def convert(path: Path) -> Converted:
    """Return the text of a file. Raises ConversionError, OSError, and whatever a parser of damaged files raises."""
    converted = _CONVERTERS[path.suffix.lower()](path)
    if not converted.text.strip():
        raise ConversionError(Reason.NO_TEXT, f"{path.name} holds no text; pictures are not read")
    return converted


# Each imports its libraries when it is needed: a process reads one file.


def _hwp(path: Path) -> Converted:
    from indexer_worker.conversion.hwp import hwp_to_markdown  # noqa: PLC0415

    return Converted(plain_text(hwp_to_markdown(path)))


def _html(path: Path) -> Converted:
    return _of_html(_text(path))


def _docx(path: Path) -> Converted:
    from indexer_worker.conversion.office import docx_to_html  # noqa: PLC0415

    return _of_html(docx_to_html(path))


def _pdf(path: Path) -> Converted:
    from indexer_worker.conversion.office import pdf_to_text  # noqa: PLC0415

    return Converted(pdf_to_text(path))


def _markdown(path: Path) -> Converted:
    return Converted(plain_text(_text(path)))


def _of_html(html: str) -> Converted:
    from indexer_worker.conversion.web import html_to_markdown  # noqa: PLC0415

    markdown, title = html_to_markdown(html)
    return Converted(plain_text(markdown), title)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        encoding = detect_encoding(file)
    with as_utf8(path.open("rb"), encoding) as stream:
        return stream.read().decode("utf-8-sig", "replace")


_CONVERTERS: dict[str, Callable[[Path], Converted]] = {
    ".hwp": _hwp,
    ".hwpx": _hwp,
    ".docx": _docx,
    ".pdf": _pdf,
    ".html": _html,
    ".htm": _html,
    ".md": _markdown,
}
