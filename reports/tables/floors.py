"""Floors in tables and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autodpq.records.result import Floors
from reports.names import display_name
from reports.numbers.floors import FloorNumbers, below_floors, floor_numbers
from reports.numbers.summary import AUC, LOGLOSS, Metric, format_measured
from reports.numbers.tests import deviation, mean
from reports.results import Scored
from reports.tables.render import DASH, Cell


def floor_text(floor: FloorNumbers, metric: Metric) -> str:
    """A floor's mean and deviation over splits; a dash for what no floor has."""
    values = floor.values.get(metric.key, ())
    return format_measured(mean(values), deviation(values), metric.decimals) if values else DASH


def floor_rows(floors: Sequence[Floors], metrics: Sequence[Metric]) -> list[tuple[Cell, ...]]:
    """The rows that stand above the strategies' ones; none where no floor is known."""
    return [
        (Cell(floor.title), *(Cell(floor_text(floor, metric)) for metric in metrics)) for floor in floor_numbers(floors)
    ]


def floor_records(floors: Sequence[Floors]) -> list[Mapping[str, object]]:
    """Per floor and metric: ``strategy``, ``metric``, ``mean``, ``std``, ``seeds`` (how many splits these are of)."""
    return [
        {"strategy": floor.key, "metric": metric, "mean": mean(values), "std": deviation(values), "seeds": len(values)}
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
    """Each strategy of one data set and model that is below a floor, in words.

    Args:
        runs: The finished runs of that data set and model.
        strategies: The strategies to look at, in order.
    """
    words = []
    for below in below_floors(runs, strategies):
        name = display_name(below.strategy)
        if below.is_ranking:
            words.append(
                f"Warning: {name} ranks worse than an additive model: its AUC is {below.own:.4f}, that of one weight per "
                f"value {below.floor:.4f}."
            )
        else:
            words.append(
                f"Warning: the probabilities of {name} are worth less than a constant: their logloss is {below.own:.4f}, "
                f"that of the training rows' click rate {below.floor:.4f}."
            )
    return words
