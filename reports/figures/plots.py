"""Charts and plans drawn by matplotlib."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reports.figures.chart import Axis, Chart, Point, Range, Series
from reports.figures.plans import Panel, Plans
from reports.figures.style import figure_style, plot_label
from reports.names import display_name

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

_NOTE_LETTERS = 95  # as many as a line of the figure's width holds

# Of the plan chart, in inches.
_TILE_WIDTH = 0.5
_LINE_WIDTH = 6.0
_LEAST_WIDTH = 4.2  # the title needs it
_HEAD = 0.6
_BETWEEN_LINES = 0.8

_TILE_LETTERS = 20
_LEVEL_COLOR = "#555555"
_COLORS = "viridis_r"  # dark is large; told apart by the colour-blind, and still so when printed in grey
_TITLE = "{}\nChosen for each field's rare values, or for each band; K,D: dpq(K,D)"


def draw_chart(chart: Chart) -> Figure:
    """A chart of points and steps, its legend and its note below."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.add_subplot()
        _draw_axis(axes, "x", chart.x)
        _draw_axis(axes, "y", chart.y)
        axes.set_title(plot_label(chart.where))
        _draw_ideal(axes, chart.ideal)
        drawn = {
            series: _draw_series(axes, series, *chart.looks[series.strategy], height)
            for height, series in enumerate(chart.series, start=2)
        }
        lines = [
            axes.axhline(level.y, color=_LEVEL_COLOR, linewidth=1, linestyle=(0, (5, 3)), zorder=1.5)
            for level in chart.levels
        ]
        handles = [*(drawn[series] for series in chart.legend), *lines]
        names = [*(series.label for series in chart.legend), *(level.label for level in chart.levels)]
        labels = [plot_label(name) for name in names]
        column_width = 0.7 + 0.075 * max(map(len, labels), default=0)  # inches
        columns = int(figure.get_figwidth() / column_width)
        note = textwrap.fill(chart.note, _NOTE_LETTERS)
        columns = max(1, min(columns, len(labels)))
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns, title=note)
        legend.get_title().set_multialignment("center")
    return figure


def _draw_axis(axes: Axes, name: str, axis: Axis) -> None:
    from matplotlib.ticker import NullLocator

    own = axes.xaxis if name == "x" else axes.yaxis
    axes.set(**{f"{name}scale": "log" if axis.log else "linear", f"{name}lim": (axis.low, axis.high)})
    own.set_ticks([value for value, _ in axis.ticks], [re.sub("^-", "\N{MINUS SIGN}", text) for _, text in axis.ticks])
    own.set_minor_locator(NullLocator())
    own.set_label_text(axis.label)


def _draw_ideal(axes: Axes, points: Sequence[Point]) -> None:
    if points:
        x, y = [point.x for point in points], [point.y for point in points]
        low, high = zip(*(point.y_range or (point.y, point.y) for point in points), strict=True)
        axes.fill_between(x, low, high, color="#7F7F7F", alpha=0.15, linewidth=0)
        axes.plot(x, y, color="#7F7F7F", linewidth=1, linestyle=(0, (4, 3)))


def _draw_series(axes: Axes, series: Series, color: str, marker: str, height: int) -> Artist:
    """Draws it above all that is lower; returns what stands for it in the legend."""
    label = plot_label(series.label) if series.label else None
    points = series.points
    x, y = [point.x for point in points], [point.y for point in points]
    if series.form in ("steps", "paper"):
        x, y = [*x, axes.get_xlim()[1]], [*y, y[-1]]
    if series.form == "paper":
        (line,) = axes.step(x, y, where="post", color=color, linewidth=0.9, alpha=0.8, zorder=height, label=label)
        return line
    if series.form == "steps":
        around = [point.y_range or (point.y, point.y) for point in points]
        low, high = zip(*around, around[-1], strict=True)
        marks = [place for place, point in enumerate(points) if point.marked]
        axes.fill_between(x, low, high, step="post", color=color, alpha=0.13, linewidth=0, zorder=height - 0.5)
        (line,) = axes.step(x, y, where="post", color=color, linewidth=2 * series.size, zorder=height, label=label,
                            marker=marker, markevery=marks, markersize=5 * series.size)  # fmt: skip
        return line
    if series.form == "run":
        (line,) = axes.plot(x, y, linestyle="", marker=marker, color=color, alpha=0.25, markersize=5, zorder=height)
        return line
    if series.form == "line":
        halves = [_half(point.y_range) or 0.0 for point in points]
        container = axes.errorbar(x, y, halves, color=color, linewidth=1.3, marker=marker, markersize=4.5, label=label,
                                  zorder=height)  # fmt: skip
        return container.lines[0]
    (point,) = points
    bars = axes.errorbar(
        x,
        y,
        yerr=_half(point.y_range),
        xerr=_half(point.x_range),
        linestyle="",
        marker=marker,
        color=color,
        capsize=2.5,
        capthick=1,
        markersize=9 * series.size,
        markeredgecolor="white",
        markeredgewidth=0.8,
        label=label,
        zorder=height,
    )
    # In the legend, bars around the marker would be smaller than itself.
    return bars.lines[0]


def _half(around: Range | None) -> float | None:
    return None if around is None else (around[1] - around[0]) / 2


def draw_plans(plans: Plans) -> Figure:
    """One panel per strategy, one row per field, one column per seed; coloured by stored bits."""
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    norm = LogNorm(1, plans.most, clip=True)
    names = [field.name for field in plans.fields]
    labels = {tile.label for panel in plans.panels for tiles in panel.tiles.values() for tile in tiles if tile}
    tile_width = max(_TILE_WIDTH, 0.12 + 0.07 * max(len(_tile_text(label)) for label in labels))
    left = 0.35 + 0.075 * max(map(len, names))
    places, right = _place(plans.panels, left, tile_width)
    lines = 1 + max(line for _, line in places)
    tiles_height = len(names) * (0.3 if len(names) <= 10 else 0.21)
    line_height = tiles_height + _BETWEEN_LINES
    size = (max(right + 1.1, _LEAST_WIDTH), lines * line_height + _HEAD)
    title = _TITLE.format(plans.where)
    with figure_style(axes__grid=False):
        figure = Figure(figsize=size)
        figure.text(0.1 / size[0], 1 - 0.1 / size[1], plot_label(title), fontsize=10, va="top")
        for panel, (x, line) in zip(plans.panels, places, strict=True):
            bottom = size[1] - _HEAD - (line + 1) * line_height + 0.45
            width = tile_width * len(panel.seeds)
            axes = figure.add_axes(_relative((x, bottom, width, tiles_height), size))
            _draw_panel(axes, panel, names, norm, with_names=x == left)
            strategy = display_name(panel.strategy)
            # What is wider than the tiles has its room to the right.
            axes.set_title(plot_label(strategy), loc="center" if _title_width(strategy) <= width + 0.25 else "left")
        bottom = size[1] - _HEAD - line_height + 0.45
        scale = figure.add_axes(_relative((right + 0.05, bottom, 0.13, tiles_height), size))
        _draw_scale(figure, scale, norm)
    return figure


def _tile_text(label: str) -> str:
    return label if len(label) <= _TILE_LETTERS else f"{label[: _TILE_LETTERS - 1]}…"


def _title_width(title: str) -> float:
    return 0.085 * len(title)


def _relative(box: tuple[float, float, float, float], size: tuple[float, float]) -> tuple[float, float, float, float]:
    x, y, width, height = box
    return x / size[0], y / size[1], width / size[0], height / size[1]


def _place(panels: Sequence[Panel], left: float, tile_width: float) -> tuple[list[tuple[float, int]], float]:
    """Panels from left to right, a new line where one is full.

    Returns:
        Each panel's left edge in inches and its line; the right edge of the widest line.
    """
    places: list[tuple[float, int]] = []
    x, line, right = left, 0, left
    for panel in panels:
        # A title may be wider than the tiles of a single seed.
        width = max(tile_width * len(panel.seeds), _title_width(display_name(panel.strategy))) + 0.25
        if x > left and x + width > left + _LINE_WIDTH:
            x, line = left, line + 1
        places.append((x, line))
        x += width
        right = max(right, x)
    return places, right


def _draw_panel(axes: Axes, panel: Panel, names: Sequence[str], norm: Normalize, *, with_names: bool) -> None:
    import seaborn as sns

    tiles = [panel.tiles[name] for name in names]
    sns.heatmap(
        [[tile.bits if tile else math.nan for tile in row] for row in tiles],
        ax=axes,
        annot=[[plot_label(_tile_text(tile.label)) if tile else "" for tile in row] for row in tiles],
        fmt="",
        norm=norm,
        cmap=_COLORS,
        cbar=False,
        linewidths=1.5,
        linecolor="white",
        annot_kws={"fontsize": 8},
        xticklabels=[str(seed) for seed in panel.seeds],
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
    bar.set_label("bits stored per value")
