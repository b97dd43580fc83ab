"""Regret by trials and by simulated seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from autodpq.records.replay import BestWithin
from reports.figures.chart import MARKS, Axis, Chart, Point, Series
from reports.figures.style import looks
from reports.figures.ticks import linear_ticks
from reports.names import display_name
from reports.numbers.regret import Curve, Replayed, Rows, by_second, by_trial, final_regret
from reports.numbers.tests import mean

By = Literal["trials", "seconds"]
_LABELS: dict[By, str] = {"trials": "Trials", "seconds": "Simulated seconds"}
_ROWS: dict[Rows, str] = {"valid": "Validation", "test": "Test"}
_LEAST = 1e-4  # of AUC, that an axis spans
_FAR = 2  # so many times above all others at least is said and not drawn


def regret_chart(replayed: Replayed, best: BestWithin, rows: Rows, by: By) -> Chart | None:
    """Mean regret of the best trial so far by validation AUC, its 95 % interval over searches shaded.

    What tries no plans is a point where it ends, by seconds alone.

    Args:
        replayed: The replay.
        best: Of the budget that is shown.
        rows: Which regret.
        by: What it is drawn against.

    Returns:
        The chart; None where no strategy has trials.
    """
    by_strategy = replayed.within(best)
    draw = by_trial if by == "trials" else by_second
    found = {name: draw(runs, rows) for name, runs in by_strategy.items()}
    curves = {name: curve for name, curve in found.items() if curve is not None}
    if not curves:
        return None
    points: dict[str, tuple[float, float]] = {}
    if by == "seconds":
        points = {
            name: (mean([run.seconds for run in runs]), mean([final_regret(run, rows) for run in runs]))
            for name, runs in by_strategy.items()
            if name not in curves
        }
    highest = {name: float(curve.high.max()) for name, curve in curves.items()}
    highest |= {name: y for name, (_, y) in points.items()}
    least = {name: float(curve.mean.min()) for name, curve in curves.items()}
    far = _far_above(least, highest)
    curves = {name: curve for name, curve in curves.items() if name not in far}
    ends = [*(float(curve.x[-1]) for curve in curves.values()), *(at for at, _ in points.values())]
    begins = [*(float(curve.x[0]) for curve in curves.values()), *(at for at, _ in points.values())]
    width = max(max(ends) - min(begins), 1e-3)
    left, right, top = (
        min(begins) - 0.03 * width,
        max(ends) + 0.03 * width,
        1.05 * max(_LEAST, *(highest[name] for name in highest if name not in far)),
    )
    series = [_series(name, curve, width, by) for name, curve in curves.items()]
    series += [
        Series(name, "mean", (Point(*at, f"{display_name(name)}\nregret {at[1]:.5f}"),), display_name(name))
        for name, at in points.items()
    ]
    note = "Of the best trial so far by validation AUC: mean over searches, its 95 % interval shaded."
    if points:
        note += " Points: plans of what tries none, and when it ends."
    note += "".join(f" {display_name(name)} {least[name]:.4f}: above the frame." for name in far)
    ticks = linear_ticks(left, right, most=8)
    if by == "trials":
        ticks = tuple(tick for tick in ticks if tick[0].is_integer())
    return Chart(
        f"regret-{rows}-{by}",
        f"{_ROWS[rows]} regret by {by}",
        replayed.title(best),
        Axis(_LABELS[by], left, right, ticks),
        Axis(f"{_ROWS[rows]} regret, AUC", -0.02 * top, top, linear_ticks(0.0, top, most=8)),
        tuple(series),
        looks([*by_strategy]),
        note,
    )


def _far_above(least: Mapping[str, float], highest: Mapping[str, float]) -> set[str]:
    """The strategies that would press all others to the ground: always above them, several times over."""
    others = {name: [end for other, end in highest.items() if other != name] for name in least}
    return {name for name, own in least.items() if others[name] and own > _FAR * max(others[name])}


def _series(strategy: str, curve: Curve, width: float, by: By) -> Series:
    name, points, marked = display_name(strategy), [], float("-inf")
    columns = (values.tolist() for values in (curve.x, curve.mean, curve.low, curve.high))
    for x, y, low, high in zip(*columns, strict=True):
        is_marked = x - marked >= width / MARKS
        marked = x if is_marked else marked
        tip = f"{name}\nregret {y:.5f} ({low:.5f} to {high:.5f})\n{x:.4g} {by}"
        points.append(Point(x, y, tip, is_marked, y_range=(low, high)))
    return Series(strategy, "steps", tuple(points), name)
