"""The plan chart: what each strategy chose for each field with rare values, per seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autodpq.choices import DPQ, Choice
from autodpq.choices.base import FLOAT_BITS
from reports.figures.style import figure_style, plot_label, strategy_label
from reports.names import in_order
from reports.results import FieldResult, RunResult, StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

_TILE_WIDTH = 0.5  # inches, as all sizes here
_LINE_WIDTH = 6.0
_LEAST_WIDTH = 4.2  # the title needs it
_HEAD = 0.6
_BETWEEN_LINES = 0.8
_COLORS = "viridis_r"  # dark is large; told apart by the colour-blind, and still so when printed in grey
_TITLE = "{}, {}\nK,D chosen for the rare values of each field"


def rare_bits_per_value(result: FieldResult) -> float:
    """Bits stored per rare value: codes, and the field's centroids or shared row spread over its rare values.

    Args:
        result: A field with rare values.
    """
    return (result.bits - FLOAT_BITS * result.field.head * result.embedding_dim) / result.field.tail


def choice_label(choice: Choice) -> str:
    """A choice in a tile: ``32,8``, ``full`` or ``others``."""
    return f"{choice.K},{choice.D}" if isinstance(choice, DPQ) else str(choice)


def plan_chart(study: StudyResults, dataset: str, model: str) -> Figure | None:
    """One panel per strategy, one row per field with rare values, one column per seed; coloured by stored bits.

    Args:
        study: The study.
        dataset: A data set of the study.
        model: A model that ran on it.

    Returns:
        The figure; None where no field has rare values.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    runs = study.runs_of(dataset, model)
    names = list(dict.fromkeys(entry.field.name for run in runs for entry in run.fields if entry.field.tail))
    if not names:
        return None
    panels = {
        strategy: [run for run in runs if run.strategy == strategy] for strategy in in_order(r.strategy for r in runs)
    }
    # From one bit to a full row. A plan can store more per value than a full row where a field has few rare values.
    norm = LogNorm(1, FLOAT_BITS * max(entry.embedding_dim for run in runs for entry in run.fields), clip=True)
    left = 0.35 + 0.075 * max(map(len, names))
    places, right = _place(panels, left)
    lines = 1 + max(line for _, line in places.values())
    tiles_height = len(names) * (0.3 if len(names) <= 10 else 0.21)
    line_height = tiles_height + _BETWEEN_LINES
    size = (max(right + 1.1, _LEAST_WIDTH), lines * line_height + _HEAD)
    with figure_style(axes__grid=False):
        figure = Figure(figsize=size)
        figure.text(0.1 / size[0], 1 - 0.1 / size[1], plot_label(_TITLE.format(dataset, model)), fontsize=10, va="top")
        for strategy, (x, line) in places.items():
            bottom = size[1] - _HEAD - (line + 1) * line_height + 0.45
            box = (x, bottom, _TILE_WIDTH * len(panels[strategy]), tiles_height)
            axes = figure.add_axes(_relative(box, size))
            _draw_panel(axes, panels[strategy], names, norm, with_names=x == left)
            axes.set_title(strategy_label(strategy))
        bottom = size[1] - _HEAD - line_height + 0.45
        scale = figure.add_axes(_relative((right + 0.05, bottom, 0.13, tiles_height), size))
        _draw_scale(figure, scale, norm)
    return figure


def _relative(box: tuple[float, float, float, float], size: tuple[float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x / size[0], y / size[1], width / size[0], height / size[1]


def _place(panels: Mapping[str, Sequence[RunResult]], left: float) -> tuple[dict[str, tuple[float, int]], float]:
    """Panels from left to right, a new line where one is full.

    Returns:
        Each panel's left edge in inches and its line; the right edge of the widest line.
    """
    places: dict[str, tuple[float, int]] = {}
    x, line, right = left, 0, left
    for strategy, runs in panels.items():
        # A title may be wider than the tiles of a single seed.
        width = max(_TILE_WIDTH * len(runs), 0.085 * len(strategy_label(strategy))) + 0.25
        if x > left and x + width > left + _LINE_WIDTH:
            x, line = left, line + 1
        places[strategy] = (x, line)
        x += width
        right = max(right, x)
    return places, right


def _draw_panel(
    axes: Axes, runs: Sequence[RunResult], names: Sequence[str], norm: Normalize, *, with_names: bool
) -> None:
    import seaborn as sns

    chosen = [{entry.field.name: entry for entry in run.fields if entry.field.tail} for run in runs]
    bits = [[rare_bits_per_value(by[name]) if name in by else math.nan for by in chosen] for name in names]
    labels = [[choice_label(by[name].choice) if name in by else "" for by in chosen] for name in names]
    sns.heatmap(
        bits,
        ax=axes,
        annot=labels,
        fmt="",
        norm=norm,
        cmap=_COLORS,
        cbar=False,
        linewidths=1.5,
        linecolor="white",
        annot_kws={"fontsize": 8},
        xticklabels=[str(run.seed) for run in runs],
        yticklabels=[plot_label(name) for name in names] if with_names else False,
    )
    axes.tick_params(length=0, rotation=0)
    axes.set_xlabel("seed")


def _draw_scale(figure: Figure, axes: Axes, norm: Normalize) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    bar = figure.colorbar(ScalarMappable(norm, _COLORS), cax=axes, extend="both")
    bar.ax.yaxis.set_major_locator(LogLocator(base=8))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    bar.outline.set_visible(False)
    bar.set_label("bits stored per rare value")
