"""What strategies dominate over all budgets of a replay."""

from __future__ import annotations

import math

from reports.names import display_name
from reports.numbers.attainment import dominated, dominated_by, known_front, searched_fronts
from reports.numbers.regret import Replayed
from reports.tables.render import Cell, Grid, Table

_COLUMNS = ("dataset", "model", "strategy", "searches", "hypervolume", "hypervolume_low", "hypervolume_high", "share")
_SHOWN = ("Strategy", "Searches", "Hypervolume", "Of the best front")


def fronts_table(replayed: Replayed) -> Table:
    """The hypervolume of each strategy's plans within all budgets.

    Returns:
        One grid, or none where fewer than two budgets were searched; a tidy row per strategy.
    """
    fronts = searched_fronts(replayed)
    if not fronts:
        return Table((), _COLUMNS, ())
    about, whole = replayed.about, dominated(replayed, known_front(replayed))
    rows, tidy = [], []
    for name, own in fronts.items():
        found = dominated_by(replayed, own)
        interval = "" if math.isnan(found.low) else f" [{found.low:.5f}, {found.high:.5f}]"
        share = found.mean / whole if whole else math.nan
        shown = display_name(name), f"{len(own):,}", f"{found.mean:.5f}{interval}", f"{100 * share:.1f} %"
        rows.append(tuple(map(Cell, shown)))
        tidy.append(
            {
                "dataset": about.dataset, "model": about.model, "strategy": name, "searches": len(own),
                "hypervolume": found.mean, "hypervolume_low": found.low, "hypervolume_high": found.high, "share": share,
            }
        )  # fmt: skip
    notes = (
        "Hypervolume: powers of ten by which the plans within all budgets are smaller than FE, times mean test AUC "
        f"above the table's worst, {about.worst_test_auc:.4f}; interquartile mean over searches with a 95 % "
        f"stratified bootstrap interval. The table's best front, all sizes: {whole:.5f}.",
    )
    title = f"Fronts: {about.dataset}, {about.model}, {len(about.best)} budgets"
    return Table((Grid(title, _SHOWN, tuple(rows), notes=notes),), _COLUMNS, tuple(tidy))
