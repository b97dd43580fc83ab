"""How much rare values can matter at all: AUC on the samples that hold one, and the bound of an oracle on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports.names import display_name, in_order
from reports.numbers.summary import format_measured
from reports.numbers.tests import deviation, mean
from reports.results import RunResult, StudyResults
from reports.tables.render import DASH, Cell, Grid, Table

_HEADER = ("Strategy", "AUC", "AUC, rare", "AUC, other", "AUC, oracle")
_AUC_COLUMNS = ("auc", "auc_rare", "auc_other", "auc_oracle")
_COLUMNS = (
    "dataset", "model", "strategy", "seeds", "samples", "rare_samples", "rare_share", *_AUC_COLUMNS, "bayes_auc",
    "truth_plan",
)  # fmt: skip


def headroom_table(study: StudyResults) -> Table:
    """The headroom of each data set and model.

    Args:
        study: The study.

    Returns:
        One grid per data set and model; one tidy row per strategy.
    """
    strategies = in_order(study.records["strategy"])
    test_auc = dict(zip(study.records["run"].tolist(), study.records["test_auc"].tolist(), strict=True))
    grids: list[Grid] = []
    tidy: list[Mapping[str, object]] = []
    for dataset, model in study.pairs():
        runs = study.runs_of(dataset, model)
        rows = []
        for strategy in strategies:
            own = [run for run in runs if run.strategy == strategy]
            values = _auc_values(own, test_auc)
            rows.append((Cell(display_name(strategy)), *map(_auc_cell, values.values())))
            tidy.append(_tidy_row(dataset, model, strategy, own, values))
        title = f"Headroom: {dataset}, {model}"
        grids.append(Grid(title, _HEADER, tuple(rows), notes=tuple(_notes(runs))))
    return Table(tuple(grids), _COLUMNS, tuple(tidy))


def _auc_values(runs: Sequence[RunResult], test_auc: Mapping[str, float]) -> dict[str, list[float]]:
    columns = {
        "auc": [test_auc[run.run] for run in runs],
        "auc_rare": [run.headroom.auc_rare for run in runs],
        "auc_other": [run.headroom.auc_other for run in runs],
        "auc_oracle": [run.headroom.auc_oracle for run in runs],
    }
    return {name: [value for value in values if not math.isnan(value)] for name, values in columns.items()}


def _auc_cell(values: Sequence[float]) -> Cell:
    return Cell(format_measured(mean(values), deviation(values), 4) if values else DASH)


def _share(run: RunResult) -> float:
    return run.headroom.rare_samples / run.headroom.samples if run.headroom.samples else math.nan


def _tidy_row(
    dataset: str, model: str, strategy: str, runs: Sequence[RunResult], values: Mapping[str, Sequence[float]]
) -> Mapping[str, object]:
    truth = next((run.truth for run in runs if run.truth), None)
    return {
        "dataset": dataset,
        "model": model,
        "strategy": strategy,
        "seeds": len(runs),
        "samples": mean([run.headroom.samples for run in runs]),
        "rare_samples": mean([run.headroom.rare_samples for run in runs]),
        "rare_share": mean([_share(run) for run in runs]),
        **{name: mean(column) for name, column in values.items()},
        "bayes_auc": truth and truth.bayes_auc,
        "truth_plan": truth and truth.plan.to_json(),
    }


def _notes(runs: Sequence[RunResult]) -> list[str]:
    samples = mean([run.headroom.samples for run in runs])
    rare = mean([run.headroom.rare_samples for run in runs])
    share = mean([_share(run) for run in runs])
    notes = [
        f"{rare:,.0f} of {samples:,.0f} test samples ({share:.1%}) hold a rare value.",
        "Test AUC on all samples, on those that hold a rare value and on the others; oracle: on all samples if those "
        "that hold a rare value were predicted perfectly, a bound for any treatment of rare values.",
    ]
    truth = next((run.truth for run in runs if run.truth), None)
    if truth:
        plan = ", ".join(f"{name} {truth.plan[name]}" for name in sorted(truth.plan))
        notes.append(f"Generated data: the Bayes-optimal AUC is {truth.bayes_auc:.4f}; the plan behind it: {plan}.")
    return notes
