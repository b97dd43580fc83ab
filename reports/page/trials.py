"""The trials of a run, as far as its card shows them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autodpq.errors import AutoDPQError
from autodpq.packed.manifest import strict_json
from autodpq.plan import CompressionPlan
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
    if not path.is_file():
        return None
    best: list[tuple[float, tuple[str, ...]]] = []
    others: list[tuple[str, ...]] = []
    count = 0
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                count += 1
                trial = strict_json(line)
                if trial["state"] == "complete":
                    best.append((float(trial["valid_auc"]), _row(trial)))
                else:
                    others.append(_row(trial))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, AutoDPQError) as error:
        reason = " ".join(str(error).split())[:300]
        raise AutoDPQError(
            f"{path}: line {max(count, 1)} is damaged ({reason}); remove the run's folder and run the study again"
        ) from None
    if not count:
        return None
    best.sort(key=lambda entry: -entry[0])
    shown = (*(row for _, row in best[:SHOWN]), *itertools.islice(others, SHOWN))
    return Trials(shown, count)


def _row(trial: Mapping[str, Any]) -> tuple[str, ...]:
    complete = trial["state"] == "complete"
    seconds = math.fsum(float(value) for value in trial["seconds"].values())
    plan = CompressionPlan.from_json(trial["plan"])
    chosen = ", ".join(f"{name} {choice_label(plan[name])}" for name in plan if str(plan[name]) != "full")
    said = (chosen or "all full") if complete else f"{trial['state']}: {trial['error'] or chosen or DASH}"
    return (
        f"{int(trial['number'])}",
        _number(trial["valid_auc"], 4),
        _number(trial["valid_logloss"], 4),
        _number(trial["bytes"], 0),
        _number(trial["epochs"], 0),
        f"{seconds:,.1f}",
        said,
    )


def _number(value: Any, decimals: int) -> str:
    return DASH if value is None else f"{float(value):,.{decimals}f}"
