"""The figures as pictures. Needs matplotlib: `pip install 'kosearch[plots]'`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kosearch.errors import InvalidRequestError
from kosearch.evaluation.bootstrap import Interval
from kosearch.evaluation.retrieval import RetrievalReport
from kosearch.evaluation.robustness import RobustnessReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png")
# Source: Okabe & Ito's palette, which people with any kind of colour vision can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# Those that come with systems and their Korean packages, by the names that matplotlib knows them by.
_KOREAN_FONTS = (
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "NanumBarunGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "UnDotum",
)
_WIDTH_INCHES, _ROW_INCHES, _DPI = 8.0, 0.24, 130
# English label -> Korean; without a Korean font the English ones stand.
_KOREAN: Mapping[str, str] = {
    "all queries": "모든 질의",
    "1-2 words": "1-2어절",
    "3-5 words": "3-5어절",
    "6-9 words": "6-9어절",
    "10 and more words": "10어절 이상",
    "with digits": "숫자 있음",
    "without digits": "숫자 없음",
    "with Latin letters": "로마자 있음",
    "without Latin letters": "로마자 없음",
    "question": "물음",
    "keywords": "낱말",
    "1 relevant document": "맞는 문서 1건",
    "2-4 relevant documents": "맞는 문서 2-4건",
    "5 and more relevant documents": "맞는 문서 5건 이상",
    "no_spaces": "띄어쓰기 없음",
    "typo": "오타",
    "nfd": "NFD",
    "keyboard_slip": "영문 자판",
    "particles_removed": "조사 뺌",
    "particles_changed": "조사 바꿈",
    "word_left_out": "어절 하나 뺌",
    "share of nDCG@10 kept, %": "남은 nDCG@10, %",
    "nDCG@10 x 100": "nDCG@10 x 100",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its interval: the row it stands in, and the series it belongs to."""

    row: str
    n: int
    series: str
    value: Interval


def check_plot(path: Path) -> None:
    """Raise InvalidRequestError where a plot cannot be made, before anything is measured."""
    if path.suffix not in SUFFIXES:
        raise InvalidRequestError(f"{path}: a plot is .svg or .png")
    if not path.absolute().parent.is_dir():
        raise InvalidRequestError(f"{path.parent}: folder is missing")
    try:
        import matplotlib  # noqa: F401, PLC0415 - optional
    except ModuleNotFoundError as error:
        raise InvalidRequestError("plots need matplotlib: pip install 'kosearch[plots]'") from error


def retrieval_bars(report: RetrievalReport) -> list[Bar]:
    """Return nDCG@10 of all queries and of each class, by mode."""
    whole = [Bar("all queries", report.queries, mode.mode, mode.figures["ndcg_at_10"]) for mode in report.modes]
    return whole + [
        Bar(each.name, each.n, mode.mode, each.figures["ndcg_at_10"]) for mode in report.modes for each in mode.classes
    ]


def robustness_bars(report: RobustnessReport) -> list[Bar]:
    """Return the share of nDCG@10 kept of each kind of damage, by mode."""
    return [Bar(each.kind, each.n, mode.mode, each.kept) for mode in report.modes for each in mode.damages]


def draw_bars(bars: Sequence[Bar], title: str, axis: str, path: Path) -> None:
    """Draw horizontal bars with their intervals, times 100, into an SVG or PNG file."""
    from matplotlib import rc_context  # noqa: PLC0415 - optional, and slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415

    font = korean_font()
    rows, series = list(dict.fromkeys(bar.row for bar in bars)), list(dict.fromkeys(bar.series for bar in bars))
    counts = {bar.row: bar.n for bar in bars}
    # A title may hold a Korean name of a collection, which only a Korean font can show.
    shown_title = title if font or title.isascii() else title.encode("ascii", "replace").decode()
    with rc_context({"font.family": [font] if font else ["DejaVu Sans"], "svg.fonttype": "path"}):
        height = 1.2 + _ROW_INCHES * len(rows) * (len(series) + 1)
        figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
        axes = figure.subplots()
        for place, name in enumerate(series):
            _draw_series(axes, [bar for bar in bars if bar.series == name], rows, place, len(series))
        labels = [f"{_label(row, font)} (n = {counts[row]:,})" for row in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.set_xlabel(_label(axis, font))
        axes.set_title(shown_title, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        if len(series) > 1:
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(1, 0))
        figure.savefig(path, dpi=_DPI, facecolor="white")


def korean_font() -> str | None:
    """Return the name of a Korean font that matplotlib has found, None where there is none."""
    from matplotlib import font_manager  # noqa: PLC0415 - optional, and slow to load

    present = {font.name for font in font_manager.fontManager.ttflist}
    return next((name for name in _KOREAN_FONTS if name in present), None)


def _draw_series(axes: "Axes", bars: Sequence[Bar], rows: Sequence[str], place: int, count: int) -> None:
    thickness = 0.8 / count
    shown = [bar for bar in bars if not math.isnan(bar.value.mean)]
    heights = [rows.index(bar.row) + (place - (count - 1) / 2) * thickness for bar in shown]
    means = [100 * bar.value.mean for bar in shown]
    colour = _COLOURS[place % len(_COLOURS)]
    axes.barh(heights, means, height=thickness, color=colour, label=shown[0].series if shown else None)
    for height, bar in zip(heights, shown, strict=True):
        if not math.isnan(bar.value.low):
            axes.plot([100 * bar.value.low, 100 * bar.value.high], [height, height], color="black", linewidth=1)


def _label(english: str, font: str | None) -> str:
    return _KOREAN.get(english, english) if font else english
