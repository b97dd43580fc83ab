"""How far the treatment of rare values can move AUC at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data import Samples
from autodpq.metrics import evaluate_predictions
from autodpq.plan import Field


def headroom(samples: Samples, fields: Sequence[Field], probabilities: npt.NDArray[np.float64]) -> dict[str, Any]:
    """AUC on samples with and without a rare value, and the bound that an oracle on the former would reach.

    Args:
        samples: Test rows.
        fields: All fields, in the order of the ids' columns.
        probabilities: float64 [rows], a model's predictions.

    Returns:
        ``samples``, ``rare_samples``, ``auc_rare``, ``auc_other`` (None where one class is missing), ``auc_oracle``.
    """
    labels = samples.labels
    rare = np.any(samples.ids >= np.array([field.head for field in fields]), axis=1)

    def auc(part: npt.NDArray[np.bool_]) -> float | None:
        return evaluate_predictions(probabilities[part], labels[part]).auc if len(set(labels[part])) == 2 else None

    oracle = np.where(rare, labels, probabilities)
    return {
        "samples": len(samples),
        "rare_samples": int(rare.sum()),
        "auc_rare": auc(rare),
        "auc_other": auc(~rare),
        "auc_oracle": evaluate_predictions(oracle, labels).auc,
    }
