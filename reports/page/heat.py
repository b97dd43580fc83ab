"""Plans as a table: what each strategy chose for the rare values of each field."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from autodpq.choices.base import FLOAT_BITS
from reports.figures.plans import choice_label, rare_bits_per_value
from reports.names import display_name, in_order
from reports.numbers.tests import mean
from reports.page.palette import HEAT_STEPS
from reports.results import FieldResult, RunResult, StudyResults


@dataclass(frozen=True, slots=True)
class PlanCell:
    """What a strategy chose for a field.

    Attributes:
        choices: Each choice and in how many runs it was made, the most frequent first.
        runs: How many runs there are.
        heat: The class of the colour, by bits stored per rare value.
        tip: All of it in words, line by line.
    """

    choices: tuple[tuple[str, int], ...]
    runs: int
    heat: str
    tip: str


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A field, how many rare values it has, and a cell for each strategy (None where no run has the field)."""

    field: str
    rare: str
    cells: tuple[PlanCell | None, ...]


@dataclass(frozen=True, slots=True)
class PlanTable:
    """Fields by strategies.

    Attributes:
        strategies: The columns.
        rows: The fields with rare values.
        uniform: The fields without, which are always full.
        most: Bits of the right end of the scale of colours: a full row's.
    """

    strategies: tuple[str, ...]
    rows: tuple[PlanRow, ...]
    uniform: tuple[str, ...]
    most: int


def plan_table(study: StudyResults, dataset: str, model: str) -> PlanTable | None:
    """The plans of a dataset and model; None where no field has rare values."""
    runs = study.runs_of(dataset, model)
    entries = [entry for run in runs for entry in run.fields]
    names = list(dict.fromkeys(entry.field.name for entry in entries if entry.field.tail))
    if not names:
        return None
    most = FLOAT_BITS * max(entry.embedding_dim for entry in entries)
    strategies = in_order(run.strategy for run in runs)
    own = {strategy: [run for run in runs if run.strategy == strategy] for strategy in strategies}
    rows = tuple(
        PlanRow(
            name, _rare(entries, name), tuple(_cell(own[strategy], name, strategy, most) for strategy in strategies)
        )
        for name in names
    )
    uniform = tuple(dict.fromkeys(entry.field.name for entry in entries if entry.field.name not in names))
    return PlanTable(tuple(strategies), rows, uniform, most)


def _rare(entries: Sequence[FieldResult], name: str) -> str:
    sizes = sorted({entry.field.tail for entry in entries if entry.field.name == name})
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"


def _cell(runs: Sequence[RunResult], name: str, strategy: str, most: int) -> PlanCell | None:
    chosen = [
        (run.seed, entry) for run in runs for entry in run.fields if entry.field.name == name and entry.field.tail
    ]
    if not chosen:
        return None
    bits = mean([rare_bits_per_value(entry) for _, entry in chosen])
    # From one bit to a full row: fields with few rare values can store more per value than that.
    share = min(max(math.log(bits) / math.log(most), 0.0), 1.0) if bits > 0 else 0.0
    counted = Counter(choice_label(entry.choice) for _, entry in chosen).most_common()
    lines = [f"{display_name(strategy)}, {name}"]
    for label, count in counted:
        seeds = ", ".join(str(seed) for seed, entry in chosen if choice_label(entry.choice) == label)
        lines.append(f"{label}: {count} of {len(chosen)} runs (seed {seeds})")
    lines.append(f"{bits:,.1f} bits stored per rare value" + (", mean" if len(chosen) > 1 else ""))
    return PlanCell(tuple(counted), len(chosen), f"h{min(int(share * HEAT_STEPS), HEAT_STEPS - 1)}", "\n".join(lines))
