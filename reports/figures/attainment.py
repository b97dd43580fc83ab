"""What searches attain within budgets, beside the front of the table that they searched."""

from __future__ import annotations

from reports.figures.chart import Axis, Chart, Point, Series
from reports.figures.style import looks
from reports.figures.ticks import format_bytes, linear_ticks, log_ticks, padded
from reports.names import display_name, within
from reports.numbers.attainment import Attained, attained, known_front, searched_fronts
from reports.numbers.regret import Replayed


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
    series = [_series(name, surface) for name, surface in surfaces.items()]
    front = [Point(size, auc) for size, auc in known_front(replayed) if left <= size <= right]
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


def _series(strategy: str, surface: Attained) -> Series:
    name = display_name(strategy)
    columns = (values.tolist() for values in (surface.bytes, surface.median, surface.low, surface.high))
    points = tuple(
        Point(x, y, f"{within(name, x)}\nhalf of the searches attain {y:.4f}", y_range=(low, high))
        for x, y, low, high in zip(*columns, strict=True)
    )
    return Series(strategy, "steps", points, name)
