"""How far a difference of AUC depends on which test rows were drawn: the paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_RESAMPLES = 1000
LEAST_RESAMPLES = 200
MOST_DRAWS = 800_000_000  # rows times resamples: about a minute for six strategies and 4 million rows on one core
LEVEL = 0.95

_LANES = 8  # resamples at a time: their counts of one row, a byte each, are fetched as one word
_BLOCK = 4096  # rows whose counts stay in the cache while they are drawn


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval of the difference of AUC between two runs on the same test rows.

    Attributes:
        difference: The difference on the rows as they are.
        low: Lower end of the 95 % interval.
        high: Upper end.
        rows: Test rows.
        resamples: Resamples with both classes, which the interval is made of.
    """

    difference: float
    low: float
    high: float
    rows: int
    resamples: int


class RankedPredictions:
    """One run's predictions, sorted once, so that the AUC under any weights of the rows takes no further sort.

    Args:
        labels: uint8 [rows], 0 or 1.
        probabilities: float64 [rows], any finite scores.
    """

    def __init__(self, labels: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float64]) -> None:
        order = np.argsort(probabilities)
        positive = labels[order] != 0
        self._negatives = order[~positive]
        self._positives = order[positive]
        negative_scores, positive_scores = probabilities[self._negatives], probabilities[self._positives]
        # Of each positive: how many negatives lie below it, and how many no higher. Between the two are its ties.
        self._below = np.searchsorted(negative_scores, positive_scores, side="left")
        self._up_to = np.searchsorted(negative_scores, positive_scores, side="right")
        self._tied = not np.array_equal(self._below, self._up_to)

    def aucs(self, weights: npt.NDArray[np.integer]) -> list[float]:
        """The AUC with each row counted as often as its weight says: Mann-Whitney, a tie counts one half.

        Args:
            weights: Whole numbers [rows, resamples], not negative.

        Returns:
            One AUC per resample; nan where the weights leave one class alone, or none.
        """
        of_negatives = np.take(weights, self._negatives, axis=0)
        of_positives = np.take(weights, self._positives, axis=0)
        cumulated = np.zeros(len(of_negatives) + 1, np.int64)
        found = []
        for lane in range(weights.shape[1]):
            np.cumsum(of_negatives[:, lane], out=cumulated[1:])
            own = of_positives[:, lane].astype(np.int64)
            pairs = int(own.sum()) * int(cumulated[-1])
            below = up_to = int(own @ cumulated[self._below])
            if self._tied:
                up_to = int(own @ cumulated[self._up_to])
            found.append((below + up_to) / (2 * pairs) if pairs else float("nan"))
        return found


def resamples_for(rows: int) -> int:
    """How many resamples: 1,000; above 800,000 rows fewer, down to 200 from 4 million rows on."""
    return max(LEAST_RESAMPLES, min(MOST_RESAMPLES, MOST_DRAWS // max(1, rows)))


def resample(rng: np.random.Generator, rows: int) -> npt.NDArray[np.uint8]:
    """How often each of the rows is drawn when as many are drawn with replacement.

    Args:
        rng: The source of chance.
        rows: Number of rows.

    Returns:
        uint8 [rows] (that a row is drawn 256 times has a chance of 1e-507).
    """
    sizes = [min(_BLOCK, rows - start) for start in range(0, rows, _BLOCK)]
    # How many draws fall into each block, then which of its rows they are.
    drawn = rng.multinomial(rows, np.array(sizes) / rows).tolist() if len(sizes) > 1 else [rows]
    counts = [
        np.bincount(rng.integers(0, size, number), minlength=size).astype(np.uint8)
        for size, number in zip(sizes, drawn, strict=True)
    ]
    return np.concatenate(counts)


def bootstrap_differences(
    reference: RankedPredictions, others: Sequence[RankedPredictions], rows: int, *, seed: int = 0
) -> list[Interval]:
    """Percentile intervals of AUC(reference) - AUC(other), all from the same resamples of the rows.

    Args:
        reference: One run.
        others: The runs that it is compared with, on the same rows with the same labels.
        rows: Number of test rows.
        seed: Of the resampling.

    Returns:
        One interval per other run; nan where the rows are of one class.
    """
    runs = (reference, *others)
    observed = [run.aucs(np.ones((rows, 1), np.uint8))[0] for run in runs]
    rng = np.random.default_rng(seed)
    left = resamples_for(rows) if others and np.isfinite(observed).all() else 0
    samples = np.empty((len(runs), 0))
    while left > 0:
        weights = np.stack([resample(rng, rows) for _ in range(min(_LANES, left))], axis=1)
        samples = np.hstack([samples, [run.aucs(weights) for run in runs]])
        left -= weights.shape[1]
    samples = samples[:, np.isfinite(samples).all(axis=0)]
    count = samples.shape[1]
    intervals = []
    for other in range(1, len(runs)):
        low = high = float("nan")
        if count:
            tail = (1 - LEVEL) / 2
            low, high = np.quantile(samples[0] - samples[other], [tail, 1 - tail]).tolist()
        intervals.append(Interval(observed[0] - observed[other], low, high, rows, count))
    return intervals
