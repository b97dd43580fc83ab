"""The numbers of a table: one metric of one dataset and model over strategies and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.names import AUTODPQ
from reports.numbers import tests as stats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the tables.

    Attributes:
        key: Its name in CSV and in the paper's numbers.
        title: Its title, with the unit.
        column: Its column in the records.
        decimals: Decimals to print.
        higher_is_better: How strategies are ranked by it; None for a cost, which is shown and not ranked.
    """

    key: str
    title: str
    column: str
    decimals: int
    higher_is_better: bool | None = None


AUC = Metric("auc", "AUC", "test_auc", 4, True)
LOGLOSS = Metric("logloss", "Logloss", "test_logloss", 4, False)
SPACE = Metric("space", "Space", "parameters", 0)
BYTES = Metric("bytes", "Bytes", "bytes", 0)
EPOCHS = Metric("epochs", "Epochs", "epochs", 1)
SECONDS = Metric("seconds", "Time, s", "seconds", 1)
TIME_IN_FE = Metric("time_in_fe", "x FE", "time_in_fe", 1)


@dataclass(frozen=True, slots=True)
class Summary:
    """One metric over strategies and seeds.

    Attributes:
        metric: The metric.
        samples: Strategy to seed to value; a strategy without a value has an empty entry.
        best: The strategies with the best mean; empty for a cost.
        best_baseline: The best strategy that is not ours; None for a cost, or where there is none or not ours.
        comparison: Ours against the best baseline; None for a cost, or where one of the two is missing.
    """

    metric: Metric
    samples: Mapping[str, Mapping[int, float]]
    best: frozenset[str]
    best_baseline: str | None
    comparison: stats.Comparison | None

    def mean(self, strategy: str) -> float:
        """The mean over seeds; nan without a value."""
        return stats.mean(list(self.samples[strategy].values()))

    def deviation(self, strategy: str) -> float:
        """The sample standard deviation over seeds; nan with fewer than two."""
        return stats.deviation(list(self.samples[strategy].values()))


def summarize(records: pd.DataFrame, strategies: Sequence[str], metric: Metric) -> Summary:
    """Summarizes one metric.

    Args:
        records: The rows of one dataset and model.
        strategies: The strategies to compare, in order.
        metric: The metric.
    """
    samples = samples_by_seed(records, strategies, metric.column)
    higher = metric.higher_is_better
    leader = None if higher is None else stats.best_of(samples, higher_is_better=higher)
    if higher is None or leader is None:
        return Summary(metric, samples, frozenset(), None, None)
    means = {strategy: stats.mean(list(values.values())) for strategy, values in samples.items()}
    # The only one that ran is not the best of anything.
    ranked = sum(map(bool, samples.values())) > 1
    best = frozenset(strategy for strategy in strategies if ranked and means[strategy] == means[leader])
    baselines = {strategy: values for strategy, values in samples.items() if strategy != AUTODPQ}
    comparison = stats.compare(samples.get(AUTODPQ, {}), baselines, higher_is_better=higher)
    return Summary(metric, samples, best, comparison.baseline if comparison else None, comparison)


def samples_by_seed(records: pd.DataFrame, strategies: Sequence[str], column: str) -> dict[str, dict[int, float]]:
    """Strategy to seed to value; a strategy without a value has an empty entry.

    Args:
        records: The rows of one dataset and model.
        strategies: The strategies to take, in order.
        column: The column of the records.
    """
    samples: dict[str, dict[int, float]] = {strategy: {} for strategy in strategies}
    columns: list[list[Any]] = [records[name].tolist() for name in ("strategy", "seed", column)]
    for strategy, seed, value in zip(*columns, strict=True):
        if strategy in samples and not math.isnan(value):
            samples[strategy][seed] = value
    return samples


def format_number(value: float, decimals: int) -> str:
    """A number with thousands separated; from ten million on in millions."""
    if abs(value) >= 1e7:
        return f"{value / 1e6:,.1f}M"
    return f"{value:,.{decimals}f}"


def format_measured(mean: float, deviation: float, decimals: int) -> str:
    """``mean ± std``; the mean alone with one seed, or for a count that is the same for every seed."""
    decimals = 0 if decimals == 1 and abs(mean) >= 100 else decimals
    if decimals <= 1 and mean == round(mean) and (math.isnan(deviation) or deviation == 0):
        return format_number(mean, 0)
    if math.isnan(deviation):
        return format_number(mean, decimals)
    # Both in one unit: "49.1M ± 0.2M".
    if abs(mean) >= 1e7:
        return f"{format_number(mean, decimals)} ± {deviation / 1e6:,.1f}M"
    return f"{format_number(mean, decimals)} ± {format_number(deviation, decimals)}"
