"""What searches attain within budgets, beside the front of the table that they searched."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from reports.figures.chart import MARKS, Axis, Chart, Point, Series
from reports.figures.style import looks
from reports.figures.ticks import format_bytes, linear_ticks, log_ticks, padded
from reports.names import display_name, within
from reports.numbers.attainment import Attained, attained, known_front, searched_fronts
from reports.numbers.curves import SMALLEST_SPAN
from reports.numbers.regret import Replayed

_COVERED = 2.0
_FAR = 4  # a gap so many times as wide as all above it


def attainment_chart(replayed: Replayed) -> Chart | None:
    """The AUC that half of each strategy's searches attain with so many bytes, a quarter and three quarters around it.

    Args:
        replayed: The replay.

    Returns:
        The chart; None where fewer than two budgets were searched.
    """
    surfaces = {name: attained([*fronts.values()]) for name, fronts in searched_fronts(replayed).items()}
    if not surfaces:
        return None
    budgets = [best.budget for best in replayed.about.best if best.budget is not None]
    least = _least_shown(surfaces)
    left = min(float(surface.bytes[surface.median >= least][0]) for surface in surfaces.values()) / 1.05
    right = 1.05 * max(budgets)
    apart = math.log(right / left) / MARKS
    series = [_series(name, surface, apart) for name, surface in surfaces.items()]
    lines = [[(point.x, point.y) for point in one.points] for one in series]
    # What another will cover is drawn wider, so that both are seen.
    series = [
        replace(one, size=_COVERED if lines[place] in lines[place + 1 :] else 1.0) for place, one in enumerate(series)
    ]
    front = _steps([(size, auc) for size, auc in known_front(replayed) if left <= size <= right], right)
    heights = [y for one in series for point in one.points for y in (point.y_range or (point.y,))]
    is_cropped = min(heights) < least
    highest = max([*heights, *(point.y for point in front)])
    low, high = padded(max(least, min(heights)), highest, 0.05, SMALLEST_SPAN)
    about = replayed.about
    return Chart(
        "attainment",
        "Test AUC attained by bytes",
        f"{about.dataset}, {about.model}",
        Axis("Bytes", left, right, log_ticks(left, right, format_bytes), log=True),
        Axis("Test AUC, mean over the table's seeds", low, high, linear_ticks(low, high)),
        tuple(series),
        looks([*surfaces]),
        "With so many bytes half of the searches attain the line, a quarter and three quarters the edges of its shade; "
        f"they searched within {len(budgets)} budgets. Dashed: the best plans of the table."
        + (" What lies below the frame is cut off." if is_cropped else ""),
        ideal=tuple(front),
    )


def _least_shown(surfaces: Mapping[str, Attained]) -> float:
    """The AUC below which nothing is shown: one strategy's far worse plans would press all else into a line."""
    highest = max(float(surface.median[-1]) for surface in surfaces.values())
    lowest = sorted(float(surface.median[0]) for surface in surfaces.values())
    for own, next_one in pairwise(lowest):
        if next_one - own > _FAR * max(highest - next_one, SMALLEST_SPAN):
            return next_one - (highest - next_one) / 2
    return -math.inf


def _steps(front: Sequence[tuple[float, float]], right: float) -> list[Point]:
    """The corners of a front: its AUC stays until a larger plan is better."""
    ends = [*(size for size, _ in front[1:]), right]
    return [Point(x, auc) for (size, auc), end in zip(front, ends, strict=False) for x in (size, end)]


def _series(strategy: str, surface: Attained, apart: float) -> Series:
    """The steps of a strategy, markers no nearer to one another than ``apart``, in logarithms of bytes."""
    name, points, marked = display_name(strategy), [], -math.inf
    columns = (values.tolist() for values in (surface.bytes, surface.median, surface.low, surface.high))
    for x, y, low, high in zip(*columns, strict=True):
        is_marked = math.log(x) - marked >= apart
        marked = math.log(x) if is_marked else marked
        tip = f"{within(name, x)}\nhalf of the searches attain {y:.4f}"
        points.append(Point(x, y, tip, is_marked, y_range=(low, high)))
    return Series(strategy, "steps", tuple(points), name)
