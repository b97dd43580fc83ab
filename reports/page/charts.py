"""Charts as inline SVG."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from reports.figures.chart import Chart, Form, Point, Range, Series
from reports.page.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    element,
    mark,
    markup,
    number,
)  # fmt: skip

_COLUMNS = 26  # height of the highest
# Per form, the classes of all of a series and of its marks, and the marks' radius.
_FORMS: dict[Form, tuple[str, str, float]] = {
    "paper": ("paper", "mark", 3.5), "steps": ("curve", "mark", 4.5), "line": ("bars", "mark", 4.2),
    "run": ("each", "mark run", 4.0), "mean": ("bars", "mark mean", 6.5),
}  # fmt: skip


def chart_svg(chart: Chart, name: str) -> str:
    """A chart; what can be pointed at has its values, line by line, as ``aria-label``.

    Args:
        chart: The chart.
        name: An identifier that no other chart of the page has.
    """
    frame = Frame(chart.x, chart.y)
    inside = element("rect", x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM)
    drawn = [element("clipPath", inside, id=f"clip-{name}"), *frame.draw()]
    for column in chart.columns:
        x, right, height = frame.x(column.left), frame.x(column.right), _COLUMNS * column.share
        top = HEIGHT - BOTTOM - height
        drawn.append(element("rect", x=x, y=top, width=right - x, height=height, class_="mark samples",
                             aria_label=column.tip))  # fmt: skip
        drawn.append(element("text", column.text, x=(x + right) / 2, y=top - 4, class_="middle count"))
    for level in chart.levels:
        at = frame.y(level.y)
        drawn.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="level"))
    if chart.ideal:
        drawn.append(_ideal(frame, chart.ideal))
    places = list(chart.looks)
    for series in chart.series:
        color = f"s{places.index(series.strategy)}"
        drawn.append(_series(frame, series, chart.looks[series.strategy][1], color, f"url(#clip-{name})"))
    return markup(element("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="group",
                          aria_label=chart.title))  # fmt: skip


def _ideal(frame: Frame, points: Sequence[Point]) -> Element:
    ends = [point.y_range or (point.y, point.y) for point in points]
    low, high = (
        [(frame.x(point.x), frame.y(end)) for point, end in zip(points, side, strict=True)]
        for side in zip(*ends, strict=True)
    )
    middle = [(frame.x(point.x), frame.y(point.y)) for point in points]
    band = element("path", d=_path([*low, *reversed(high)]), class_="band")
    return element("g", band, element("path", d=_path(middle), class_="steps"), class_="ideal")


def _series(frame: Frame, series: Series, marker: str, color: str, clip: str) -> Element:
    form, points = series.form, series.points
    name, kind, usual = _FORMS[form]
    radius = usual * series.size
    drawn = element("g", class_=f"{name} {color}", data_strategy=color)
    if form in ("steps", "paper"):
        ranges = [point.y_range for point in points if point.y_range]
        if ranges:
            low, high = (_steps(frame, points, ends) for ends in zip(*ranges, strict=True))
            drawn.append(element("path", d=_path([*low, *reversed(high)]), class_="band", clip_path=clip))
        steps = _steps(frame, points, [point.y for point in points])
        drawn.append(element("path", d=_path(steps), class_="steps", clip_path=clip))
    elif form == "line" and points:
        joined = _path([(frame.x(point.x), frame.y(point.y)) for point in points])
        drawn.append(element("path", d=joined, class_="steps thin"))
    if form in ("line", "mean"):
        drawn.extend(bar for point in points for bar in _bars(frame, point))
    for point in points:
        if point.marked:
            drawn.append(_mark(frame, point, marker, radius, kind))
        elif point.tip:
            drawn.append(_mark(frame, point, "o", 3.5, f"{kind} quiet"))
    return drawn


def _mark(frame: Frame, point: Point, marker: str, radius: float, kind: str) -> Element:
    return mark(marker, frame.x(point.x), frame.y(point.y), radius, class_=kind, aria_label=point.tip)


def _bars(frame: Frame, point: Point) -> list[Element]:
    x, y = frame.x(point.x), frame.y(point.y)
    bars = []
    if point.x_range:
        left, right = (frame.x(end) for end in _within(point.x_range, frame.horizontal.low, frame.horizontal.high))
        bars.append(element("line", x1=left, x2=right, y1=y, y2=y))
    if point.y_range:
        low, high = (frame.y(end) for end in _within(point.y_range, frame.vertical.low, frame.vertical.high))
        bars.append(element("line", x1=x, x2=x, y1=high, y2=low))
    return bars


def _within(ends: Range, low: float, high: float) -> Range:
    return max(ends[0], low), min(ends[1], high)


def _steps(frame: Frame, points: Sequence[Point], heights: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a step function up to the right edge."""
    x = [*(point.x for point in points), frame.horizontal.high]
    return [
        (frame.x(at), frame.y(value))
        for (start, end), value in zip(itertools.pairwise(x), heights, strict=True)
        for at in (start, end)
    ]


def _path(points: Sequence[tuple[float, float]]) -> str:
    """Corners alone: no point on the way along a horizontal or vertical line, and one number where one changes."""
    corners: list[tuple[str, str]] = []
    for x, y in points:
        corner = number(x), number(y)
        while len(corners) > 1 and _passes(corners[-2], corners[-1], corner):
            corners.pop()
        if corner not in corners[-1:]:
            corners.append(corner)
    lines = [
        f"V{y}" if x == before[0] else f"H{x}" if y == before[1] else f"L{x} {y}"
        for before, (x, y) in itertools.pairwise(corners)
    ]
    return f"M{' '.join(corners[0])}{''.join(lines)}"


def _passes(start: tuple[str, str], middle: tuple[str, str], end: tuple[str, str]) -> bool:
    x, y = ([float(at) for at in ats] for ats in zip(start, middle, end, strict=True))
    return any(
        one[0] == one[1] == one[2] and min(two[0], two[2]) <= two[1] <= max(two[0], two[2])
        for one, two in ((x, y), (y, x))
    )
