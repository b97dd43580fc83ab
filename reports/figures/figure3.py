"""Figure 3: test AUC by time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports import paper
from reports.figures.chart import MARKS, Axis, Chart, Point, Series
from reports.figures.levels import floor_levels
from reports.figures.style import study_looks
from reports.figures.ticks import linear_ticks
from reports.names import AUTODPQ, display_name, in_order
from reports.numbers.curves import MeanCurve, auc_range, strategy_curves
from reports.results import StudyResults

_VALUES = 90  # points of a curve that say what they are, at most; of those that are nearer, the last

Printed = Mapping[str, Sequence[tuple[float, float]]]


def figure3_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Test AUC of the incumbent by time in units of FE's training time; None where no run has a curve.

    Of several seeds it is the mean, and from least to greatest a band around it. The paper's curves lie behind; where
    there are none, the additive model's line.
    """
    runs = study.runs_of(dataset, model)
    curves = strategy_curves(runs)
    if not curves:
        return None
    printed = {name.lower(): points for name, points in paper.figure3_curves(dataset, model).items()}
    seeds = {strategy: len({run.seed for run in runs if run.strategy == strategy}) for strategy in curves}
    low, high = auc_range(curves.values(), printed)
    levels, below = ((), "") if printed else floor_levels(runs, low)
    high = max([high, *(level.y + 0.05 * (high - low) for level in levels)])
    x, y = _axes(curves, printed, low, high)
    series = [_paper_series(name, printed[name], measured=name in curves) for name in in_order(printed)]
    # What is studied lies above the rest.
    for strategy in sorted(curves, key=lambda strategy: strategy == AUTODPQ):
        series.append(_measured_series(strategy, curves[strategy], seeds[strategy], x, y))
    is_cropped = any(curve.low[0] < y.low for curve in curves.values())
    return Chart(
        "figure3",
        "Test AUC by time (Figure 3)",
        f"{dataset}, {model}",
        x,
        y,
        tuple(series),
        study_looks(study),
        _note(set(seeds.values()), has_paper=bool(printed), is_cropped=is_cropped) + below,
        levels=levels,
    )


def _axes(curves: Mapping[str, MeanCurve], printed: Printed, low: float, high: float) -> tuple[Axis, Axis]:
    """Where strategies end and how they get there; a first epoch's AUC would squeeze all that to a line."""
    shown = [at for curve in curves.values() for at in curve.x[curve.mean >= low].tolist()]
    shown += [at for points in printed.values() for at, _ in points]
    width = max(max(shown) - min(shown), 0.5)
    left, right = min(shown) - 0.04 * width, max(shown) + 0.08 * width
    return (
        Axis("ln(time / training time of FE)", left, right, linear_ticks(left, right, most=8)),
        Axis("Test AUC of the incumbent", low, high, linear_ticks(low, high, most=8)),
    )


def _paper_series(strategy: str, points: Sequence[tuple[float, float]], *, measured: bool) -> Series:
    name = f"{display_name(strategy)}, paper"
    drawn = tuple(Point(x, y, f"{name}\nTest AUC {y:.4f}\nln(time / FE) {x:.2f}", False) for x, y in points)
    # A thin line has its thick one's colour; only without a thick one does it need a name of its own.
    return Series(strategy, "paper", drawn, "" if measured else name)


def _measured_series(strategy: str, curve: MeanCurve, seeds: int, horizontal: Axis, vertical: Axis) -> Series:
    width = horizontal.high - horizontal.low
    name = display_name(strategy)
    following = [*curve.x[1:].tolist(), math.inf]
    points: list[Point] = []
    marked = -math.inf
    columns = (values.tolist() for values in (curve.x, curve.mean, curve.low, curve.high))
    for (x, y, low, high), after in zip(zip(*columns, strict=True), following, strict=True):
        lines = [f"{name}, {f'mean of {seeds} seeds' if seeds > 1 else 'one seed'}"]
        lines += [f"Test AUC {y:.4f}" + (f" ({low:.4f} to {high:.4f})" if seeds > 1 else "")]
        lines += [f"ln(time / FE) {x:.2f}: {math.exp(x):,.2f} x FE's time"]
        is_said = y >= vertical.low and after - x >= width / _VALUES
        is_marked = is_said and x - marked > width / MARKS
        marked = x if is_marked else marked
        tip = "\n".join(lines) if is_said else ""
        points.append(Point(x, y, tip, is_marked, y_range=(low, high) if seeds > 1 else None))
    return Series(strategy, "steps", tuple(points), name)


def _note(seeds: set[int], *, has_paper: bool, is_cropped: bool) -> str:
    several = f"{max(seeds)} seeds" if len(seeds) == 1 else "the seeds"
    measured = f"mean of {several}, least to greatest shaded" if max(seeds) > 1 else "one seed"
    note = f"Thick: this study ({measured}); thin: paper." if has_paper else f"{measured[0].upper()}{measured[1:]}."
    cropped = " What lies below the frame is cut off: first epochs would press all else into a line."
    return note + (cropped if is_cropped else "")
