"""The trials of a run, as far as its card shows them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

from autodpq.plan import CompressionPlan
from autodpq.records import folder
from autodpq.records.files import LINE_ANEW, damage_told
from autodpq.records.schema import TrialLine
from reports.names import choice_label
from reports.tables.render import DASH

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials of a run.

    Attributes:
        rows: Number, validation AUC, logloss, bytes, epochs, seconds and plan of the best ones, and of those that came
            to nothing their state and error, each ten at most.
        count: How many trials there are.
    """

    rows: tuple[tuple[str, ...], ...]
    count: int


def read_trials(path: Path) -> Trials | None:
    """Reads a run's ``trials.jsonl``.

    Returns:
        The best ones by validation AUC first, then those that failed or were pruned; None where the run has none.

    Raises:
        AutoDPQError: The file is damaged.
    """
    best: list[tuple[float, tuple[str, ...]]] = []
    others: list[tuple[str, ...]] = []
    lines = folder.read_trials(path)
    for number, line in enumerate(lines, 1):
        with damage_told(f"{path}, line {number}", LINE_ANEW):
            row = _row(line)
        if line.state == "complete" and line.valid_auc is not None:
            best.append((line.valid_auc, row))
        else:
            others.append(row)
    if not lines:
        return None
    best.sort(key=lambda entry: -entry[0])
    shown = (*(row for _, row in best[:SHOWN]), *itertools.islice(others, SHOWN))
    return Trials(shown, len(lines))


def _row(trial: TrialLine) -> tuple[str, ...]:
    plan = CompressionPlan.from_json(trial.plan, known=False)
    chosen = ", ".join(f"{name} {choice_label(plan[name])}" for name in plan if str(plan[name]) != "full")
    complete = trial.state == "complete"
    said = (chosen or "all full") if complete else f"{trial.state}: {trial.error or chosen or DASH}"
    return (
        f"{trial.number}",
        _number(trial.valid_auc, 4),
        _number(trial.valid_logloss, 4),
        _number(trial.bytes, 0),
        _number(trial.epochs, 0),
        f"{math.fsum(trial.seconds.values()):,.1f}",
        said,
    )


def _number(value: float | None, decimals: int) -> str:
    return DASH if value is None else f"{value:,.{decimals}f}"
