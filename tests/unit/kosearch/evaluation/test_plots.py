"""Pictures of the figures."""

import sys
from pathlib import Path

import numpy as np
import pytest

from kosearch.errors import InvalidRequestError
from kosearch.evaluation import plots
from kosearch.evaluation.bootstrap import Interval
from kosearch.evaluation.plots import Bar, check_plot, draw_bars

BARS = [
    Bar("all queries", 100, "dense", Interval(0.7, 0.65, 0.75, 100)),
    Bar("question", 99, "dense", Interval(0.71, 0.66, 0.76, 99)),
    Bar("keywords", 1, "dense", Interval(0.2, np.nan, np.nan, 1)),
    Bar("all queries", 100, "hybrid", Interval(0.8, 0.75, 0.85, 100)),
]
PNG = b"\x89PNG"


@pytest.mark.parametrize(("name", "beginning"), [("bars.svg", b"<?xml"), ("bars.png", PNG)])
def test_bars_are_drawn_in_both_formats(tmp_path: Path, name: str, beginning: bytes) -> None:
    """A bar without interval, and a row that one series lacks, are no obstacle."""
    draw_bars(BARS, "laws", "nDCG@10 x 100", tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(beginning)


def test_without_a_korean_font_nothing_korean_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib would warn of every glyph that it lacks, and draw a box; a warning fails this test."""
    monkeypatch.setattr(plots, "korean_font", lambda: None)
    draw_bars(BARS, "판례", "share of nDCG@10 kept, %", tmp_path / "bars.png")
    assert (tmp_path / "bars.png").stat().st_size > 1_000


def test_every_label_has_a_korean_one() -> None:
    from kosearch.evaluation.damage import DAMAGES
    from kosearch.evaluation.query_classes import CLASSES

    labels = {name for names in CLASSES.values() for name in names} | DAMAGES.keys() | {"all queries"}
    assert labels <= plots._KOREAN.keys()


@pytest.mark.parametrize(
    ("name", "message"), [("bars.pdf", r"\.svg or \.png"), ("absent/bars.svg", "folder is missing")]
)
def test_what_cannot_be_drawn_is_told_before_anything_is_measured(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        check_plot(tmp_path / name)


def test_without_matplotlib_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'kosearch\[plots\]'"):
        check_plot(tmp_path / "bars.svg")
