"""Rows of tables, a line each, as the readers of foreign formats write them: `이름: 개똥이, 국어: 89`."""

import re

_NAME = r"[^\s:,][^:,\n]{0,39}: "
_ROW = re.compile(rf"{_NAME}[^\n]*?, {_NAME}")
_CELL = re.compile(rf"(?:^|(?<=, ))({_NAME})", re.MULTILINE)
_GAP = re.compile(rf"(?<=,) (?={_NAME})")
# Characters that are looked through for the beginning of the line: no cell is longer, and huge texts stay linear.
_REACH = 16_384


def last_cell(text: str, low: int, limit: int) -> int | None:
    """Return where the last cell begins between low and limit, in the row that holds the limit; None without a row."""
    row = _begin_of_row(text, limit)
    if row is None:
        return None
    places = [match.end() for match in _GAP.finditer(text, max(low, row), limit + 1) if match.start() <= limit]
    return places[-1] if places else None


def cell_name(text: str, place: int) -> str:
    """Return the name (`국어:`) of the cell that `place` is inside of; empty outside a row and where a cell begins."""
    row = _begin_of_row(text, place)
    if row is None or _CELL.match(text, place):
        return ""
    names = [match[1] for match in _CELL.finditer(text, row, place)]
    return names[-1].rstrip() if names else ""


def _begin_of_row(text: str, place: int) -> int | None:
    begin = text.rfind("\n", max(0, place - _REACH), place) + 1
    return begin if begin < place and _ROW.match(text, begin, place + _REACH) else None
