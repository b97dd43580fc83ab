"""How sure AUC is, and the difference of two on the same rows: intervals in closed form, for tables of any size.

E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the areas under two or more correlated receiver operating
characteristic curves, Biometrics 1988.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.numbers.bootstrap import LEVEL

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval, by the normal distribution.

    Attributes:
        value: The number.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, variance: float) -> Estimate:
        """A number of a variance."""
        from scipy.special import ndtri

        reach = float(ndtri((1 + LEVEL) / 2)) * math.sqrt(max(variance, 0.0))  # rounding may leave less than nothing
        return cls(value, value - reach, value + reach)


@dataclass(frozen=True, slots=True)
class PairedAUC:
    """AUC of two models on the same rows.

    Attributes:
        old: Of the one.
        new: Of the other.
        difference: New minus old.
    """

    old: Estimate
    new: Estimate
    difference: Estimate


def paired_auc(labels: npt.NDArray[np.integer], old: Floats, new: Floats) -> PairedAUC:
    """AUC of two models and their difference.

    Args:
        labels: [rows], 0 or 1, both present.
        old: Finite scores of the one, [rows].
        new: Finite scores of the other, [rows].

    Returns:
        The numbers. An interval has no width where a class has one row, as its variance cannot be told then.
    """
    clicks = labels == 1
    of_clicks, of_others = zip(*(_placements(scores[clicks], scores[~clicks]) for scores in (old, new)), strict=True)
    aucs = [float(placements.mean()) for placements in of_clicks]
    covariance = _covariance(*of_clicks) / clicks.sum() + _covariance(*of_others) / (~clicks).sum()
    difference = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    first, second = (_possible(Estimate.of(auc, float(covariance[n, n]))) for n, auc in enumerate(aucs))
    return PairedAUC(first, second, Estimate.of(aucs[1] - aucs[0], float(difference)))


def _possible(auc: Estimate) -> Estimate:
    """An interval of AUC within what AUC can be."""
    return Estimate(auc.value, max(auc.low, 0.0), min(auc.high, 1.0))


def _placements(of_clicks: Floats, of_others: Floats) -> tuple[Floats, Floats]:
    """Of each click the share of the others below it, and of each other row that of the clicks above it; ties half."""
    clicks, others = np.sort(of_clicks), np.sort(of_others)
    below = np.searchsorted(others, of_clicks, side="left") + np.searchsorted(others, of_clicks, side="right")
    up_to = np.searchsorted(clicks, of_others, side="left") + np.searchsorted(clicks, of_others, side="right")
    return below / (2 * len(others)), 1 - up_to / (2 * len(clicks))


def _covariance(first: Floats, second: Floats) -> Floats:
    if len(first) < 2:
        return np.zeros((2, 2))
    found: Floats = np.cov(np.stack([first, second]))
    return found
