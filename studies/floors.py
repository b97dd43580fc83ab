"""What every model of a split has to be better than: the click rate, and one weight per value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from autodpq.metrics import evaluate_predictions
from autodpq.records.result import Floor, Floors
from studies.prepared import Prepared


def measure_floors(prepared: Prepared) -> Floors:
    """Fits both floors to training rows and measures them on test rows, which choose nothing.

    Args:
        prepared: The rows of one split.
    """
    test = prepared.test()

    def floor(probabilities: npt.NDArray[np.float64]) -> Floor:
        metrics = evaluate_predictions(probabilities, test.labels, test.weights)
        return Floor(auc=metrics.auc, logloss=metrics.logloss)

    constant = np.full(len(test), prepared.train.click_rate)
    return Floors(constant=floor(constant), additive=floor(prepared.additive.probabilities(test.ids)))
