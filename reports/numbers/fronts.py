"""Fronts of bytes and AUC: how much a strategy's models dominate, over all budgets at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from reports.names import within
from reports.numbers.tests import PairedDifference, paired_difference


def hypervolume(sizes: Sequence[float], aucs: Sequence[float], full: float, floor: float) -> float:
    """The area that models dominate: powers of ten by which they are smaller, times AUC above a floor.

    Args:
        sizes: Bytes of the models.
        aucs: Their AUC.
        full: Bytes from which on a model counts for nothing.
        floor: The AUC up to which it counts for nothing.
    """
    import moocore

    points = [[math.log10(size), -auc] for size, auc in zip(sizes, aucs, strict=True)]
    return float(moocore.hypervolume(points, ref=[math.log10(full), -floor]))


def hypervolume_of(records: pd.DataFrame, strategy: str, budgets: Sequence[float]) -> PairedDifference | None:
    """The mean over seeds of what a strategy's models within all budgets dominate together, and its interval.

    FE's bytes and the additive model's AUC are where it begins.

    Args:
        records: Those of a dataset and model.
        strategy: The strategy, without a budget.
        budgets: The budgets; a seed that lacks one is left out.

    Returns:
        None where no seed has all of it.
    """
    full = records[records["strategy"] == "fe"].set_index("seed")["bytes"]
    own = records[records["strategy"].isin([within(strategy, budget) for budget in budgets])].dropna(
        subset=["test_auc", "additive_auc"]
    )
    values = {}
    for seed in sorted(set(own["seed"].tolist()) & set(full.index)):
        models = own[own["seed"] == seed]
        if len(models) == len(budgets):
            floor = models["additive_auc"].iloc[0]
            values[seed] = hypervolume([*models["bytes"]], [*models["test_auc"]], full[seed], floor)
    return paired_difference(values, dict.fromkeys(values, 0.0)) if values else None
