"""Ranks of strategies whose searches were replayed, and whether they can be told apart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autodpq.records.replay import ReplayedRun
from reports.numbers.bootstrap import LEVEL
from reports.numbers.regret import Rows, final_regret


@dataclass(frozen=True)
class Ranks:
    """Ranks of strategies, search seed by search seed, 1 the least regret; equal ones share their mean rank.

    Attributes:
        mean: Mean rank by strategy.
        seeds: How many search seeds.
        p_value: Of Friedman's test that all strategies are alike; nan for fewer than three strategies, or where all
            ranks are equal.
        critical: By how much two mean ranks must differ to be told apart at 5 %, by Nemenyi's test; nan where the
            p-value is.
    """

    mean: Mapping[str, float]
    seeds: int
    p_value: float
    critical: float


def rank_strategies(by_strategy: Mapping[str, Sequence[ReplayedRun]], rows: Rows) -> Ranks | None:
    """Ranks the strategies that have the search seeds of the one that has most; None where fewer than two do.

    Args:
        by_strategy: Searches within one budget.
        rows: By which regret of the plans that they gave back.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    seeds = {name: [run.seed for run in runs] for name, runs in by_strategy.items()}
    most = max(seeds.values(), key=len, default=[])
    names = [name for name in by_strategy if seeds[name] == most]
    if len(names) < 2:
        return None
    regrets = np.array([[final_regret(run, rows) for run in by_strategy[name]] for name in names])
    ranks = rankdata(regrets, axis=0)
    p_value = critical = math.nan
    n_strategies, n_seeds = ranks.shape
    if n_strategies > 2 and np.ptp(ranks) > 0 and n_seeds > 1:
        p_value = float(friedmanchisquare(*regrets).pvalue)
        # Demsar, JMLR 2006, eq. 5 ff.
        q = float(studentized_range.ppf(LEVEL, n_strategies, np.inf)) / math.sqrt(2)
        critical = q * math.sqrt(n_strategies * (n_strategies + 1) / (6 * n_seeds))
    means: Iterable[float] = ranks.mean(axis=1).tolist()
    return Ranks(dict(zip(names, means, strict=True)), n_seeds, p_value, critical)
