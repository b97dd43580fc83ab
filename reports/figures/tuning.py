"""The picture of a tuning: what each trial reached, and which settings mattered."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from reports.figures.style import figure_style, plot_label

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOOKS = {"complete": ("#00558F", "o", "trained to its end"), "pruned": ("#9A9A9A", "v", "ended early")}
_LOWEST = 0.1  # quantile of trials that the frame shows; far worse ones would press the others together


def tuning_figure(trials: pl.DataFrame, importance: pl.DataFrame, title: str) -> Figure:
    """Left, the best validation value of each trial and of all so far; right, the importance of the settings.

    Args:
        trials: ``number``, ``state``, ``by_epoch`` and others, as ``trials.parquet`` holds them.
        importance: ``setting`` and ``importance``, greatest first; may be empty.
        title: What was tuned.
    """
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        _draw_trials(left, trials)
        _draw_importance(right, importance)
        figure.suptitle(plot_label(title), fontsize=10, x=0.01, ha="left")
    return figure


def _draw_trials(axes: Axes, trials: pl.DataFrame) -> None:
    from matplotlib.ticker import MaxNLocator

    # Where losses are minimised, the best trial is the one with the least; columns say which it is.
    complete = trials.filter(trials["state"] == "complete")
    best_auc = complete["valid_auc"].max()
    by_auc = any(best_auc in values for values in complete["by_epoch"].to_list())
    pick = max if by_auc else min
    reached = [
        (number, state, pick(values))
        for number, state, values in trials.select("number", "state", "by_epoch").iter_rows()
        if values
    ]
    ordered = sorted((value for _, _, value in reached), reverse=not by_auc)
    worst, top = ordered[int(_LOWEST * len(ordered))], ordered[-1]
    margin = 0.15 * (top - worst) or (1e-4 if by_auc else -1e-4)
    bottom = worst - margin
    for state, (color, marker, label) in _LOOKS.items():
        points = [(number, value) for number, own, value in reached if own == state]
        if points:
            numbers, values = zip(*points, strict=True)
            # What lies further down is drawn on the frame.
            shown = [pick(value, bottom) for value in values]
            axes.scatter(numbers, shown, s=18, color=color, marker=marker, label=label, zorder=3, clip_on=False)
    done = [(number, value) for number, state, value in reached if state == "complete"]
    best = list(accumulate((value for _, value in done), pick))
    steps = [*(number for number, _ in done), len(trials)]
    axes.step(steps, [*best, best[-1]], where="post", color="#D55E00", linewidth=1.2, label="best so far")
    axes.set_ylim(bottom, top + margin)
    axes.set_xlabel("trial")
    axes.set_ylabel("validation AUC" if by_auc else "validation logloss (reversed)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=8, borderaxespad=0.2, columnspacing=1.2)


def _draw_importance(axes: Axes, importance: pl.DataFrame) -> None:
    axes.set_title("Importance of the settings")
    if importance.is_empty():
        axes.text(0.5, 0.5, "too few trials to say", ha="center", va="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = importance["setting"].to_list()[::-1]
    axes.barh(names, importance["importance"].to_list()[::-1], color="#00558F", height=0.6)
    axes.set_xlim(left=0)
    axes.grid(visible=False, axis="y")
