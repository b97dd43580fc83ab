"""Fronts of bytes and AUC: how much a strategy's models dominate, over all budgets at once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from reports.names import within
from reports.numbers.summary import samples_by_seed
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
    names = [within(strategy, budget) for budget in budgets]
    known = [samples_by_seed(records, ["fe", *names], column) for column in ("bytes", "test_auc", "additive_auc")]
    sizes, aucs, floors = known
    seeds = set.intersection(set(sizes["fe"]), *(set(own[name]) for own in known for name in names))
    values = {
        seed: hypervolume(
            [sizes[name][seed] for name in names],
            [aucs[name][seed] for name in names],
            sizes["fe"][seed],
            floors[names[0]][seed],
        )
        for seed in seeds
    }
    return paired_difference(values, dict.fromkeys(values, 0.0)) if values else None
