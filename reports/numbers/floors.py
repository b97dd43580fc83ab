"""The floors of data sets and splits: what a model has to be better than."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autodpq.records.result import Floors
from reports.numbers.tests import deviation, mean
from reports.results import Scored


@dataclass(frozen=True, slots=True)
class FloorNumbers:
    """One floor.

    Attributes:
        key: Its name in CSV; no strategy is called so.
        title: The name that a reader sees.
        is_model: Whether it tells rows apart; else its AUC is that of chance.
        values: Key of a metric to its value on each split.
    """

    key: str
    title: str
    is_model: bool
    values: Mapping[str, tuple[float, ...]]

    def deviation(self, metric: str) -> float:
        """The sample standard deviation over splits; nan where these agree, as of chance they do."""
        values = self.values[metric]
        return deviation(values) if len(set(values)) > 1 else math.nan


def floors_of(runs: Sequence[Scored]) -> list[Floors]:
    """The floors of each split of the runs; none of what does not know both."""
    known = {run.split: run.floors for run in runs if run.floors is not None and run.floors.additive is not None}
    return list(known.values())


def floor_numbers(floors: Sequence[Floors]) -> list[FloorNumbers]:
    """The floors of some splits, the lowest first; none of no splits.

    Args:
        floors: One of each split; both are known.
    """
    if not floors:
        return []
    found = []
    for name, title in (("constant", "Constant"), ("additive", "Additive")):
        own = [getattr(one, name) for one in floors]
        values = {"auc": tuple(one.auc for one in own), "logloss": tuple(one.logloss for one in own)}
        found.append(FloorNumbers(f"floor-{name}", title, name == "additive", values))
    return found


@dataclass(frozen=True, slots=True)
class Below:
    """A strategy's mean over seeds that is worse than a floor's over the same.

    Attributes:
        strategy: The strategy.
        is_ranking: Whether its test AUC is below the additive model's; else its logloss is above the constant's.
        own: The strategy's value.
        floor: The floor's.
    """

    strategy: str
    is_ranking: bool
    own: float
    floor: float


def below_floors(runs: Sequence[Scored], strategies: Sequence[str]) -> list[Below]:
    """The strategies of one data set and model that are below a floor.

    Args:
        runs: The finished runs of that data set and model.
        strategies: The strategies to look at, in order.
    """
    found = []
    for strategy in strategies:
        rows = [run for run in runs if run.strategy == strategy]
        losses = [(run.test_logloss, run.floors.constant.logloss) for run in rows if run.floors is not None]
        aucs = [(run.test_auc, run.floors.additive.auc) for run in rows if run.floors and run.floors.additive]
        for is_ranking, pairs in ((False, losses), (True, aucs)):
            known = [(own, floor) for own, floor in pairs if own is not None]
            own, floor = (mean([pair[place] for pair in known]) for place in (0, 1))
            if own < floor if is_ranking else own > floor:
                found.append(Below(strategy, is_ranking, own, floor))
    return found
