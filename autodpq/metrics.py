"""AUC, logloss and how well probabilities fit the clicks, in float64, once over all predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError, TrainingError


@dataclass(frozen=True, slots=True)
class Metrics:
    """How well predictions fit labels.

    Attributes:
        auc: Area under the ROC curve.
        logloss: Mean cross entropy, in nats.
    """

    auc: float
    logloss: float


Weights: TypeAlias = npt.NDArray[np.float64] | None
"""How much each sample counts, [n], not negative; None where all count the same."""


def evaluate_predictions(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], weights: Weights = None
) -> Metrics:
    """Metrics of click probabilities.

    Args:
        probabilities: [n], each from 0 to 1.
        labels: [n], 0 or 1, both present with a weight above 0.
        weights: How much each sample counts; in any unit.

    Raises:
        TrainingError: A prediction is not finite.
        AutoDPQError: All labels are the same.
    """
    values = probabilities.astype(np.float64)
    if not both_classes(labels, weights):
        raise AutoDPQError(f"all {len(labels)} labels are the same, so that there is no AUC; both 0 and 1 are needed")
    if not np.isfinite(values).all():
        raise TrainingError(f"{int((~np.isfinite(values)).sum())} of {len(values)} predictions are NaN or infinite")
    return Metrics(auc(values, labels, weights), logloss(values, labels, weights))


def both_classes(labels: npt.NDArray[np.integer], weights: Weights = None) -> bool:
    """Whether there are samples of both classes, of a weight above 0."""
    counting = labels if weights is None else labels[weights > 0]
    return len(counting) > 0 and bool(counting.min() != counting.max())


# Scikit-learn's numbers to the last digit, in a twentieth of the time: it looks at its arguments for ten milliseconds,
# longer than small networks take to predict, and takes as long to import as torch.
def auc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], weights: Weights = None) -> float:
    """Area under the ROC curve.

    Args:
        scores: Finite, [n].
        labels: [n], 0 or 1, both present with a weight above 0.
        weights: How much each sample counts: a pair of samples counts by the product.
    """
    order = np.argsort(scores)[::-1]
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of runs of equal scores
    if weights is None:
        true = np.cumsum(labels[order], dtype=np.float64)[ends]
        false = 1 + ends - true
        corner = np.concatenate(([True], (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0), [True]))[-len(ends) :]
        true, false = true[corner], false[corner]
    else:
        clicks, relative = labels[order] == 1, (weights / weights.max())[order]
        true, false = (np.cumsum(np.where(own, relative, 0.0))[ends] for own in (clicks, ~clicks))
    true, false = (np.append(0.0, counts) for counts in (true, false))
    return float(np.trapezoid(true / true[-1], false / false[-1]))


def logloss(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer], weights: Weights = None) -> float:
    """Mean cross entropy, in nats; 0 and 1 are taken for the next number.

    Args:
        probabilities: Each from 0 to 1, [n].
        labels: [n], 0 or 1.
        weights: How much each sample counts.
    """
    losses = cross_entropies(probabilities, labels)
    return float(losses.mean() if weights is None else np.average(losses, weights=weights))


def cross_entropies(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """The cross entropy of each sample, float64 [n], whose mean is :func:`logloss`."""
    smallest = np.finfo(np.float64).eps
    values = np.clip(probabilities, smallest, 1 - smallest)
    losses: npt.NDArray[np.float64] = -np.log(np.where(labels == 1, values, 1 - values))
    return losses


N_BINS = 20
"""Bins of :func:`reliability`."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples of neighbouring predictions.

    Attributes:
        samples: How many there are.
        mean_prediction: Mean of their probabilities.
        click_rate: Share of clicks among them.
        weight: What they count for beside those of other bins; None where it is their number.
        effective: How many samples of one weight would tell as much: (sum of weights)^2 / (sum of their squares), L.
            Kish, Survey sampling, 1965; None where it is their number.
    """

    samples: int
    mean_prediction: float
    click_rate: float
    weight: float | None = None
    effective: float | None = None

    @property
    def counts_for(self) -> float:
        """The weight, else the number of samples."""
        return self.samples if self.weight is None else self.weight

    @property
    def tells_as(self) -> float:
        """How many samples of one weight would tell as much."""
        return self.samples if self.effective is None else self.effective


def reliability(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer], weights: Weights = None
) -> tuple[Bin, ...]:
    """Samples by rising prediction in :data:`N_BINS` bins of as many samples each; equal predictions share a bin.

    Where samples have weights, bins are of as much weight each, and their means and shares are by weight; those of
    weight 0 are in none.

    Bins of equal mass, as J. Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019, have them:
    where clicks are rare, all but a few bins of equal width would be empty. There are fewer bins where predictions tie.

    Args:
        probabilities: Each from 0 to 1, [n], n above 0.
        labels: [n], 0 or 1.
        weights: How much each sample counts, of some above 0.
    """
    if weights is not None:
        return _weighted_reliability(probabilities, labels, weights)
    order = np.argsort(probabilities, kind="stable")
    values, clicks = probabilities[order], labels[order]
    lasts = -(-len(values) * np.arange(1, N_BINS + 1) // N_BINS) - 1
    ends = np.unique(np.searchsorted(values, values[lasts], side="right"))
    parts = zip(np.split(values, ends[:-1]), np.split(clicks, ends[:-1]), strict=True)
    return tuple(Bin(len(own), float(own.mean()), float(hits.mean())) for own, hits in parts)


def _weighted_reliability(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer], weights: npt.NDArray[np.float64]
) -> tuple[Bin, ...]:
    counting = np.flatnonzero(weights > 0)
    order = counting[np.argsort(probabilities[counting], kind="stable")]
    values, clicks, own = probabilities[order], labels[order], weights[order] / weights.sum()
    mass = np.cumsum(own)
    # A share that a sum meets but for its last digits is met.
    lasts = np.searchsorted(mass, (1 - 1e-12) * mass[-1] * np.arange(1, N_BINS) / N_BINS)
    ends = np.unique(np.append(np.searchsorted(values, values[lasts], side="right"), len(values)))
    bins = []
    for part in map(slice, [0, *ends[:-1].tolist()], ends.tolist()):
        weight = float(own[part].sum())
        prediction, rate = (float(np.average(array[part], weights=own[part])) for array in (values, clicks))
        relative = own[part] / own[part].max()
        effective = float(relative.sum() ** 2 / np.square(relative).sum())
        bins.append(Bin(part.stop - part.start, prediction, rate, weight, effective))
    return tuple(bins)


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error (ECE): the mean over samples of abs(mean prediction - click rate) of their bin.

    M. P. Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; on the bins of
    :func:`reliability`. Perfect probabilities have one above 0, too, by chance: see :func:`chance_error`.
    """
    total = sum(own.counts_for for own in bins)
    return math.fsum(own.counts_for * abs(own.mean_prediction - own.click_rate) for own in bins) / total


def chance_error(bins: Sequence[Bin]) -> float:
    """The :func:`calibration_error` to be expected if every click came by its bin's mean prediction.

    That of a mean of n draws is normal for large n: its mean distance is ``sqrt(2 p (1 - p) / (pi n))``.
    """
    total = sum(own.counts_for for own in bins)
    variances = ((own.counts_for, own.mean_prediction * (1 - own.mean_prediction) / own.tells_as) for own in bins)
    return math.fsum(count * math.sqrt(2 * variance / math.pi) for count, variance in variances) / total
