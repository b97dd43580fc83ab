"""The numbers of Figure 3: anytime curves, averaged over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reports.results import RunResult

Floats = NDArray[np.float64]


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
