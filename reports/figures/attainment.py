"""What searches attain within budgets, beside the front of the table that they searched."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from reports.figures.chart import MARKS, Axis, Chart, Point, Series
from reports.figures.style import looks
from reports.figures.ticks import format_bytes, linear_ticks, log_ticks, padded
from reports.names import display_name, within
from reports.numbers.attainment import Attained, attained, known_front, searched_fronts
from reports.numbers.regret import Replayed

_COVERED = 2.0


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
    left = min(float(surface.bytes[0]) for surface in surfaces.values()) / 1.05
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
    low, high = padded(min(heights), max([*heights, *(point.y for point in front)]), 0.05, 1e-4)
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
        f"they searched within {len(budgets)} budgets. Dashed: the best plans of the table.",
        ideal=tuple(front),
    )


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
