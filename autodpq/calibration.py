"""Platt scaling: a scale and a shift of click logits, fitted on validation rows (numpy only)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError, TrainingError
from autodpq.metrics import Weights, both_classes

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
Logits = TypeVar("Logits", "npt.NDArray[np.float64]", "Tensor")

LEAST_SPREAD, MOST_SPREAD = 0.01, 10.0
"""Standard deviations that calibrated logits of the validation rows may have: below they say next to nothing, and 32
bits could not tell them apart; above they claim what no number of rows can have shown."""

_ROUNDING = 1e-6  # of logits of 32 bits
_STEPS = 100  # Newton takes some five to ten
_CLOSE = 1e-12  # nats that a step would win; what it leaves is about the square of that


@dataclass(frozen=True, slots=True)
class Calibration:
    """What is done to logits before they are made probabilities: ``scale * logit + shift``.

    Attributes:
        scale: Above 0, so that it changes no order and no AUC (but where rounding makes two logits equal).
        shift: Added to what is scaled.
    """

    scale: float
    shift: float

    def __post_init__(self) -> None:
        numbers = self.scale, self.shift
        # Within these, what comes out is finite in 32 bits.
        possible = all(type(number) is float and abs(number) <= 1e30 for number in numbers)
        if not possible or self.scale < 1e-30:
            raise AutoDPQError(f"a calibration by {self.scale!r} and {self.shift!r}: impossible")

    def __call__(self, logits: Logits) -> Logits:
        """Calibrated logits of logits, both float64 and of one shape.

        Whoever has 32 bits widens them before and narrows what comes out: where a network's logits differ by little, a
        large scale and a large shift cancel, and in 32 bits what tells them apart would be lost.
        """
        return logits * self.scale + self.shift


def fit_calibration(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], weights: Weights = None
) -> tuple[Calibration, str | None]:
    """The scale and shift of least logloss, by Newton steps in float64: the same numbers each time.

    J. Platt, Probabilistic outputs for support vector machines, 1999, with labels as they are, not smoothed. The scale
    is held where the standard deviation of the calibrated logits would leave :data:`LEAST_SPREAD` to
    :data:`MOST_SPREAD`, and is 1 where all logits are equal.

    Args:
        logits: Of any size, [n].
        labels: [n], 0 or 1, both present with a weight above 0.
        weights: How much each sample counts.

    Returns:
        The calibration; why its scale is not the one of least logloss, or None where it is.

    Raises:
        AutoDPQError: All labels are the same.
        TrainingError: A logit is not finite, or nothing is found.
    """
    if not np.isfinite(logits).all():
        raise TrainingError(f"{int((~np.isfinite(logits)).sum())} of {len(logits)} logits are NaN or infinite")
    if not both_classes(labels, weights):
        raise AutoDPQError(f"all {len(labels)} labels are the same, which no shift can meet; both 0 and 1 are needed")
    if weights is not None:
        counting = weights > 0
        logits, labels, weights = logits[counting], labels[counting], weights[counting] / weights[counting].mean()
    values, signs = logits.astype(np.float64), np.where(labels == 1, 1.0, -1.0)
    centre = _mean(values, weights)
    deviation = float(values.std()) if weights is None else math.sqrt(_mean((values - centre) ** 2, weights))
    clicks = int((labels == 1).sum()) if weights is None else float(weights[labels == 1].sum())
    level = math.log(clicks / (len(labels) - clicks))
    if np.ptp(values) <= _ROUNDING * max(1.0, abs(centre)):
        return Calibration(1.0, level - centre), "all logits of the validation rows are equal: only a shift is fitted"
    spread, level, note = _spread_and_level((values - centre) / deviation, signs, weights, level)
    scale = spread / deviation
    return Calibration(scale, level - scale * centre), note


def _spread_and_level(values: Floats, signs: Floats, weights: Weights, level: float) -> tuple[float, float, str | None]:
    """Standard deviation and level of the calibrated logits, from values of mean 0 and deviation 1; the note."""
    ones = np.ones(len(values))
    if values[signs > 0].min() >= values[signs < 0].max():
        spread = math.inf
    elif (signs if weights is None else weights * signs) @ values <= 0:
        spread = 0.0
    else:
        spread, level = _newton(np.column_stack([values, ones]), np.zeros(len(values)), signs, weights, [1.0, level])
    if LEAST_SPREAD <= spread <= MOST_SPREAD:
        return spread, level, None
    bound = min(max(spread, LEAST_SPREAD), MOST_SPREAD)
    (level,) = _newton(ones[:, None], bound * values, signs, weights, [level])
    why = "hardly rise with them" if bound == LEAST_SPREAD else "are told from the rest by them with hardly an error"
    held = f"the scale is held where logits have a standard deviation of {bound:g}"
    return bound, level, f"{held}: the clicks of the validation rows {why}"


def _newton(inputs: Floats, offset: Floats, signs: Floats, counts: Weights, start: Sequence[float]) -> list[float]:
    """The weights of least logloss of the logits ``inputs @ weights + offset``, which there must be; samples count by
    ``counts``, which add up to their number.

    The logloss is convex; where a step overshoots it is halved.
    """
    weights = np.array(start)
    margins = signs * (inputs @ weights + offset)
    loss = _loss(margins, counts)
    for _ in range(_STEPS):
        missing = np.exp(-np.logaddexp(0, margins))  # to the last digit also where next to nothing is
        slope, bend = signs * missing, missing * (1 - missing)
        if counts is not None:
            slope, bend = counts * slope, counts * bend
        gradient = -inputs.T @ slope / len(signs)
        curvature = (inputs.T * bend) @ inputs / len(signs)
        step = -np.linalg.solve(curvature, gradient)
        if -float(gradient @ step) < _CLOSE:
            return [float(weight) for weight in weights + step]
        while (found := _loss(margins := signs * (inputs @ (weights + step) + offset), counts)) > loss:
            step = step / 2
        weights, loss = weights + step, found
    raise TrainingError(f"no scale and shift of the logits were found in {_STEPS} steps of Newton's method")


def _loss(margins: Floats, counts: Weights) -> float:
    return _mean(np.logaddexp(0, -margins), counts)


def _mean(values: Floats, weights: Weights) -> float:
    return float(values.mean() if weights is None else np.average(values, weights=weights))
