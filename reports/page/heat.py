"""Plans as a table: what each strategy chose for the rare values of each field."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from reports.figures.plans import Panel, Plans, RareField
from reports.names import display_name
from reports.numbers.tests import mean
from reports.page.palette import HEAT_STEPS


@dataclass(frozen=True, slots=True)
class PlanCell:
    """What a strategy chose for a field.

    Attributes:
        choices: Each choice and in how many runs it was made: the most frequent first, of equally frequent ones that of
            fewer bits.
        runs: How many runs there are.
        heat: The class of the colour, by bits stored per value.
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


def plan_rows(plans: Plans) -> list[PlanRow]:
    """Fields by strategies."""
    return [
        PlanRow(field.name, _rare(field), tuple(_cell(panel, field.name, plans.most) for panel in plans.panels))
        for field in plans.fields
    ]


def _rare(field: RareField) -> str:
    least, most = field.sizes[0], field.sizes[-1]
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _cell(panel: Panel, name: str, most: int) -> PlanCell | None:
    chosen = [(seed, tile) for seed, tile in zip(panel.seeds, panel.tiles[name], strict=True) if tile]
    if not chosen:
        return None
    bits = mean([tile.bits for _, tile in chosen])
    # From one bit to a full row: fields with few rare values can store more per value than that.
    share = min(max(math.log(bits) / math.log(most), 0.0), 1.0) if bits > 0 else 0.0
    by_bits = sorted((tile for _, tile in chosen), key=lambda tile: tile.bits)
    counted = Counter(tile.label for tile in by_bits).most_common()
    lines = [f"{display_name(panel.strategy)}, {name}"]
    for label, count in counted:
        seeds = ", ".join(str(seed) for seed, tile in chosen if tile.label == label)
        lines.append(f"{label}: {count} of {len(chosen)} runs (seed {seeds})")
    lines.append(f"{bits:,.1f} bits stored per value" + (", mean" if len(chosen) > 1 else ""))
    return PlanCell(tuple(counted), len(chosen), f"h{min(int(share * HEAT_STEPS), HEAT_STEPS - 1)}", "\n".join(lines))
