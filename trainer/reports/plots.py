"""The pictures of a training report, each a PNG. Labels are English, so that no Korean font is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from trainer.reports.training_log import StageLog

_WIDTH_INCHES, _HEIGHT_INCHES, _DPI = 8.0, 4.2, 130
# Source: Okabe & Ito's palette, which people with any kind of colour vision can tell apart.
_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#6B7280"
_MOVING_SHARE = 0.04


def draw_learning_curve(logs: Sequence[StageLog], path: Path) -> None:
    """Training loss of each stage above, cosine Spearman on KorSTS dev below, over the steps of the whole run."""
    figure = _figure(height=1.35 * _HEIGHT_INCHES)
    loss_axes, score_axes = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    start = 0
    for number, log in enumerate(logs):
        last = max([*log.loss.steps, *log.dev_score.steps])
        _shade_stage(loss_axes, score_axes, log.stage, start, start + last, is_odd=number % 2 == 1)
        steps = start + np.array(log.loss.steps)
        loss_axes.plot(steps, log.loss.values, color=_BLUE, alpha=0.3, linewidth=1)
        loss_axes.plot(steps, _smoothed(log.loss.values), color=_BLUE, linewidth=1.8)
        scores = 100 * np.array(log.dev_score.values)
        score_axes.plot(start + np.array(log.dev_score.steps), scores, color=_ORANGE, marker="o", markersize=3.5)
        start += last
    loss_axes.set_ylabel("training loss")
    score_axes.set_ylabel("KorSTS dev\ncosine Spearman x 100")
    score_axes.set_xlabel("optimiser step (losses of different stages are not comparable)")
    score_axes.set_xlim(0, start)
    _annotate_best(score_axes, logs)
    _save(figure, path)


def draw_scores_against_labels(
    gold: NDArray[np.float64], cosines: NDArray[np.float64], spearman: float, pearson: float, path: Path
) -> None:
    """Every pair's cosine against its label, both of shape (pairs,), as a density of hexagons with a running median."""
    figure = _figure()
    axes = figure.subplots()
    cells = axes.hexbin(gold, cosines, gridsize=(40, 22), mincnt=1, cmap="Blues", linewidths=0.2)
    densest = max(2.0, float(np.asarray(cells.get_array()).max()))
    cells.set_norm(LogNorm(vmin=0.3, vmax=densest))  # a single pair is to be seen as well
    bar = figure.colorbar(cells, ax=axes, label="pairs", format="%d")
    bar.ax.set_ylim(1, densest)
    bar.set_ticks([count for count in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count <= densest])
    bar.minorticks_off()
    centres, medians = running_median(gold, cosines)
    axes.plot(centres, medians, color=_ORANGE, marker="o", linewidth=2, label="median cosine")
    axes.set_xlabel("label (0 unrelated, 5 the same)")
    axes.set_ylabel("cosine")
    axes.set_title(f"Spearman {100 * spearman:.2f}, Pearson {100 * pearson:.2f}, {len(gold):,} pairs", loc="left")
    axes.legend(loc="lower right", frameon=False)
    _save(figure, path)


def draw_cosines_by_label(gold: NDArray[np.float64], cosines: NDArray[np.float64], path: Path) -> None:
    """How cosines spread within each step of the label: (pairs,) both."""
    figure = _figure()
    axes = figure.subplots()
    bins = [(label, found) for label, found in cosines_by_label(gold, cosines) if len(found) >= 2]
    violins = axes.violinplot(
        [found for _, found in bins], positions=[label for label, _ in bins], widths=0.85, showextrema=False
    )
    for body in violins["bodies"]:  # type: ignore[attr-defined]  # a list, which the stubs call a Collection
        body.set(facecolor=_BLUE, alpha=0.35)
    for label, found in bins:
        low, middle, high = np.percentile(found, (25, 50, 75))
        axes.vlines(label, low, high, color=_BLUE, linewidth=5)
        axes.plot(label, middle, marker="o", color="white", markersize=4)
    axes.set_xticks([label for label, _ in bins], [f"{label}\nn = {len(found):,}" for label, found in bins])
    axes.set_xlabel("label, rounded (bar: middle half of the pairs, dot: median)")
    axes.set_ylabel("cosine")
    _save(figure, path)


def draw_genres(names: Sequence[str], scores: Sequence[float], counts: Sequence[int], whole: float, path: Path) -> None:
    """Spearman of each part of the test set, in [-1, 1], beside that of the whole."""
    figure = _figure(height=1.3 + 0.42 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    bars = axes.barh(places, 100 * np.array(scores), color=_BLUE, height=0.66)
    axes.bar_label(bars, [f"{100 * score:.1f}" for score in scores], label_type="center", color="white")
    axes.set_yticks(places, [f"{name} (n = {count})" for name, count in zip(names, counts, strict=True)])
    axes.axvline(100 * whole, color=_ORANGE, linewidth=2, label=f"whole set: {100 * whole:.2f}")
    axes.set_xlim(min(0.0, *(100 * score for score in scores)), 105)
    axes.set_xlabel("cosine Spearman x 100")
    figure.legend(loc="outside upper right", frameon=False)
    _save(figure, path)


def draw_recall(recall: NDArray[np.float64], path: Path) -> None:
    """Share of queries whose document is among the first k, `recall` (ranks,) from k = 1."""
    figure = _figure()
    axes = figure.subplots()
    ranks = np.arange(1, len(recall) + 1)
    axes.plot(ranks, 100 * recall, color=_GREEN, linewidth=2)
    axes.set_xscale("log")
    marked = [rank for rank in (1, 3, 10, 30, 100) if rank <= len(recall)]
    for rank in marked:
        axes.plot(rank, 100 * recall[rank - 1], marker="o", color=_GREEN)
        axes.annotate(
            f"{100 * recall[rank - 1]:.1f}",
            (rank, 100 * recall[rank - 1]),
            (0, -15),
            textcoords="offset points",
            ha="center",
        )
    axes.set_xticks(marked, [str(rank) for rank in marked])
    axes.minorticks_off()
    axes.set_xlim(0.85, len(recall) * 1.25)
    axes.set_ylim(max(0.0, 100 * float(recall[0]) - 15), 103)
    axes.set_xlabel("paragraphs looked at (k)")
    axes.set_ylabel("questions answered, %  (recall@k)")
    _save(figure, path)


def running_median(
    gold: NDArray[np.float64], cosines: NDArray[np.float64], bin_count: int = 10
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres of equal bins of the labels 0-5 and the median cosine in each that has pairs."""
    edges = np.linspace(0.0, 5.0, bin_count + 1)
    places = np.clip(np.digitize(gold, edges) - 1, 0, bin_count - 1)  # (pairs,)
    filled = np.unique(places)
    centres = (edges[:-1] + edges[1:]) / 2
    return centres[filled], np.array([np.median(cosines[places == place]) for place in filled])


def cosines_by_label(gold: NDArray[np.float64], cosines: NDArray[np.float64]) -> list[tuple[int, NDArray[np.float64]]]:
    """The cosines of the pairs whose label rounds to 0, 1, ... 5; halves go up."""
    rounded = np.floor(gold + 0.5).astype(int)
    return [(label, cosines[rounded == label]) for label in range(6)]


def _figure(height: float = _HEIGHT_INCHES) -> Figure:
    return Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")


def _save(figure: Figure, path: Path) -> None:
    for axes in (axes for axes in figure.axes if axes.get_label() != "<colorbar>"):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, color="#E5E7EB", linewidth=0.7)
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=_DPI, facecolor="white")


def _shade_stage(above: Axes, below: Axes, stage: str, start: int, end: int, *, is_odd: bool) -> None:
    for axes in (above, below):
        axes.axvspan(start, end, color="#F3F4F6" if is_odd else "white", zorder=0, linewidth=0)
    above.annotate(
        stage, ((start + end) / 2, 1.0), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
        ha="center", color=_GREY,
    )  # fmt: skip


def _annotate_best(axes: Axes, logs: Sequence[StageLog]) -> None:
    start, points = 0, []
    for log in logs:
        points += [(start + step, value) for step, value in zip(log.dev_score.steps, log.dev_score.values, strict=True)]
        start += max([*log.loss.steps, *log.dev_score.steps])
    if not points:
        axes.annotate("not evaluated", (0.5, 0.5), xycoords="axes fraction", ha="center", color=_GREY)
        axes.set_yticks([])
    else:
        step, value = max(points, key=lambda point: point[1])
        axes.axhline(100 * value, color=_ORANGE, linewidth=0.8, linestyle=":")
        axes.set_title(f"best {100 * value:.2f} at step {step:,}", loc="right", fontsize="small", color=_ORANGE)


def _smoothed(values: Sequence[float]) -> NDArray[np.float64]:
    """A centred moving mean over a small share of the values, five if they are few; at the ends over fewer."""
    reach = min(max(2, int(_MOVING_SHARE * len(values))), len(values) // 4)
    return np.array([np.mean(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])
