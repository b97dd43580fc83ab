"""Figure 3 (test AUC by time) and the figure of test AUC by bytes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from reports import paper
from reports.figures.style import add_legend, figure_style, looks, plot_label, strategy_label
from reports.names import AUTODPQ, display_name, in_order
from reports.numbers.curves import SMALLEST_SPAN, MeanCurve, auc_range, strategy_curves
from reports.numbers.summary import AUC, BYTES, summarize
from reports.numbers.tests import deviation, mean
from reports.results import StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def figure3(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """Test AUC of the incumbent by time in units of FE's training time, mean over seeds, least to greatest shaded.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no run has a curve.
    """
    from matplotlib.figure import Figure

    runs = study.runs_of(dataset, model)
    curves = strategy_curves(runs)
    if not curves:
        return None
    printed = paper.figure3_curves(dataset, model)
    with figure_style():
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _limit_figure3(axes, curves, printed)
        _draw_curves(axes, curves, study)
        _draw_paper(axes, printed, curves, study)
        axes.set_xlabel("ln(time / training time of FE)")
        axes.set_ylabel("Test AUC of the incumbent")
        axes.set_title(plot_label(f"{dataset}, {model}"))
        seeds = len({run.seed for run in runs})
        band = f"mean of {seeds} seeds, least to greatest shaded" if seeds > 1 else "one seed"
        add_legend(figure, f"Thick: this study ({band}); thin: paper" if printed else band.capitalize())
    return figure


def _draw_curves(axes: Axes, curves: dict[str, MeanCurve], study: StudyResults) -> None:
    look = looks(in_order(study.records["strategy"]))
    right = axes.get_xlim()[1]
    for strategy, curve in curves.items():
        color, marker = look[strategy]
        x, mean_y, low, high = (
            np.append(values, end)
            for values, end in zip(
                (curve.x, curve.mean, curve.low, curve.high),
                (right, curve.mean[-1], curve.low[-1], curve.high[-1]),
                strict=True,
            )
        )
        above = 3 if strategy == AUTODPQ else 2
        axes.fill_between(x, low, high, step="post", color=color, alpha=0.13, linewidth=0, zorder=above - 1)
        axes.step(x, mean_y, where="post", color=color, linewidth=2, zorder=above, label=strategy_label(strategy),
                  marker=marker, markevery=_spread_marks(x, axes), markersize=5)  # fmt: skip


def _spread_marks(x: np.ndarray, axes: Axes) -> list[int]:
    """Indices of points that are far enough apart for a marker each; always the first."""
    left, right = axes.get_xlim()
    marks: list[int] = []
    for index, value in enumerate(x[:-1]):
        if not marks or value - x[marks[-1]] > (right - left) / 12:
            marks.append(index)
    return marks


def _draw_paper(
    axes: Axes, printed: dict[str, list[tuple[float, float]]], curves: dict[str, MeanCurve], study: StudyResults
) -> None:
    everything = in_order([*study.records["strategy"], *(name.lower() for name in printed)])
    colors = {display_name(strategy): color for strategy, (color, _) in looks(everything).items()}
    measured = {display_name(strategy) for strategy in curves}
    right = axes.get_xlim()[1]
    for name, points in printed.items():
        x, y = zip(*points, (right, points[-1][1]), strict=True)
        # A thin line has its thick one's colour; only without a thick one does it need a name of its own.
        label = None if name in measured else f"{name}, paper"
        axes.step(x, y, where="post", color=colors[name], linewidth=0.9, alpha=0.8, zorder=1, label=label)


def _limit_figure3(axes: Axes, curves: dict[str, MeanCurve], printed: dict[str, list[tuple[float, float]]]) -> None:
    """Shows where the strategies end and how they get there; a first epoch's AUC would squeeze all that to a line."""
    bottom, top = auc_range(curves.values(), printed)
    starts = [curve.x[curve.mean >= bottom][0] for curve in curves.values()]
    stops = [curve.x[-1] for curve in curves.values()]
    starts += [points[0][0] for points in printed.values()]
    stops += [points[-1][0] for points in printed.values()]
    width = max(max(stops) - min(starts), 0.5)
    axes.set_xlim(min(starts) - 0.04 * width, max(stops) + 0.08 * width)
    axes.set_ylim(bottom, top)


def auc_bytes_figure(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """Test AUC by bytes: the mean with standard deviations per strategy, each seed as a faint point.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no run has both numbers.
    """
    from matplotlib.figure import Figure

    records = study.records[(study.records["dataset"] == dataset) & (study.records["model"] == model)]
    records = records[records["bytes"] > 0].dropna(subset=["test_auc"])
    strategies = in_order(records["strategy"])
    if not strategies:
        return None
    look = looks(in_order(study.records["strategy"]))
    auc, size = (summarize(records, strategies, metric).samples for metric in (AUC, BYTES))
    with figure_style():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        for strategy in strategies:
            color, marker = look[strategy]
            x, y = list(size[strategy].values()), list(auc[strategy].values())
            if len(x) > 1:
                axes.plot(x, y, linestyle="", marker=marker, color=color, alpha=0.25, markersize=5, zorder=2)
            several = len(x) > 1
            axes.errorbar(
                mean(x),
                mean(y),
                yerr=deviation(y) if several else None,
                xerr=deviation(x) if several else None,
                linestyle="",
                marker=marker,
                color=color,
                capsize=2.5,
                capthick=1,
                markersize=9,
                markeredgecolor="white",
                markeredgewidth=0.8,
                label=strategy_label(strategy),
                zorder=3,
            )
        _scale_bytes(axes, records["bytes"].tolist())
        _pad_auc(axes)
        axes.set_xlabel("Bytes of the packed model (log scale)")
        axes.set_ylabel("Test AUC")
        axes.set_title(plot_label(f"{dataset}, {model}"))
        seeds = records["seed"].nunique()
        spread = f"Large: mean of {seeds} seeds ± standard deviation; faint: each seed"
        add_legend(figure, spread if seeds > 1 else "One seed")
    return figure


def _pad_auc(axes: Axes) -> None:
    low, high = axes.dataLim.intervaly
    padding = max(0.1 * (high - low), (SMALLEST_SPAN - (high - low)) / 2)
    axes.set_ylim(low - padding, high + padding)


def format_bytes(value: float) -> str:
    """Bytes with a decimal unit, such as ``700 kB``."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.4g} {unit}"
    return f"{value:.0f} B"


def _scale_bytes(axes: Axes, sizes: list[float]) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(sizes), max(sizes)
    padding = max((high / low) ** 0.08, 1.02)
    low, high = low / padding, high * padding
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    # Within a decade the usual logarithmic ticks would be one or none.
    if math.log10(high / low) < 1:
        ticks = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_bytes(value)))
