"""AUC by budget of bytes: what each strategy makes of as many bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports.names import display_name, in_order, short_bytes, within, without_budget
from reports.numbers.best import best_by_budget
from reports.numbers.comparisons import ModelComparisons, budgets_of, compare_strategies
from reports.numbers.fronts import hypervolume_of
from reports.numbers.summary import format_measured, samples_by_seed
from reports.numbers.tests import SIGNIFICANCE, deviation, mean
from reports.results import StudyResults
from reports.tables.render import Cell, Grid, Table

_COLUMNS = (
    "dataset", "model", "strategy", "budget", "seeds", "auc_mean", "auc_std", "bytes_mean", "reference", "difference",
    "p_holm", "hypervolume", "hypervolume_low", "hypervolume_high",
)  # fmt: skip
_NONE = "-"


def budgets_table(study: StudyResults, comparisons: Sequence[ModelComparisons] | None = None) -> Table:
    """Test AUC of each strategy within each budget.

    Args:
        study: The study.
        comparisons: Its comparisons, where they have been computed.

    Returns:
        One grid per data set and model that has budgets; a tidy row per strategy and budget.
    """
    entries = compare_strategies(study) if comparisons is None else comparisons
    grids, tidy = [], []
    for dataset, model in study.pairs():
        budgets = budgets_of(study, dataset, model)
        if budgets:
            own = [entry for entry in entries if (entry.dataset, entry.model) == (dataset, model)]
            grid, rows = _grid(study, dataset, model, budgets, own)
            grids.append(grid)
            tidy += rows
    return Table(tuple(grids), _COLUMNS, tuple(tidy), "No run was held to a budget of bytes.")


def _grid(
    study: StudyResults, dataset: str, model: str, budgets: Sequence[float], entries: Sequence[ModelComparisons]
) -> tuple[Grid, list[Mapping[str, object]]]:
    records = study.records_of(dataset, model)
    strategies = in_order(without_budget(name) for name in records["strategy"])
    names = [within(strategy, budget) for strategy in strategies for budget in (None, *budgets)]
    aucs = samples_by_seed(records, names, "test_auc")
    sizes = samples_by_seed(records, names, "bytes")
    against_best = {comparison.other: comparison for entry in entries for comparison in entry.comparisons}
    means = {name: mean(list(values.values())) for name, values in aucs.items() if values}
    best = {budget: max(means.get(within(name, budget), -math.inf) for name in strategies) for budget in budgets}
    rows: list[tuple[Cell, ...]] = []
    tidy: list[Mapping[str, object]] = []
    for strategy in strategies:
        cells = []
        front = hypervolume_of(records, strategy, budgets)
        for budget in (None, *budgets):
            name = within(strategy, budget)
            values, own = list(aucs[name].values()), list(sizes[name].values())
            if not values:
                cells.append(Cell(_NONE))
                continue
            against = against_best.get(name) if budget is not None else None
            star = against is not None and against.significant
            text = format_measured(mean(values), deviation(values), 4)
            if budget is None:
                text += f" at {short_bytes(mean(own))}"
            cells.append(Cell(text, bold=budget is not None and mean(values) == best[budget], star=star))
            tidy.append(
                {
                    "dataset": dataset, "model": model, "strategy": strategy, "budget": budget, "seeds": len(values),
                    "auc_mean": mean(values), "auc_std": deviation(values), "bytes_mean": mean(own),
                    "reference": "" if against is None else without_budget(against.reference),
                    "difference": math.nan if against is None else -against.auc.paired.mean,
                    "p_holm": math.nan if against is None else against.auc.p_holm,
                    "hypervolume": math.nan if front is None else front.mean,
                    "hypervolume_low": math.nan if front is None else front.low,
                    "hypervolume_high": math.nan if front is None else front.high,
                }
            )  # fmt: skip
        dominated = _NONE if front is None else format_measured(front.mean, front.high - front.mean, 4)
        rows.append((Cell(display_name(strategy)), *cells, Cell(dominated)))
    notes = [
        "Test AUC, mean ± standard deviation over seeds, of models that take at most so many bytes, all that inference "
        "needs counted but for header and vocabulary; bold: the best of a budget.",
    ]
    if any(cell.star for row in rows for cell in row):
        firsts = [(display_name(without_budget(entry.reference)), entry.budget) for entry in entries if entry.reference]
        same = len({name for name, _ in firsts}) == 1
        told = firsts[0][0] if same else ", ".join(f"{name} of {short_bytes(size or 0)}" for name, size in firsts)
        notes.append(
            f"*: differs from the strategy of the budget's best mean validation AUC ({told}) by the t-test paired by "
            f"seed, p < {SIGNIFICANCE} after Holm's correction over the strategies of the budget."
        )
    if any(row[-1].text != _NONE for row in rows):
        notes.append(
            "Hypervolume: over all budgets, the area that a seed's models dominate, powers of ten below FE's bytes by "
            "AUC above the additive model's; mean and 95 % t-interval over seeds. The greater, the better."
        )
    for budget, found in best_by_budget(study, dataset, model):
        assert budget is not None, "there are budgets"
        name = display_name(without_budget(found["strategy"]))
        notes.append(
            f"Within {short_bytes(budget)} {name}, seed {found['seed']}, has the best validation AUC; to take it away: "
            f"autodpq-study export {study.folder.name}/runs/{found['run']} --out model.safetensors"
            + _vocabulary(found["vocabulary_bytes"])
        )
    header = ("Strategy", "No budget", *(short_bytes(budget) for budget in budgets), "Hypervolume")
    return Grid(f"AUC by budget: {dataset}, {model}", header, tuple(rows), notes=tuple(notes)), tidy


def _vocabulary(n_bytes: float) -> str:
    """What is beside the model that one takes away; empty where that is not known."""
    return "" if math.isnan(n_bytes) else f" (vocabulary beside it: {short_bytes(n_bytes)})"
