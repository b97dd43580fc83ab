"""The additive model's test AUC as a line across a chart."""

from __future__ import annotations

from collections.abc import Sequence

from reports.figures.chart import Level
from reports.numbers.floors import floor_numbers, floors_of
from reports.numbers.tests import mean
from reports.results import Scored


def floor_levels(runs: Sequence[Scored], least: float) -> tuple[tuple[Level, ...], str]:
    """The line, and what is to be said of it in the chart's note.

    Args:
        runs: The runs that the chart shows.
        least: What lies lower would press all else into a line: it is said and not drawn.

    Returns:
        No line where it is lower or not known; no words unless it is lower.
    """
    drawn: list[Level] = []
    said = ""
    for floor in floor_numbers(floors_of(runs)):
        auc = mean(floor.values["auc"])
        if floor.is_model and auc >= least:
            drawn.append(Level(auc, f"{floor.title} {auc:.4f}"))
        elif floor.is_model:
            said += f" {floor.title} {auc:.4f}: below the frame."
    return tuple(drawn), said
