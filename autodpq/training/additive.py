"""The additive model of clicks: an intercept and one weight per value of each field, by numpy alone.

It is ridge logistic regression on the values' indicators, what is left of a click-through model without interactions.
What it reaches is a floor: a network below it has not learnt what each value says by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from autodpq.data.dataset import Samples
from autodpq.plan import NO_ID, Field, column_slices

FloatArray = npt.NDArray[np.float64]

SAMPLES = (128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5)
"""How many samples at the click rate a weight's prior is worth, from strong to weak."""
_STRONGER = (8192.0, 2048.0, 512.0, 128.0)
"""The same where the constant is better than the first of them."""

_PATIENCE = 2  # priors in a row that are no better than the best one
_TOLERANCE = 1e-5  # nats per training row that the last sweep has gained
_MOST_SWEEPS = 1000
_ROWS = 1 << 20  # at a time: what is computed of them fits beside the rows themselves


@dataclass(frozen=True, slots=True)
class AdditiveModel:
    """An intercept and weights.

    Attributes:
        intercept: The logit of a row whose values all weigh nothing.
        weights: Per field, float64 [cardinality]; 0 for a value that no training row has.
        l2: The L2 penalty of each weight beside the mean cross entropy: the prior's precision per training row.
        columns: How many columns of ids each field has; of several values a row has the mean of their weights.
    """

    intercept: float
    weights: tuple[FloatArray, ...]
    l2: float
    columns: tuple[int, ...]

    def logits(self, ids: npt.NDArray[np.int32]) -> FloatArray:
        """The log-odds of a click.

        Args:
            ids: int32 [rows, columns].

        Returns:
            float64 [rows].
        """
        logits = np.full(len(ids), self.intercept)
        for own, weights in zip(column_slices(self.columns), self.weights, strict=True):
            logits += _means(weights, ids[:, own])
        return logits

    def probabilities(self, ids: npt.NDArray[np.int32]) -> FloatArray:
        """The probabilities of a click, float64 [rows]; arguments as of :meth:`logits`."""
        return _logistic(self.logits(ids))


def sizes_of(fields: Sequence[Field]) -> tuple[list[int], list[int]]:
    """The cardinalities of fields, and how many columns of ids each has."""
    return [field.cardinality for field in fields], [field.columns for field in fields]


def fit_additive(
    train: Samples, valid: Samples, cardinalities: Sequence[int], columns: Sequence[int] | None = None
) -> AdditiveModel:
    """The additive model whose prior is chosen by validation logloss.

    Priors are tried from strong to weak, each from the weights of the one before, until two in a row are no better.
    Where validation rows say that values tell nothing, those are tried under which weights hardly leave zero.

    Args:
        train: Training rows, with clicks and without.
        valid: Validation rows.
        cardinalities: Number of values per field.
        columns: Columns of ids per field; None for one each.
    """
    fit = AdditiveFit(train, cardinalities, columns)
    constant = _mean_loss(fit.model(), valid)
    model, loss = _best_prior(fit, SAMPLES, valid)
    return model if loss < constant else _best_prior(AdditiveFit(train, cardinalities, columns), _STRONGER, valid)[0]


def _best_prior(fit: AdditiveFit, priors: Sequence[float], valid: Samples) -> tuple[AdditiveModel, float]:
    """The model of the best of priors, and its mean loss on validation rows."""
    variance = fit.click_rate * (1 - fit.click_rate)
    best, least, worse = fit.model(), math.inf, 0
    for samples in priors:
        model = fit.run(samples * variance).model()
        loss = _mean_loss(model, valid)
        if loss < least:
            best, least, worse = model, loss, 0
        else:
            worse += 1
        if worse == _PATIENCE:
            break
    return best, least


def _mean_loss(model: AdditiveModel, rows: Samples) -> float:
    return rows.mean_of(_losses(model.logits(rows.ids), rows.labels))


class AdditiveFit:
    """Fits the additive model to training rows; it starts at the click rate.

    It minimises, over the intercept b and the weights w_fv of the values v of the fields f,

        sum_i [log(1 + exp(z_i)) - y_i z_i] + k/2 sum_fv w_fv^2,    z_i = b + sum_f w_f,v(i,f),

    a row of some weight counting by it, in units of the mean,
    by blocks: all weights of a field at once. A row has one value of a field, so the Hessian of a block is diagonal,
    and with g_v = sum over the rows of v of (y - p) - k w_v, and h_v = sum of p (1 - p) + k, Newton's step is
    g_v / h_v. Far from the minimum it may pass it by any distance. The third derivative is at most the second, which
    bounds the objective along a step s by -g s + h (exp|s| - |s| - 1) (Bach, Self-concordant analysis for logistic
    regression, 2010, Proposition 1); the least of that bound is at s = sign(g) log(1 + |g| / h), the step that is
    taken. So no step raises the objective, and near the minimum it is Newton's. What all weights of a field have in
    common is the intercept's: blocks alone would hand it over by a hair's breadth per sweep.

    Of a bag of values a row has the mean of their weights. The loss is convex, hence at most the mean of what it would
    be with each value's step for that of all, so that a value counts by its share of the bag: no step raises the
    objective there either.

    Args:
        train: Training rows, with clicks and without.
        cardinalities: Number of values per field.
        columns: Columns of ids per field; None for one each.
    """

    def __init__(self, train: Samples, cardinalities: Sequence[int], columns: Sequence[int] | None = None) -> None:
        self._train = train
        self._counts = train.relative_weights
        self.click_rate = train.click_rate
        self._intercept = math.log(self.click_rate / (1 - self.click_rate))
        self._weights = [np.zeros(cardinality) for cardinality in cardinalities]
        self._seen = [np.zeros(cardinality, bool) for cardinality in cardinalities]
        self._columns = tuple(columns) if columns is not None else (1,) * len(self._seen)
        self._slices = column_slices(self._columns)
        for own, seen in zip(self._slices, self._seen, strict=True):
            ids = train.ids[:, own]
            seen[ids[ids != NO_ID]] = True
        self._logits = np.full(len(train), self._intercept)
        self._precision = math.inf  # which weights of zero have

    def model(self) -> AdditiveModel:
        """The model so far."""
        weights = tuple(weights.copy() for weights in self._weights)
        return AdditiveModel(self._intercept, weights, self._precision / len(self._train), self._columns)

    def run(self, precision: float, tolerance: float = _TOLERANCE) -> Self:
        """Sweeps over intercept and fields until a sweep gains no more than the tolerance.

        Args:
            precision: k, above 0.
            tolerance: In nats per training row.
        """
        self._precision = precision
        before = self.objective(precision)
        for _ in range(_MOST_SWEEPS):
            self.sweep(precision)
            after = self.objective(precision)
            if before - after <= tolerance * len(self._train):
                break
            before = after
        return self

    def sweep(self, precision: float) -> None:
        """One step of the intercept and of each field."""
        slope, curvature = self._sums(None, 1)
        step = float(_step(slope, curvature)[0])
        self._intercept += step
        self._logits += step
        for own, weights, seen in zip(self._slices, self._weights, self._seen, strict=True):
            ids = np.ascontiguousarray(self._train.ids[:, own])
            slope, curvature = self._sums(ids, len(weights))
            steps = _step(slope - precision * weights, curvature + precision)
            weights += steps
            for part in self._parts():
                self._logits[part] += _means(steps, ids[part])
            common = float(weights[seen].mean())
            weights[seen] -= common
            self._intercept += common

    def objective(self, precision: float) -> float:
        """What is minimised, in nats."""
        labels = self._train.labels
        loss = math.fsum(
            float(self._counted(_losses(self._logits[part], labels[part]), part).sum()) for part in self._parts()
        )
        return loss + precision / 2 * math.fsum(float(weights @ weights) for weights in self._weights)

    def _counted(self, values: FloatArray, part: slice) -> FloatArray:
        """Values of the rows of a part, each times what its row counts."""
        return values if self._counts is None else values * self._counts[part]

    def _parts(self) -> list[slice]:
        return [slice(start, start + _ROWS) for start in range(0, len(self._train), _ROWS)]

    def _sums(self, ids: npt.NDArray[np.int32] | None, cardinality: int) -> tuple[FloatArray, FloatArray]:
        """Sums of y - p and of p (1 - p) over the rows of each id, [rows, columns]; over all rows without ids."""
        slope, curvature = np.zeros(cardinality), np.zeros(cardinality)
        for part in self._parts():
            probabilities = _logistic(self._logits[part])
            own = np.zeros((len(probabilities), 1), np.int32) if ids is None else ids[part]
            slopes = self._counted(self._train.labels[part] - probabilities, part)
            curvatures = self._counted(probabilities * (1 - probabilities), part)
            slope += _shared_out(slopes, own, cardinality)
            curvature += _shared_out(curvatures, own, cardinality)
        return slope, curvature


def _means(weights: FloatArray, ids: npt.NDArray[np.int32]) -> FloatArray:
    """Means of the weights of each row's ids, [rows, columns]."""
    if ids.shape[1] == 1:
        return weights[ids[:, 0]]
    known = ids != NO_ID
    means: FloatArray = np.where(known, weights[ids], 0.0).sum(1) / known.sum(1)
    return means


def _shared_out(values: FloatArray, ids: npt.NDArray[np.int32], cardinality: int) -> FloatArray:
    """Sums over rows of the values of each id, which the ids of a row, [rows, columns], have equal shares of."""
    if ids.shape[1] == 1:
        return np.bincount(ids[:, 0], values, cardinality).astype(np.float64, copy=False)
    known = ids != NO_ID
    shares = np.broadcast_to((values / known.sum(1))[:, None], ids.shape)
    return np.bincount(ids[known], shares[known], cardinality).astype(np.float64, copy=False)


def _step(slope: FloatArray, curvature: FloatArray) -> FloatArray:
    """The least of the bound along each step; see :class:`AdditiveFit`."""
    return np.copysign(np.log1p(np.abs(slope) / curvature), slope)


def _logistic(logits: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):  # an exponential that overflows says 0, as it should
        probabilities: FloatArray = 1 / (1 + np.exp(-logits))
    return probabilities


def _losses(logits: FloatArray, labels: npt.NDArray[np.uint8]) -> FloatArray:
    """Cross entropy of each row, in nats."""
    return np.logaddexp(0.0, logits) - labels * logits
