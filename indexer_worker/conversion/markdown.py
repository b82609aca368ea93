"""From Markdown to the text that is searched: of marks those of headings alone; table rows carry their header."""

import re
from collections.abc import Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_TAG = re.compile(r"<[^>]*>")
_SPACE = re.compile(r"[ \t\r\n]+")
# Bullets of Microsoft's and Hancom's symbol fonts, which other fonts do not have.
_SYMBOL = re.compile("[\uf020-\uf0ff]")


def plain_text(markdown: str) -> str:
    """Return the text, a line for each paragraph, list item and table row: `이름: 개똥이, 국어: 89`."""
    lines: list[str] = []
    header: list[str] | None = None
    row: list[str] = []
    in_table = False
    mark = ""  # number of a list item or level of a heading, before its text
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        match token.type:
            case "table_open" | "table_close":
                header, in_table = None, token.nesting > 0
            case "tr_open":
                row = []
            case "tr_close":
                if header is None:
                    header = row
                    lines.append(" ".join(filter(None, row)))
                else:
                    lines.append(_table_row(header, row))
            case "inline" if in_table:
                row.append(_one_line("".join(_inline(token.children or ()))))
            case "list_item_open" if token.info:
                mark = f"{token.info}{token.markup} "
            case "heading_open":
                mark = f"{'#' * int(token.tag[1:])} "  # the chunks below it are read under it
            case "inline":
                lines += map(_one_line, (mark + "".join(_inline(token.children or ()))).split("\n"))
                mark = ""
            case "fence" | "code_block":
                lines += token.content.splitlines()
            case "html_block":
                lines.append(_one_line(_TAG.sub(" ", token.content)))
    return _SYMBOL.sub("•", "\n".join(line for line in lines if line.strip()))


def _table_row(header: Sequence[str], row: Sequence[str]) -> str:
    """Cells with the names of their columns; those without name by themselves."""
    named = ((header[place] if place < len(header) else "", cell) for place, cell in enumerate(row))
    return ", ".join(f"{name}: {cell}" if name else cell for name, cell in named if cell)


def _inline(tokens: Sequence[Token]) -> Iterator[str]:
    for token in tokens:
        match token.type:
            case "text":
                yield token.content.replace("**", "")  # what Markdown leaves of `**법률**은`
            case "code_inline":
                yield token.content
            case "softbreak" | "hardbreak":
                yield "\n"
            case "html_inline":
                yield "\n" if token.content.lower().startswith("<br") else ""


def _one_line(text: str) -> str:
    return _SPACE.sub(" ", text).strip()
