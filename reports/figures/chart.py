"""What a chart is before anybody draws it: plain data. Matplotlib and the page draw the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reports.figures.ticks import Ticks

Range = tuple[float, float]
Form = Literal["paper", "steps", "line", "run", "mean"]
MARKS = 12
"""Markers of a curve, at most."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        label: What is measured, with its scale or unit.
        low: Where it begins.
        high: Where it ends.
        ticks: Values and their texts.
        log: Whether it is logarithmic.
    """

    label: str
    low: float
    high: float
    ticks: Ticks
    log: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a series.

    Attributes:
        x: Where it lies.
        y: Where it lies.
        tip: What it says to who points at it, line by line; empty where it says nothing.
        marked: Whether it is drawn as its strategy's marker.
        x_range: What x may be as well; None where that is not known.
        y_range: What y may be as well; None where that is not known.
    """

    x: float
    y: float
    tip: str = ""
    marked: bool = True
    x_range: Range | None = None
    y_range: Range | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Attributes:
        strategy: Whose colour and marker they have.
        form: ``steps``, a value holding until the next point, the last one to the right edge, around it a band;
            ``paper``, the same as a thin line; ``line``, points joined, with bars; ``run``, small points; ``mean``,
            large ones with bars.
        points: The points; of steps and lines from left to right.
        label: Its name in the legend; empty where another series has it.
        size: Of its markers and steps, in units of the usual one.
    """

    strategy: str
    form: Form
    points: tuple[Point, ...]
    label: str = ""
    size: float = 1.0


@dataclass(frozen=True, slots=True)
class Column:
    """A column that stands on the lower edge.

    Attributes:
        left: Its left edge.
        right: Its right edge.
        share: Its height, as a share of the highest one's.
        text: What is written above it.
        tip: What it says to who points at it, line by line.
    """

    left: float
    right: float
    share: float
    text: str
    tip: str


@dataclass(frozen=True, slots=True)
class Level:
    """A height that is reached without what the chart shows: a line from edge to edge.

    Attributes:
        y: Where it lies.
        label: Its name in the legend.
    """

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart.

    Attributes:
        kind: A word for it, within an identifier.
        title: What is drawn.
        where: The data set and the model.
        x: The horizontal axis.
        y: The vertical axis.
        series: What is drawn, from back to front.
        looks: Colour and marker of each strategy of the study, in the order of the tables.
        note: How to read it.
        columns: Columns behind all else.
        levels: Lines behind all else.
        ideal: The line that all else is held against, from left to right, with a band around it.
    """

    kind: str
    title: str
    where: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    looks: Mapping[str, tuple[str, str]]
    note: str
    columns: tuple[Column, ...] = ()
    levels: tuple[Level, ...] = ()
    ideal: tuple[Point, ...] = ()

    @property
    def legend(self) -> tuple[Series, ...]:
        """The series that a legend names: in the order of the tables, the paper's behind."""
        places = list(self.looks)
        named = (series for series in self.series if series.label)
        return tuple(sorted(named, key=lambda series: (series.form == "paper", places.index(series.strategy))))
