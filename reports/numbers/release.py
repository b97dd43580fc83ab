"""An old and a new model on the same rows: the numbers that a release is decided by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from autodpq.metrics import calibration_error, chance_error, cross_entropies, evaluate_predictions, reliability
from reports.numbers.delong import Estimate, Floats, paired_auc

LEAST_ROWS = 100
LEAST_SHARE = 0.01
"""Values of fewer rows than both are one slice: of few rows a loss says little."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of rows.

    Attributes:
        name: What it is called.
        probabilities: float64 [rows].
        unseen: Share of the rows that hold a value which the model never saw in training.
        bytes: Of its file.
        vocabulary_bytes: Of what lies beside it.
    """

    name: str
    probabilities: Floats
    unseen: float
    bytes: int
    vocabulary_bytes: int


@dataclass(frozen=True, slots=True)
class Column:
    """What rows are sliced by.

    Attributes:
        name: The column.
        values: What may stand there.
        numbers: int [rows], which of them does.
    """

    name: str
    values: Sequence[str]
    numbers: npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Side:
    """One model on all rows.

    Attributes:
        auc: With its interval.
        logloss: Mean cross entropy.
        normalized_entropy: Logloss in units of that of a constant, the click rate of these rows.
        mean_prediction: Mean of its probabilities.
        ece: Expected calibration error.
        ece_by_chance: What it would be on the mean if clicks came by these probabilities.
    """

    auc: Estimate
    logloss: float
    normalized_entropy: float
    mean_prediction: float
    ece: float
    ece_by_chance: float


@dataclass(frozen=True, slots=True)
class Slice:
    """Both models on some of the rows.

    Attributes:
        column: What the rows have in common.
        value: Which value of it; None for all that have few rows each.
        values: How many values these are.
        rows: How many rows.
        click_rate: Share of clicks.
        mean_predictions: Of the old and the new model.
        loglosses: Of the old and the new model.
        difference: Logloss of the new one minus that of the old one.
    """

    column: str
    value: str | None
    values: int
    rows: int
    click_rate: float
    mean_predictions: tuple[float, float]
    loglosses: tuple[float, float]
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Release:
    """Both models.

    Attributes:
        rows: How many rows.
        click_rate: Share of clicks.
        scored: What the old and the new model say.
        sides: What that is worth.
        auc: AUC of the new model minus that of the old one.
        logloss: The same of logloss.
        slices: By column, the most rows first, values of few rows last.
    """

    rows: int
    click_rate: float
    scored: tuple[Scored, Scored]
    sides: tuple[Side, Side]
    auc: Estimate
    logloss: Estimate
    slices: tuple[Slice, ...]


def compare_release(labels: npt.NDArray[np.uint8], old: Scored, new: Scored, columns: Sequence[Column] = ()) -> Release:
    """Compares two models.

    Args:
        labels: [rows], 0 or 1, both present.
        old: The model in use.
        new: The one that is to take its place.
        columns: What rows are sliced by.

    Raises:
        TrainingError: A prediction is not finite.
        AutoDPQError: All labels are the same.
    """
    click_rate = float(labels.mean())
    constant = evaluate_predictions(np.full(len(labels), click_rate), labels).logloss
    found, scored = paired_auc(labels, old.probabilities, new.probabilities), (old, new)
    sides = []
    for model, auc in zip(scored, (found.old, found.new), strict=True):
        logloss = evaluate_predictions(model.probabilities, labels).logloss
        bins, mean = reliability(model.probabilities, labels), float(model.probabilities.mean())
        sides.append(Side(auc, logloss, logloss / constant, mean, calibration_error(bins), chance_error(bins)))
    losses = cross_entropies(old.probabilities, labels), cross_entropies(new.probabilities, labels)
    slices = tuple(own for column in columns for own in _slices(column, labels, scored, losses))
    first, second = sides
    return Release(
        len(labels), click_rate, scored, (first, second), found.difference, _mean(losses[1] - losses[0]), slices
    )


def _mean(values: Floats) -> Estimate:
    return Estimate.of(float(values.mean()), float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0)


def _slices(
    column: Column, labels: npt.NDArray[np.uint8], scored: Sequence[Scored], losses: Sequence[Floats]
) -> Iterator[Slice]:
    counts = np.bincount(column.numbers, minlength=len(column.values))
    is_many = counts >= max(LEAST_ROWS, LEAST_SHARE * len(labels))
    many = [number for number in np.argsort(-counts, kind="stable").tolist() if is_many[number]]
    parts: Mapping[int | None, npt.NDArray[np.bool_]] = {
        **{number: column.numbers == number for number in many},
        None: ~is_many[column.numbers],
    }
    for number, own in parts.items():
        if not own.any():
            continue
        means = [float(model.probabilities[own].mean()) for model in scored]
        of_models = [float(of_model[own].mean()) for of_model in losses]
        value = None if number is None else column.values[number]
        n_values = 1 if number is not None else int(((counts > 0) & ~is_many).sum())
        yield Slice(
            column.name,
            value,
            n_values,
            int(own.sum()),
            float(labels[own].mean()),
            (means[0], means[1]),
            (of_models[0], of_models[1]),
            _mean(losses[1][own] - losses[0][own]),
        )
