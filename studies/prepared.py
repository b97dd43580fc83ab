"""A data set made ready for one seed: fields by threshold, training, validation and test rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from autodpq.data import EncodedDataset, Samples, Split, bayes_auc, load_dataset, split_dataset
from autodpq.plan import Field
from autodpq.training.additive import AdditiveModel, fit_additive, sizes_of


@dataclass(frozen=True)
class Prepared:
    """Rows of one split.

    Attributes:
        fields: All fields, in the order of the ids' columns, with the values that are frequent by the threshold.
        train: Training rows.
        valid: Validation rows.
        test: Reads the test rows: no process in which a strategy searches holds their labels.
        truth: What is known of generated data: ``bayes_auc`` on the test rows and ``plan``; else None.
        source: What the ids stand for; it has no rows.
    """

    fields: tuple[Field, ...]
    train: Samples
    valid: Samples
    test: Callable[[], Samples]
    truth: dict[str, str | float] | None
    source: EncodedDataset

    @cached_property
    def additive(self) -> AdditiveModel:
        """The additive model of the training rows: a floor, and where logits of a recipe may start."""
        return fit_additive(self.train, self.valid, *sizes_of(self.fields))


SPLIT_SEED = 2023
# The options that say where rows come from.
LOADING = (
    "dataset", "data_dir", "cache_dir", "label", "fields", "exclude", "numeric", "missing", "multi", "split_column",
    "time_column", "weight_column",
)  # fmt: skip


def load_rows(loading: Mapping[str, Any]) -> EncodedDataset:
    """Loads a data set by the options of :data:`LOADING`; one that is None or not there is not given.

    Raises:
        AutoDPQError: It cannot be had.
    """
    given = {option: loading[option] for option in LOADING[1:] if loading.get(option) is not None}
    return load_dataset(loading["dataset"], **given)


def prepare_for(load: Callable[[], EncodedDataset], data: Mapping[str, Any]) -> Prepared:
    """The rows and fields of a run, by its configuration's ``data``."""
    return prepare(
        load,
        threshold=data["threshold"],
        split_method=data["split"],
        split_seed=data["split_seed"],
        frequency_scope=data["frequency_scope"],
    )


def prepare(
    load: Callable[[], EncodedDataset], *, threshold: int, split_method: str, split_seed: int, frequency_scope: str
) -> Prepared:
    """Splits a data set and finds its frequent values.

    Args:
        load: Loads the data set; called again when the test rows are read.
        threshold: A value that occurs at least this often is frequent.
        split_method: How the data is split.
        split_seed: Seed of a split at random.
        frequency_scope: ``all`` counts values over all rows, ``train`` over the training rows.

    Raises:
        AutoDPQError: The threshold is above every count, or a part is empty or has one class only.
    """

    def split_rows() -> tuple[EncodedDataset, Split]:
        dataset = load()
        split = split_dataset(dataset, split_seed, split_method)
        return (dataset.recounted(split.train) if frequency_scope == "train" else dataset), split

    def test_rows() -> Samples:
        dataset, split = split_rows()
        return dataset.rows(split.test)

    dataset, split = split_rows()
    fields = dataset.fields(threshold)
    truth: dict[str, str | float] | None = None
    if dataset.truth is not None:
        known: npt.NDArray[np.float32] = dataset.truth.probabilities[split.test]
        truth = {
            "bayes_auc": bayes_auc(known, dataset.labels[split.test]),
            "plan": dataset.truth.plan.to_json(),
        }
    train, valid = dataset.rows(split.train), dataset.rows(split.valid)
    for part in (train, valid):  # all strategies share them
        part.labels.flags.writeable = part.ids.flags.writeable = False
        if part.weights is not None:
            part.weights.flags.writeable = False
    return Prepared(fields, train, valid, test_rows, truth, dataset.without_rows())
