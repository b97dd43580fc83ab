"""Further splits of the rows that are not for testing, where those of one are too few to choose by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from autodpq.data import Samples
from autodpq.metrics import both_classes
from studies.prepared import SPLIT_SEED, Prepared

FEWEST = 2000
"""Clicks, and rows without one, among the validation rows of a random split, with which they are enough: the AUC's
standard error is then about 0.007, and differences of recipes on the same rows a tenth of that."""
FOLDS = 5


def folds_of(prepared: Prepared, method: str) -> tuple[Prepared, ...]:
    """The split itself, and where its validation rows are few, others of its training and validation rows.

    Args:
        prepared: The split.
        method: How it was made; only rows of a random split are like one another.
    """
    labels = prepared.valid.labels
    if method != "random" or np.bincount(labels, minlength=2).min() >= FEWEST:
        return (prepared,)
    ids = np.concatenate([prepared.train.ids, prepared.valid.ids])
    labels = np.concatenate([prepared.train.labels, prepared.valid.labels])
    known = [part.weights for part in (prepared.train, prepared.valid) if part.weights is not None]
    weights = np.concatenate(known) if known else None
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    own, further = len(prepared.valid), []
    for start in range(0, min((FOLDS - 1) * own, len(labels) - own), own):
        is_valid = np.zeros(len(labels), bool)
        is_valid[order[start : start + own]] = True
        parts = [
            Samples(ids[part], labels[part], None if weights is None else weights[part])
            for part in (~is_valid, is_valid)
        ]
        if all(both_classes(part.labels, part.weights) for part in parts):
            further.append(replace(prepared, train=parts[0], valid=parts[1]))
    return (prepared, *further)
