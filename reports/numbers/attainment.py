"""Fronts of replayed searches: what they attain over all budgets at once, beside the front that is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reports.names import in_order
from reports.numbers.fronts import hypervolume
from reports.numbers.regret import InterquartileMean, Replayed, interquartile_mean

Floats = npt.NDArray[np.float64]
Front = tuple[tuple[int, float], ...]


def searched_fronts(replayed: Replayed) -> dict[str, dict[int, Front]]:
    """By strategy and search seed the bytes and mean test AUC of the plans that it gave back, one for each budget.

    A seed that lacks a budget is left out; nothing is there of a replay with fewer than two budgets.
    """
    known = {best.budget: best.test_auc for best in replayed.about.best}
    if len(known) < 2:
        return {}
    found: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for run in replayed.runs:
        if run.bytes is not None and run.test_regret is not None:
            point = run.bytes, known[run.budget] - run.test_regret
            found.setdefault(run.strategy, {}).setdefault(run.seed, []).append(point)
    whole = {
        name: {seed: tuple(points) for seed, points in found[name].items() if len(points) == len(known)}
        for name in in_order(found)
    }
    return {name: fronts for name, fronts in whole.items() if fronts}


def known_front(replayed: Replayed) -> Front:
    """The front of the whole table."""
    return tuple((plan.bytes, plan.test_auc) for plan in replayed.about.front)


def dominated(replayed: Replayed, front: Front) -> float:
    """The hypervolume of a front, which begins at FE's bytes and the worst plan's AUC."""
    sizes, aucs = zip(*front, strict=True)
    return hypervolume(sizes, aucs, replayed.about.fe_bytes, replayed.about.worst_test_auc)


def dominated_by(replayed: Replayed, fronts: Mapping[int, Front]) -> InterquartileMean:
    """The hypervolume of a strategy's fronts: interquartile mean over searches, as regret has it."""
    seeds = {run.seed: run.table_seed for run in replayed.runs}
    values = [dominated(replayed, front) for front in fronts.values()]
    return interquartile_mean(values, [seeds[seed] for seed in fronts])


@dataclass(frozen=True)
class Attained:
    """What shares of searches attain (the empirical attainment function, Grunert da Fonseca et al., EMO 2001).

    Attributes:
        bytes: Sizes, rising; what is attained at one holds until the next.
        low: AUC that three quarters of the searches attain with so many bytes.
        median: AUC that half of them attain.
        high: AUC that a quarter of them attains.
    """

    bytes: Floats
    low: Floats
    median: Floats
    high: Floats


def attained(fronts: Sequence[Front]) -> Attained:
    """The attainment surfaces of searches, from the size at which three quarters of them have a plan.

    Args:
        fronts: Of each search bytes and AUC, at least one search.
    """
    import moocore

    points = [(size, -auc) for front in fronts for size, auc in front]
    searches = [search for search, front in enumerate(fronts) for _ in front]
    surfaces = moocore.eaf(points, searches, percentiles=[75, 50, 25])
    sizes = np.unique(surfaces[:, 0])
    low, median, high = (_surface(surfaces[surfaces[:, 2] == percent], sizes) for percent in (75, 50, 25))
    has_plan = np.isfinite(low)
    return Attained(sizes[has_plan], low[has_plan], median[has_plan], high[has_plan])


def _surface(points: Floats, sizes: Floats) -> Floats:
    """The AUC that a surface has at some sizes; minus infinity below its first."""
    order = np.argsort(points[:, 0])
    heights = np.append(-np.inf, np.maximum.accumulate(-points[order, 1]))
    return np.asarray(heights[np.searchsorted(points[order, 0], sizes, side="right")], np.float64)
