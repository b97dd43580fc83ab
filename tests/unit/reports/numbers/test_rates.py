"""How often intervals cover and tests err, by as many simulations as tell 95 % from 94: run as slow."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.stats import binomtest, norm

from reports.numbers.bootstrap import LEVEL, RankedPredictions, bootstrap_differences
from reports.numbers.power import detectable_difference, power, seeds_needed
from reports.numbers.tests import MARGIN, SIGNIFICANCE, holm, non_inferiority, paired_difference, paired_p

pytestmark = pytest.mark.slow

CHANCE = 1e-3  # of a test here to fail though all is well; the seeds are fixed


def by_seed(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


def assert_rate(count: int, of: int, rate: float) -> None:
    """A count is what a rate gives, by the exact binomial test."""
    assert binomtest(count, of, rate).pvalue > CHANCE, f"{count} of {of}: {count / of:.4f}, not {rate:.4f}"


@pytest.mark.parametrize(("rows", "clicks"), [(2000, 0.5), (4000, 0.1)])
def test_bootstrap_interval_covers_as_often_as_it_says(rows: int, clicks: float) -> None:
    """Two networks' scores that are alike in part, as those of one recipe are; their true AUCs are known."""
    rng, separations, own = np.random.default_rng(rows), (1.0, 0.95), 0.3
    first, second = (float(norm.cdf(apart / math.sqrt(2 * (1 + own)))) for apart in separations)
    covered, studies = 0, 600
    for number in range(studies):
        labels = (rng.random(rows) < clicks).astype(np.uint8)
        shared = rng.standard_normal(rows)

        def run(
            apart: float, labels: npt.NDArray[np.uint8] = labels, shared: npt.NDArray[np.float64] = shared
        ) -> RankedPredictions:
            return RankedPredictions(labels, apart * labels + shared + math.sqrt(own) * rng.standard_normal(rows))

        (interval,) = bootstrap_differences(run(separations[0]), [run(separations[1])], rows, seed=number)
        covered += interval.low <= first - second <= interval.high
    assert_rate(covered, studies, LEVEL)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("spread", [0.0003, 0.002])
def test_at_the_margin_no_more_than_one_study_in_twenty_is_shown_to_be_no_worse(seeds: int, spread: float) -> None:
    """The type I error; and its other side, that of being shown to be worse, is as rare there."""
    studies, base = 40_000, dict.fromkeys(range(seeds), 0.0)
    drawn = np.random.default_rng([seeds, round(1e4 * spread)]).normal(-MARGIN, spread, (studies, seeds)).tolist()
    found = [non_inferiority(by_seed(values), base) for values in drawn]
    assert_rate(sum(test.shown for test in found), studies, SIGNIFICANCE)
    assert_rate(sum(test.worse for test in found), studies, SIGNIFICANCE)


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_the_paired_test_errs_and_covers_as_often_as_it_says(seeds: int) -> None:
    studies, rng = 40_000, np.random.default_rng(seeds)
    theirs = rng.normal(0.8, 0.002, (studies, seeds))
    ours = theirs + rng.normal(0.0, 0.0007, (studies, seeds))
    found = [paired_difference(by_seed(a), by_seed(b)) for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)]
    assert_rate(sum(one.p_value < SIGNIFICANCE for one in found), studies, SIGNIFICANCE)
    assert_rate(sum(one.low <= 0.0 <= one.high for one in found), studies, 0.95)
    expected = stats.ttest_rel(ours, theirs, axis=1).pvalue
    np.testing.assert_allclose([one.p_value for one in found], expected, rtol=1e-6)


@pytest.mark.parametrize("seeds", [2, 3, 6, 12])
@pytest.mark.parametrize("difference", [0.0003, 0.001])
def test_power_is_how_often_the_paired_test_finds_a_difference(seeds: int, difference: float) -> None:
    studies, spread, base = 20_000, 0.0007, dict.fromkeys(range(seeds), 0.0)
    drawn = np.random.default_rng([seeds, round(1e4 * difference)]).normal(difference, spread, (studies, seeds))
    found = sum(paired_p(by_seed(values), base) < SIGNIFICANCE for values in drawn.tolist())
    assert_rate(found, studies, power(difference, spread, seeds))
    assert seeds_needed(detectable_difference(spread, seeds), spread) in (seeds, seeds + 1)  # equal but for rounding


def test_holm_is_its_definition_and_holds_the_chance_of_any_false_alarm() -> None:
    """With some hypotheses false, too, which is where a correction that is too large by rank shows."""
    studies, tests, true = 40_000, 6, 4
    rng = np.random.default_rng(6)
    drawn = rng.random((studies, tests))
    drawn[:, true:] = rng.beta(0.05, 1.0, (studies, tests - true))
    corrected = np.array([holm(row) for row in drawn.tolist()])
    order = drawn.argsort(axis=1)
    steps = np.take_along_axis(drawn, order, 1) * (tests - np.arange(tests))
    expected = np.empty_like(drawn)
    np.put_along_axis(expected, order, np.minimum(1.0, np.maximum.accumulate(steps, axis=1)), 1)
    np.testing.assert_allclose(corrected, expected, rtol=1e-12)
    alarms = int((corrected[:, :true] < SIGNIFICANCE).any(axis=1).sum())
    assert binomtest(alarms, studies, SIGNIFICANCE, alternative="greater").pvalue > CHANCE
    assert alarms > 0.8 * SIGNIFICANCE * studies, "it would find less than it may"
