"""How far probabilities are from the clicks: level, calibration error, and logloss beside that of a constant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autodpq.metrics import N_BINS, chance_error
from reports.names import display_name, in_order
from reports.numbers.summary import LOGLOSS, Metric, format_measured
from reports.numbers.tests import deviation, mean
from reports.results import RunResult, StudyResults
from reports.tables.render import DASH, Cell, Grid, Table

if TYPE_CHECKING:
    import pandas as pd

_METRICS = (
    Metric("mean_prediction", "Predicted", "test_mean_prediction", 4),
    Metric("click_rate", "Click rate", "test_click_rate", 4),
    Metric("ece", "ECE", "test_ece", 4),
    LOGLOSS,
    Metric("normalized_entropy", "NE", "test_normalized_entropy", 4),
)
_COLUMNS = (
    "dataset", "model", "strategy", "seeds",
    *(f"{metric.key}_{what}" for metric in _METRICS for what in ("mean", "std")),
    "ece_by_chance", "scale", "shift",
)  # fmt: skip


def calibration_table(study: StudyResults) -> Table:
    """What the probabilities of each strategy are worth as such, on test rows.

    Args:
        study: The study.

    Returns:
        One grid per data set and model that has a run with these numbers; one tidy row per strategy of it.
    """
    grids: list[Grid] = []
    tidy: list[Mapping[str, object]] = []
    for dataset, model in study.pairs():
        runs = [run for run in study.runs_of(dataset, model) if run.reliability]
        if not runs:
            continue
        records, rows = study.records_of(dataset, model), []
        calibrated = any(run.calibration for run in runs)
        for strategy in in_order(records["strategy"]):
            own = [run for run in runs if run.strategy == strategy]
            values = _values(records[records["strategy"] == strategy])
            fitted = _fitted(own)
            cells = [_cell(values[metric.key], metric.decimals) for metric in _METRICS]
            if calibrated:
                cells += [_cell(numbers, 2) for numbers in fitted.values()]
            rows.append((Cell(display_name(strategy)), *cells))
            tidy.append(_tidy_row(dataset, model, strategy, own, values, fitted))
        header = ("Strategy", *(metric.title for metric in _METRICS), *(("Scale", "Shift") if calibrated else ()))
        grids.append(Grid(f"Calibration: {dataset}, {model}", header, tuple(rows), notes=tuple(_notes(runs))))
    empty = "No calibration: the runs are of a version that did not measure it."
    return Table(tuple(grids), _COLUMNS, tuple(tidy), empty)


def _values(records: pd.DataFrame) -> dict[str, list[float]]:
    """The values of each metric, as far as runs have them."""
    columns = {metric.key: records[metric.column].tolist() for metric in _METRICS}
    return {key: [value for value in column if not math.isnan(value)] for key, column in columns.items()}


def _fitted(runs: Sequence[RunResult]) -> dict[str, list[float]]:
    found = [run.calibration for run in runs if run.calibration is not None]
    return {"scale": [own.scale for own in found], "shift": [own.shift for own in found]}


def _cell(values: Sequence[float], decimals: int) -> Cell:
    if not values:
        return Cell(DASH)
    # The click rate is one and the same unless every seed has a split of its own.
    spread = deviation(values) if len(set(values)) > 1 else math.nan
    return Cell(format_measured(mean(values), spread, decimals))


def _by_chance(runs: Sequence[RunResult]) -> float:
    """The mean over runs of the calibration error that perfect probabilities of the same bins would have."""
    bins = ([own.bin for own in run.reliability] for run in runs)
    return mean([chance_error(own) for own in bins])


def _tidy_row(
    dataset: str,
    model: str,
    strategy: str,
    runs: Sequence[RunResult],
    values: Mapping[str, Sequence[float]],
    fitted: Mapping[str, Sequence[float]],
) -> Mapping[str, object]:
    row: dict[str, object] = {"dataset": dataset, "model": model, "strategy": strategy, "seeds": len(runs)}
    for key, own in values.items():
        row |= {f"{key}_mean": mean(own), f"{key}_std": deviation(own)}
    return {**row, "ece_by_chance": _by_chance(runs), **{name: mean(own) for name, own in fitted.items()}}


def _notes(runs: Sequence[RunResult]) -> list[str]:
    notes = [
        "Test data. Predicted: the mean prediction; beside the click rate it says whether the level is right.",
        f"ECE, expected calibration error: how far the mean prediction and the click rate of {N_BINS} bins of equally "
        f"many samples are apart, on the mean; of perfect probabilities about {_by_chance(runs):.4f}, by chance.",
        "NE, normalised entropy: logloss in units of that of a constant, the click rate of the training rows. Above 1, "
        "the constant is the better prediction.",
    ]
    fitted = [run for run in runs if run.calibration is not None]
    if fitted:
        notes.append(
            "Calibrated: logits are multiplied by Scale, then Shift is added; both are fitted on validation rows."
        )
    notes += [
        f"{display_name(run.strategy)}, seed {run.seed}: {run.calibration.note}."
        for run in fitted
        if run.calibration is not None and run.calibration.note is not None
    ]
    return notes
