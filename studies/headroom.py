"""How far the treatment of rare values can move AUC at all, and how AUC depends on how rare they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data import Samples
from autodpq.data.dataset import rarest_counts
from autodpq.metrics import auc, both_classes, evaluate_predictions
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
    labels, weights = samples.labels, samples.weights
    heads = np.repeat([field.head for field in fields], [field.columns for field in fields])
    rare = np.any(samples.ids >= heads, axis=1)

    oracle = np.where(rare, labels, probabilities)
    return {
        "samples": len(samples),
        "rare_samples": int(rare.sum()),
        "auc_rare": _auc(probabilities, samples, rare),
        "auc_other": _auc(probabilities, samples, ~rare),
        "auc_oracle": evaluate_predictions(oracle, labels, weights).auc,
    }


def auc_by_frequency(
    samples: Samples,
    counts: Sequence[npt.NDArray[np.int64]],
    probabilities: npt.NDArray[np.float64],
    columns: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """AUC by how often the rarest value of a sample occurs, in half decades: 1 to 2, 3 to 9, 10 to 29, 30 to 99, ...

    Args:
        samples: Test rows.
        counts: Per field, int64 [cardinality]: how often each id occurs among the counted rows.
        probabilities: float64 [rows], a model's predictions.
        columns: Columns of ids per field; None for one each.

    Returns:
        Rarest first and without empty ones: ``least`` and ``most`` (occurrences), ``samples``, ``auc`` (None where one
        class is missing).
    """
    rarest = rarest_counts(samples.ids, counts, columns or [1] * len(counts))
    edges = [0, *(base * 10**decade for decade in range(len(str(rarest.max()))) for base in (1, 3)), rarest.max() + 1]
    buckets = []
    for least, end in itertools.pairwise(edges):
        inside = (rarest >= least) & (rarest < end)
        if inside.any():
            own_auc = _auc(probabilities, samples, inside)
            buckets.append({"least": least, "most": int(end) - 1, "samples": int(inside.sum()), "auc": own_auc})
    return buckets


def _auc(probabilities: npt.NDArray[np.float64], samples: Samples, some: npt.NDArray[np.bool_]) -> float | None:
    """The AUC of some of the samples; None where one class is missing."""
    labels, weights = samples.labels[some], None if samples.weights is None else samples.weights[some]
    return auc(probabilities[some], labels, weights) if both_classes(labels, weights) else None
