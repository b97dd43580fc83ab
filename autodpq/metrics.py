"""AUC, logloss and how well probabilities fit the clicks, in float64, once over all predictions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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


def evaluate_predictions(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Metrics:
    """Metrics of click probabilities.

    Args:
        probabilities: [n], each from 0 to 1.
        labels: [n], 0 or 1, both present.

    Raises:
        TrainingError: A prediction is not finite.
        AutoDPQError: All labels are the same.
    """
    values = probabilities.astype(np.float64)
    if labels.min() == labels.max():
        raise AutoDPQError(f"all {len(labels)} labels are the same, so that there is no AUC; both 0 and 1 are needed")
    if not np.isfinite(values).all():
        raise TrainingError(f"{int((~np.isfinite(values)).sum())} of {len(values)} predictions are NaN or infinite")
    return Metrics(auc(values, labels), logloss(values, labels))


# Scikit-learn's numbers to the last digit, in a twentieth of the time: it looks at its arguments for ten milliseconds,
# longer than small networks take to predict, and takes as long to import as torch.
def auc(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Area under the ROC curve.

    Args:
        scores: Finite, [n].
        labels: [n], 0 or 1, both present.
    """
    order = np.argsort(scores)[::-1]
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # of runs of equal scores
    true = np.cumsum(labels[order], dtype=np.float64)[ends]
    false = 1 + ends - true
    corner = np.concatenate(([True], (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0), [True]))[-len(ends) :]
    true, false = (np.append(0.0, counts[corner]) for counts in (true, false))
    return float(np.trapezoid(true / true[-1], false / false[-1]))


def logloss(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer]) -> float:
    """Mean cross entropy, in nats; 0 and 1 are taken for the next number.

    Args:
        probabilities: Each from 0 to 1, [n].
        labels: [n], 0 or 1.
    """
    smallest = np.finfo(np.float64).eps
    values = np.clip(probabilities, smallest, 1 - smallest)
    return float(-np.log(np.where(labels == 1, values, 1 - values)).mean())


N_BINS = 20
"""Bins of :func:`reliability`."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Samples of neighbouring predictions.

    Attributes:
        samples: How many there are.
        mean_prediction: Mean of their probabilities.
        click_rate: Share of clicks among them.
    """

    samples: int
    mean_prediction: float
    click_rate: float


def reliability(probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.integer]) -> tuple[Bin, ...]:
    """Samples by rising prediction in :data:`N_BINS` bins of as many samples each; equal predictions share a bin.

    Bins of equal mass, as J. Nixon et al., Measuring calibration in deep learning, CVPR workshops 2019, have them:
    where clicks are rare, all but a few bins of equal width would be empty. There are fewer bins where predictions tie.

    Args:
        probabilities: Each from 0 to 1, [n], n above 0.
        labels: [n], 0 or 1.
    """
    order = np.argsort(probabilities, kind="stable")
    values, clicks = probabilities[order], labels[order]
    lasts = -(-len(values) * np.arange(1, N_BINS + 1) // N_BINS) - 1
    ends = np.unique(np.searchsorted(values, values[lasts], side="right"))
    parts = zip(np.split(values, ends[:-1]), np.split(clicks, ends[:-1]), strict=True)
    return tuple(Bin(len(own), float(own.mean()), float(hits.mean())) for own, hits in parts)


def calibration_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error (ECE): the mean over samples of abs(mean prediction - click rate) of their bin.

    M. P. Naeini et al., Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; on the bins of
    :func:`reliability`. Perfect probabilities have one above 0, too, by chance: see :func:`chance_error`.
    """
    samples = sum(own.samples for own in bins)
    return math.fsum(own.samples * abs(own.mean_prediction - own.click_rate) for own in bins) / samples


def chance_error(bins: Sequence[Bin]) -> float:
    """The :func:`calibration_error` to be expected if every click came by its bin's mean prediction.

    That of a mean of n draws is normal for large n: its mean distance is ``sqrt(2 p (1 - p) / (pi n))``.
    """
    samples = sum(own.samples for own in bins)
    variances = ((own.samples, own.mean_prediction * (1 - own.mean_prediction) / own.samples) for own in bins)
    return math.fsum(count * math.sqrt(2 * variance / math.pi) for count, variance in variances) / samples
