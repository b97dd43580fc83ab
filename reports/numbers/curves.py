"""The numbers of Figure 3: anytime curves, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.names import in_order
from reports.results import RunResult

Floats = NDArray[np.float64]

SMALLEST_SPAN = 0.002
"""The least span of AUC that a figure shows: two random splits differ by half of it."""


@dataclass(frozen=True, slots=True)
class MeanCurve:
    """A strategy's test AUC by time, over its seeds. A value holds until the next x (a step function).

    Attributes:
        x: ln(time / FE's training time), rising.
        mean: Mean over seeds.
        low: Least of the seeds.
        high: Greatest of the seeds.
    """

    x: Floats
    mean: Floats
    low: Floats
    high: Floats


def run_curve(run: RunResult) -> tuple[Floats, Floats]:
    """One run's curve.

    Args:
        run: The run.

    Returns:
        ln(time / FE's training time) and the incumbent's test AUC, by time; points without a test AUC are left out.
        The last point is the model that the run hands over, even where one before it was better.
    """
    points = sorted(
        (math.log(point.seconds / run.fe_seconds), point.test_auc)
        for point in run.curve
        if point.seconds > 0 and run.fe_seconds > 0 and not math.isnan(point.test_auc)
    )
    return np.array([x for x, _ in points]), np.array([y for _, y in points])


def mean_curve(curves: Sequence[tuple[Floats, Floats]]) -> MeanCurve | None:
    """The mean of step curves on the union of their steps.

    It starts where the last of the seeds has a model: before, the mean would jump as seeds join it.

    Args:
        curves: x (rising) and y of each seed.

    Returns:
        The mean curve; None where no curve has a point.
    """
    curves = [(x, y) for x, y in curves if x.size]
    if not curves:
        return None
    start = max(x[0] for x, _ in curves)
    grid = np.unique(np.concatenate([x for x, _ in curves]))
    grid = grid[grid >= start]
    values = np.stack([y[np.searchsorted(x, grid, side="right") - 1] for x, y in curves])
    return MeanCurve(grid, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def strategy_curves(runs: Sequence[RunResult]) -> dict[str, MeanCurve]:
    """The mean curve of each strategy that has one, in the order in which strategies are shown."""
    curves = {}
    for strategy in in_order(run.strategy for run in runs):
        curve = mean_curve([run_curve(run) for run in runs if run.strategy == strategy])
        if curve is not None:
            curves[strategy] = curve
    return curves


def auc_range(curves: Iterable[MeanCurve], printed: Mapping[str, Sequence[tuple[float, float]]]) -> tuple[float, float]:
    """What Figure 3 shows: where strategies end, how they get there, and whatever is higher.

    A first epoch's AUC would press all else into a line, so that what is far below the ends is cut off. A curve may
    also fall, for the best on validation data need not be the best on test data.

    Args:
        curves: Measured curves.
        printed: Points of the paper's, as (x, AUC).

    Returns:
        The least and the greatest test AUC to show.
    """
    heights = [value for curve in curves for value in (float(curve.low[-1]), float(curve.high.max()))]
    heights += [y for points in printed.values() for _, y in points]
    span = max(max(heights) - min(heights), SMALLEST_SPAN)
    return min(heights) - 0.5 * span, max(heights) + 0.15 * span
