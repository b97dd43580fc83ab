"""AUC and logloss, in float64, once over all predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import log_loss, roc_auc_score

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
    return Metrics(float(roc_auc_score(labels, values)), float(log_loss(labels, values, labels=[0, 1])))
