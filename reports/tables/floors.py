"""Floors in tables and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autodpq.records.result import Floors
from reports.names import display_name, in_order
from reports.numbers.floors import FloorNumbers, below_floors, floor_numbers, floors_of
from reports.numbers.summary import AUC, LOGLOSS, Metric, format_measured
from reports.numbers.tests import mean
from reports.results import Scored
from reports.tables.notes import merged_notes
from reports.tables.render import DASH, Cell


def floor_text(floor: FloorNumbers, metric: Metric) -> str:
    """A floor's mean and deviation over splits; a dash for what no floor has."""
    values = floor.values.get(metric.key, ())
    if not values:
        return DASH
    return format_measured(mean(values), floor.deviation(metric.key), metric.decimals)


def floor_rows(floors: Sequence[Floors], metrics: Sequence[Metric]) -> list[tuple[Cell, ...]]:
    """The rows that stand above the strategies' ones; none where no floor is known."""
    return [
        (Cell(floor.title), *(Cell(floor_text(floor, metric)) for metric in metrics)) for floor in floor_numbers(floors)
    ]


def floor_records(floors: Sequence[Floors]) -> list[Mapping[str, object]]:
    """Per floor and metric: ``strategy``, ``metric``, ``mean``, ``std``, ``seeds`` (how many splits these are of)."""
    return [
        {
            "strategy": floor.key,
            "metric": metric,
            "mean": mean(values),
            "std": floor.deviation(metric),
            "seeds": len(values),
        }
        for floor in floor_numbers(floors)
        for metric, values in floor.values.items()
    ]


def floor_notes(floors: Sequence[Floors]) -> list[str]:
    """What the rows of :func:`floor_rows` are; nothing where there are none."""
    if not floors:
        return []
    spread = f", mean ± sample standard deviation over {len(floors)} splits" if len(floors) > 1 else ""
    return [
        "Constant and Additive are floors, fitted to the training rows and measured on the same test rows"
        f"{spread}: the click rate, and one weight per value of each field, without interactions (ridge logistic "
        "regression). A model below them has not learnt what can be had in seconds."
    ]


def floors_text(floors: Sequence[Floors]) -> str:
    """Both floors in a line: mean and deviation over splits."""
    parts = (
        f"{floor.title} AUC {floor_text(floor, AUC)}, logloss {floor_text(floor, LOGLOSS)}"
        for floor in floor_numbers(floors)
    )
    return "; ".join(parts)


def floor_warnings(runs: Sequence[Scored], strategies: Sequence[str]) -> list[str]:
    """Each strategy that is below a floor, in words; with its model where several ran.

    Args:
        runs: The finished runs of one data set.
        strategies: The strategies to look at, in order.
    """
    models: dict[str, list[Scored]] = {}
    for run in runs:
        models.setdefault(run.model, []).append(run)
    return merged_notes({model: _warnings(own, strategies) for model, own in models.items()})


def _warnings(runs: Sequence[Scored], strategies: Sequence[str]) -> list[str]:
    named: dict[str, list[str]] = {}
    for below in sorted(below_floors(runs, strategies), key=lambda below: below.is_ranking):
        if below.is_ranking:
            floor = f"AUC below an additive model's {below.floor:.4f} (one weight per value)"
        else:
            floor = f"logloss above {below.floor:.4f}, so that a constant, the training rows' click rate, is worth more"
        named.setdefault(floor, []).append(f"{display_name(below.strategy)} {below.own:.4f}")
    return [f"Warning: on {runs[0].dataset}, {floor}: {', '.join(names)}." for floor, names in named.items()]


def floor_lines(runs: Sequence[Scored]) -> list[str]:
    """The floors of each data set, and each strategy that is below them, in words.

    Args:
        runs: Finished runs of any data sets and models.
    """
    lines = []
    for dataset in dict.fromkeys(run.dataset for run in runs):
        own = [run for run in runs if run.dataset == dataset]
        floors = floors_of(own)
        lines += [f"Floors on {dataset}: {floors_text(floors)}"] if floors else []
        lines += floor_warnings(own, in_order(run.strategy for run in own))
    return lines
