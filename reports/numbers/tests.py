"""The statistics of the tables: pure functions of numbers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIGNIFICANCE = 0.05
MARGIN = 0.001  # of AUC: by no more than this may a strategy be worse than FE


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; nan of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation (n - 1 below); nan with fewer than two values."""
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def relative_improvement(ours: float, best: float, *, higher_is_better: bool) -> float:
    """By how many percent of ``best`` ours is better; negative where it is worse, nan where best is zero."""
    if best == 0:
        return math.nan
    return 100 * ((ours - best) if higher_is_better else (best - ours)) / best


def _has_spread(values: Sequence[float]) -> bool:
    # Values that differ by rounding alone would give a t statistic of pure noise.
    return deviation(values) > 1e-12 * max(1e-300, *(abs(value) for value in values))


def two_sample_p(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided p-value of Student's two-sample t-test (equal variances, the paper's test).

    Returns:
        The p-value; nan where the test is undefined: fewer than two values on a side, or no spread on either.
    """
    if min(len(first), len(second)) < 2 or not (_has_spread(first) or _has_spread(second)):
        return math.nan
    from scipy import stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy warns of little spread; none was refused above
        return float(stats.ttest_ind(list(first), list(second)).pvalue)


def paired_p(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """The two-sided p-value of the t-test paired by seed, over the seeds that both sides have.

    Returns:
        The p-value; nan where the test is undefined: fewer than two common seeds, or equal differences.
    """
    return paired_difference(first, second).p_value


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Differences by seed, over the seeds that both sides have.

    Attributes:
        seeds: How many seeds.
        mean: Mean difference; nan without a common seed.
        deviation: Sample standard deviation of the differences; nan with fewer than two, 0 where they are equal but
            for rounding.
        low: Lower end of the 95 % t-interval of the mean; nan where the deviation is nan or 0, as for all below.
        high: Upper end.
        p_value: Two-sided p-value of the paired t-test.
    """

    seeds: int
    mean: float
    deviation: float
    low: float
    high: float
    p_value: float


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> PairedDifference:
    """The mean of first minus second over the seeds that both have, its interval and the t-test paired by seed."""
    differences, spread = _differences(first, second)
    count, centre = len(differences), mean(differences)
    if not spread > 0:
        return PairedDifference(count, centre, spread, math.nan, math.nan, math.nan)
    from scipy.special import stdtr, stdtrit

    error = spread / math.sqrt(count)
    reach = float(stdtrit(count - 1, 1 - SIGNIFICANCE / 2)) * error
    p_value = 2 * float(stdtr(count - 1, -abs(centre) / error))
    return PairedDifference(count, centre, spread, centre - reach, centre + reach, p_value)


def _differences(first: Mapping[int, float], second: Mapping[int, float]) -> tuple[list[float], float]:
    """The differences by seed and their deviation; 0 where rounding alone would be measured."""
    seeds = sorted(first.keys() & second.keys())
    differences = [first[seed] - second[seed] for seed in seeds]
    scale = max((abs(side[seed]) for side in (first, second) for seed in seeds), default=0.0)
    spread = deviation(differences)
    return differences, 0.0 if spread <= 1e-12 * scale else spread


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many tests were made (Holm 1979), in the same order.

    The i-th smallest of m is multiplied by m - i + 1, made no smaller than those before it, and at most 1. A nan is no
    test: it stays nan and does not count.
    """
    corrected = [math.nan] * len(p_values)
    tested = sorted((index for index, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, index in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


@dataclass(frozen=True, slots=True)
class NonInferiority:
    """Whether a strategy is worse than another one by no more than a margin.

    Attributes:
        seeds: How many common seeds.
        mean: Mean difference, strategy minus the other; nan without a common seed.
        low: Lower end of its one-sided 95 % interval; nan where undefined, as is the p-value.
        p_value: One-sided p-value of the paired t-test of "the mean difference is -margin or less".
        margin: The margin.
    """

    seeds: int
    mean: float
    low: float
    p_value: float
    margin: float

    @property
    def shown(self) -> bool:
        """Whether the strategy is shown to be no worse by more than the margin."""
        return self.p_value < SIGNIFICANCE

    @property
    def worse(self) -> bool:
        """Whether it is shown to be worse by more than the margin: the other side of the same test."""
        return self.p_value > 1 - SIGNIFICANCE


def non_inferiority(strategy: Mapping[int, float], base: Mapping[int, float], margin: float = MARGIN) -> NonInferiority:
    """Tests that a strategy is no worse than ``base`` by more than ``margin``; higher is better.

    Args:
        strategy: Seed to value.
        base: Seed to value of the strategy that it is measured against.
        margin: What may be lost.
    """
    differences, spread = _differences(strategy, base)
    count, centre = len(differences), mean(differences)
    if not spread > 0:
        return NonInferiority(count, centre, math.nan, math.nan, margin)
    from scipy.special import stdtr, stdtrit

    error = spread / math.sqrt(count)
    low = centre - float(stdtrit(count - 1, 1 - SIGNIFICANCE)) * error
    return NonInferiority(count, centre, low, float(stdtr(count - 1, -(centre + margin) / error)), margin)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ours against the best baseline on one metric.

    Attributes:
        baseline: The best baseline.
        improvement: Relative improvement over it in percent.
        p_two_sample: Two-sided p-value of the two-sample t-test, which decides the star; nan where undefined.
        p_paired: Two-sided p-value of the test paired by seed; nan where undefined.
        star: Whether ours is better and the two-sample p-value is below 0.05.
        reason: Why there is no star; empty where there is one.
    """

    baseline: str
    improvement: float
    p_two_sample: float
    p_paired: float
    star: bool
    reason: str


def best_of(samples: Mapping[str, Mapping[int, float]], *, higher_is_better: bool) -> str | None:
    """The strategy with the best mean over its seeds, the first of equals; None where no strategy has a value."""
    means = {name: mean(list(by_seed.values())) for name, by_seed in samples.items() if by_seed}
    if not means:
        return None
    return (max if higher_is_better else min)(means, key=lambda name: means[name])


def compare(
    ours: Mapping[int, float], baselines: Mapping[str, Mapping[int, float]], *, higher_is_better: bool
) -> Comparison | None:
    """Compares ours with the best baseline.

    Args:
        ours: Seed to value.
        baselines: Strategy to seed to value, without ours.
        higher_is_better: True for AUC, False for logloss.

    Returns:
        The comparison; None where ours or every baseline has no value.
    """
    baseline = best_of(baselines, higher_is_better=higher_is_better)
    if baseline is None or not ours:
        return None
    theirs = baselines[baseline]
    our_values, their_values = list(ours.values()), list(theirs.values())
    improvement = relative_improvement(mean(our_values), mean(their_values), higher_is_better=higher_is_better)
    p_value = two_sample_p(our_values, their_values)
    if min(len(ours), len(theirs)) < 2:
        reason = "a test needs at least 2 seeds on both sides"
    elif not improvement > 0:
        reason = "it is not better than the best baseline"
    elif math.isnan(p_value):
        reason = "the seeds do not differ, so that the test is undefined"
    elif p_value >= SIGNIFICANCE:
        reason = f"the difference is not significant at {SIGNIFICANCE}"
    else:
        reason = ""
    return Comparison(baseline, improvement, p_value, paired_p(ours, theirs), not reason, reason)
