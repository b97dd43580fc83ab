"""A data set made ready for one seed: fields by threshold, training, validation and test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autodpq.data import EncodedDataset, Samples, bayes_auc, split_dataset
from autodpq.plan import Field


@dataclass(frozen=True)
class Prepared:
    """Rows of one split.

    Attributes:
        fields: All fields, in the order of the ids' columns.
        train: Training rows.
        valid: Validation rows.
        test: Test rows; no strategy sees them.
        truth: What is known of generated data: ``bayes_auc`` on the test rows and ``plan``; else None.
    """

    fields: tuple[Field, ...]
    train: Samples
    valid: Samples
    test: Samples
    truth: dict[str, str | float] | None


def prepare(
    dataset: EncodedDataset, *, threshold: int, split_method: str, split_seed: int, frequency_scope: str
) -> Prepared:
    """Splits a data set and finds its frequent values.

    Raises:
        AutoDPQError: The threshold is above every count, or a part is empty or has one class only.
    """
    split = split_dataset(dataset, split_seed, split_method)
    if frequency_scope == "train":
        dataset = dataset.recounted(split.train)
    fields = dataset.fields(threshold)
    truth: dict[str, str | float] | None = None
    if dataset.truth is not None:
        known: npt.NDArray[np.float32] = dataset.truth.probabilities[split.test]
        truth = {
            "bayes_auc": bayes_auc(known, dataset.labels[split.test]),
            "plan": dataset.truth.plan.to_json(),
        }
    return Prepared(fields, dataset.rows(split.train), dataset.rows(split.valid), dataset.rows(split.test), truth)
