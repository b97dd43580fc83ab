"""Differences by seed, Holm's correction, no worse than FE, and power: by hand, by scipy and by simulation."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reports.numbers.power import MOST_SEEDS, POWER, detectable_difference, power, seeds_needed
from reports.numbers.tests import MARGIN, holm, non_inferiority, paired_difference

aucs = st.floats(0.5, 0.99)
pairs = st.lists(st.tuples(aucs, aucs), min_size=2, max_size=8)
p_values = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def by_seed(values):
    return dict(enumerate(values))


def test_paired_difference_by_hand() -> None:
    # Differences 1, 2, 3 of the seeds 0, 1, 2: mean 2, deviation 1, error 1 / sqrt(3); t(0.975; 2) = 4.302653.
    result = paired_difference({0: 2.0, 1: 3.0, 2: 4.0, 8: 9.0}, {2: 1.0, 0: 1.0, 1: 1.0, 9: 5.0})
    assert (result.seeds, result.mean, result.deviation) == (3, 2.0, 1.0)
    assert result.low == pytest.approx(2 - 4.302653 / math.sqrt(3), abs=1e-6)
    assert result.high == pytest.approx(2 + 4.302653 / math.sqrt(3), abs=1e-6)
    assert result.p_value == pytest.approx(0.074180, abs=1e-6)


@given(pairs)
def test_paired_difference_is_scipys(values: list[tuple[float, float]]) -> None:
    first, second = zip(*values, strict=True)
    result = paired_difference(by_seed(first), by_seed(second))
    if result.deviation > 1e-6:
        expected = stats.ttest_rel(first, second)
        interval = expected.confidence_interval(0.95)
        assert result.p_value == pytest.approx(expected.pvalue)
        assert (result.low, result.high) == (pytest.approx(interval.low), pytest.approx(interval.high))


@given(pairs)
def test_paired_difference_turned_round(values: list[tuple[float, float]]) -> None:
    first, second = (by_seed(side) for side in zip(*values, strict=True))
    there, back = paired_difference(first, second), paired_difference(second, first)
    same = (back.mean, back.deviation, back.p_value, -back.high, -back.low)
    assert (-there.mean, there.deviation, there.p_value, there.low, there.high) == pytest.approx(same, nan_ok=True)


def test_paired_difference_undefined() -> None:
    assert paired_difference({0: 0.8}, {1: 0.8}).seeds == 0
    assert math.isnan(paired_difference({0: 0.8}, {1: 0.8}).mean)
    one = paired_difference({0: 0.75}, {0: 0.5})
    assert (one.seeds, one.mean) == (1, 0.25)
    equal = paired_difference({0: 0.8, 1: 0.9}, {0: 0.7, 1: 0.8})
    assert (equal.seeds, equal.deviation) == (2, 0.0)
    for result in (one, equal):
        assert all(map(math.isnan, (result.low, result.high, result.p_value)))


def test_t_interval_covers() -> None:
    rng = np.random.default_rng(5)
    drawn = rng.normal(0.0004, 0.001, (4000, 3)).tolist()
    found = [paired_difference(by_seed(values), {0: 0.0, 1: 0.0, 2: 0.0}) for values in drawn]
    covered = np.mean([result.low <= 0.0004 <= result.high for result in found])
    assert abs(covered - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, 0.03 * 2 (raised to the one before), 0.04 * 1 (raised too).
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.05]) == [0.05]
    assert holm([]) == []


def test_holm_counts_no_nan() -> None:
    corrected = holm([0.01, math.nan, 0.02])
    assert corrected == pytest.approx([0.02, math.nan, 0.02], nan_ok=True)
    assert all(map(math.isnan, holm([math.nan, math.nan])))


@given(p_values)
def test_holm_is_no_smaller_and_keeps_the_order(values: list[float]) -> None:
    corrected = holm(values)
    assert [math.isnan(p) for p in corrected] == [math.isnan(p) for p in values]
    defined = sorted((raw, p) for raw, p in zip(values, corrected, strict=True) if not math.isnan(raw))
    assert all(raw <= p <= 1 for raw, p in defined)
    assert all(left[1] <= right[1] for left, right in itertools.pairwise(defined))


@given(p_values, st.randoms(use_true_random=False))
def test_holm_moves_with_its_p_values(values: list[float], random) -> None:
    order = random.sample(range(len(values)), len(values))
    moved, corrected = holm([values[index] for index in order]), holm(values)
    assert moved == pytest.approx([corrected[index] for index in order], nan_ok=True)


def test_holm_rejects_what_the_steps_reject() -> None:
    """As Holm gives it: the smallest against 0.05 / m, the next against 0.05 / (m - 1), until one fails."""
    rng = np.random.default_rng(3)
    for values in rng.beta(0.3, 2, (300, 5)).tolist():
        rejected = set()
        for rank, index in enumerate(np.argsort(values)):
            if values[index] > 0.05 / (len(values) - rank):
                break
            rejected.add(index)
        assert {index for index, p in enumerate(holm(values)) if p <= 0.05} == rejected


def test_holm_holds_the_chance_of_any_false_alarm() -> None:
    values = np.random.default_rng(2).random((4000, 5)).tolist()
    alarms = np.mean([min(holm(row)) < 0.05 for row in values])
    assert abs(alarms - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 4000)


def test_non_inferiority_by_hand() -> None:
    # Differences -1, 0, 1 and a margin of 2: t = 2 / (1 / sqrt(3)) = 3.4641 with 2 degrees of freedom.
    test = non_inferiority({0: 0.0, 1: 1.0, 2: 2.0}, {0: 1.0, 1: 1.0, 2: 1.0}, margin=2.0)
    assert (test.seeds, test.mean, test.margin) == (3, 0.0, 2.0)
    assert test.p_value == pytest.approx(0.074180 / 2, abs=1e-6)
    assert test.low == pytest.approx(-2.919986 / math.sqrt(3), abs=1e-6)
    assert test.shown and not test.worse


@given(pairs, st.floats(0, 0.1))
def test_non_inferiority_is_scipys(values: list[tuple[float, float]], margin: float) -> None:
    first, second = zip(*values, strict=True)
    test = non_inferiority(by_seed(first), by_seed(second), margin)
    if not math.isnan(test.p_value) and np.std(np.subtract(first, second)) > 1e-6:
        expected = stats.ttest_1samp(np.subtract(first, second), -margin, alternative="greater")
        assert test.p_value == pytest.approx(expected.pvalue, abs=1e-12)
        assert test.low == pytest.approx(expected.confidence_interval(0.95).low)
        assert test.shown == (test.p_value < 0.05) == (test.low > -margin)
        assert not (test.shown and test.worse)


def test_non_inferiority_undefined() -> None:
    for strategy, base in (({0: 0.8}, {0: 0.7}), ({}, {0: 0.7}), ({0: 0.8, 1: 0.9}, {0: 0.7, 1: 0.8})):
        test = non_inferiority(strategy, base)
        assert math.isnan(test.p_value) and not test.shown and not test.worse
    assert MARGIN == 0.001


@pytest.mark.parametrize(("true_mean", "expected"), [(-MARGIN, 0.05), (-0.002, 0.0), (0.001, None)])
def test_non_inferiority_errs_as_often_as_it_says(true_mean: float, expected: float | None) -> None:
    """At the margin one study in twenty shows it, beyond hardly any, far inside as many as the noncentral t says."""
    drawn = np.random.default_rng(4).normal(true_mean, 0.001, (4000, 5)).tolist()
    base = {seed: 0.0 for seed in range(5)}
    shown = np.mean([non_inferiority(by_seed(values), base).shown for values in drawn])
    if expected is None:
        expected = float(stats.nct.sf(stats.t.ppf(0.95, 4), 4, 2 * math.sqrt(5)))
    assert abs(shown - expected) < max(0.005, 4 * math.sqrt(expected * (1 - expected) / 4000))


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 10, 30, 1000])
@pytest.mark.parametrize("centre", [0.0, 0.5, 1.0, 2.0, 2.8, 4.0])
def test_power_is_the_noncentral_t(seeds: int, centre: float) -> None:
    critical = stats.t.ppf(0.975, seeds - 1)
    expected = stats.nct.sf(critical, seeds - 1, centre) + stats.nct.cdf(-critical, seeds - 1, centre)
    assert power(centre / math.sqrt(seeds), 1.0, seeds) == pytest.approx(expected, abs=1e-9)
    assert power(-centre / math.sqrt(seeds), 1.0, seeds) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_power_by_simulation(seeds: int) -> None:
    difference = detectable_difference(0.0007, seeds)
    assert power(difference, 0.0007, seeds) == pytest.approx(POWER, abs=1e-9)
    drawn = np.random.default_rng(seeds).normal(difference, 0.0007, (20_000, seeds))
    found = np.mean(stats.ttest_1samp(drawn, 0.0, axis=1).pvalue < 0.05)
    assert abs(found - POWER) < 4 * math.sqrt(POWER * (1 - POWER) / 20_000)


def test_power_far_out() -> None:
    """Where scipy 1.17's own tails are nan."""
    for seeds, centre in itertools.product((2, 3, 5, 50, 100_000), (10.0, 15.0, 28.0, 37.0, 40.0, 1e6, 1e300)):
        value = power(centre / math.sqrt(seeds), 1.0, seeds)
        assert 0.5 < value <= 1 and (seeds == 2 or value > 0.99)


def test_detectable_difference_as_in_tables() -> None:
    # Textbooks: a paired t-test of n = 10 at 0.05 finds 1.0 deviations with power 0.80, of n = 34 half a deviation.
    assert detectable_difference(1.0, 10) == pytest.approx(1.0, abs=0.005)
    assert detectable_difference(2.0, 10) == pytest.approx(2 * detectable_difference(1.0, 10))
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(-0.001, 0.002) == 34


@given(st.floats(1e-6, 0.1), st.floats(1e-6, 0.1))
def test_seeds_needed_are_the_fewest(difference: float, spread: float) -> None:
    seeds = seeds_needed(difference, spread)
    if math.isinf(seeds):
        assert power(difference, spread, MOST_SEEDS) < POWER
    else:
        assert power(difference, spread, int(seeds)) >= POWER
        assert seeds == 2 or power(difference, spread, int(seeds) - 1) < POWER


def test_power_undefined() -> None:
    for spread, seeds in ((0.1, 1), (0.0, 5), (math.nan, 5), (0.1, 0)):
        assert math.isnan(detectable_difference(spread, seeds))
        assert math.isnan(power(0.1, spread, seeds))
    assert math.isnan(seeds_needed(0.1, math.nan)) and math.isnan(seeds_needed(math.nan, 0.1))
    assert math.isinf(seeds_needed(0.0, 0.1)) and math.isnan(seeds_needed(0.0, 0.0))
