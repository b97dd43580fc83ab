"""Statistics against scipy and numbers worked out by hand."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_rel

from reports.numbers.tests import best_of, compare, deviation, mean, paired_p, relative_improvement, two_sample_p

aucs = st.floats(0.5, 0.99)


def test_mean_and_deviation_by_hand() -> None:
    assert mean([0.1, 0.2, 0.6]) == pytest.approx(0.3)
    assert deviation([1.0, 2.0, 3.0, 4.0]) == pytest.approx(math.sqrt(5 / 3))
    assert math.isnan(mean([]))
    assert math.isnan(deviation([0.5]))


@given(st.lists(aucs, min_size=2, max_size=8))
def test_deviation_is_the_sample_deviation(values: list[float]) -> None:
    assert deviation(values) == pytest.approx(statistics.stdev(values), abs=1e-12)


def test_relative_improvement_as_the_paper_prints_it() -> None:
    assert round(relative_improvement(0.8147, 0.8112, higher_is_better=True), 2) == 0.43
    assert round(relative_improvement(0.5141, 0.5193, higher_is_better=False), 2) == 1.00
    assert relative_improvement(0.8, 0.81, higher_is_better=True) < 0
    assert math.isnan(relative_improvement(1.0, 0.0, higher_is_better=True))


def test_two_sample_by_hand() -> None:
    # t = (2 - 5) / sqrt(1 * 2 / 3) = -3.674 with 4 degrees of freedom
    assert two_sample_p([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(0.021312, abs=1e-6)


def test_paired_by_hand() -> None:
    # differences 1, 2, 3: t = 2 / (1 / sqrt(3)) = 3.464 with 2 degrees of freedom
    p_value = paired_p({0: 1.0, 1: 2.0, 2: 3.0}, {2: 0.0, 0: 0.0, 1: 0.0})
    assert p_value == pytest.approx(0.074180, abs=1e-6)


@pytest.mark.filterwarnings("ignore:Precision loss")
@given(st.lists(st.tuples(aucs, aucs), min_size=2, max_size=6))
def test_p_values_are_scipys(pairs: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    measured = two_sample_p(first, second)
    if not math.isnan(measured):
        assert measured == pytest.approx(ttest_ind(first, second, equal_var=True).pvalue, nan_ok=True)
    paired = paired_p(dict(enumerate(first)), dict(enumerate(second)))
    if not math.isnan(paired):
        assert paired == pytest.approx(ttest_rel(first, second).pvalue)


def test_undefined_tests() -> None:
    assert math.isnan(two_sample_p([0.8], [0.7, 0.71]))
    assert math.isnan(two_sample_p([0.8, 0.8], [0.7, 0.7]))
    assert math.isnan(paired_p({0: 0.8, 1: 0.9}, {2: 0.7, 3: 0.8}))
    assert math.isnan(paired_p({0: 0.8, 1: 0.9}, {0: 0.7, 1: 0.8}))


def test_pairs_only_common_seeds() -> None:
    first, second = {0: 0.81, 1: 0.83, 2: 0.82}, {1: 0.80, 2: 0.81, 9: 0.1}
    assert paired_p(first, second) == pytest.approx(ttest_rel([0.83, 0.82], [0.80, 0.81]).pvalue)


def test_best_of() -> None:
    samples = {"a": {0: 0.7, 1: 0.9}, "b": {0: 0.81}, "c": {}}
    assert best_of(samples, higher_is_better=True) == "b"
    assert best_of(samples, higher_is_better=False) == "a"
    assert best_of({"c": {}}, higher_is_better=True) is None


def test_star_needs_better_and_significant() -> None:
    baselines = {"fe": {0: 0.800, 1: 0.801, 2: 0.802}, "grid": {0: 0.7, 1: 0.7, 2: 0.7}}
    better = compare({0: 0.810, 1: 0.811, 2: 0.812}, baselines, higher_is_better=True)
    assert better is not None
    assert (better.baseline, better.star, better.reason) == ("fe", True, "")
    worse = compare({0: 0.710, 1: 0.711, 2: 0.712}, baselines, higher_is_better=True)
    assert worse is not None
    assert not worse.star and "not better" in worse.reason and worse.p_two_sample < 0.05
    close = compare({0: 0.800, 1: 0.801, 2: 0.803}, baselines, higher_is_better=True)
    assert close is not None
    assert not close.star and "not significant" in close.reason


def test_reasons_without_a_test() -> None:
    single = compare({0: 0.9}, {"fe": {0: 0.8}}, higher_is_better=True)
    assert single is not None and not single.star and "2 seeds" in single.reason
    constant = compare({0: 0.9, 1: 0.9}, {"fe": {0: 0.8, 1: 0.8}}, higher_is_better=True)
    assert constant is not None and not constant.star and "do not differ" in constant.reason
    assert compare({}, {"fe": {0: 0.8}}, higher_is_better=True) is None
    assert compare({0: 0.8}, {"fe": {}}, higher_is_better=True) is None


@given(
    st.lists(aucs, min_size=1, max_size=4),
    st.dictionaries(st.sampled_from("abc"), st.lists(aucs, min_size=1, max_size=4), min_size=1),
    st.booleans(),
)
def test_star_and_reason_exclude_each_other(
    ours: list[float], theirs: dict[str, list[float]], higher_is_better: bool
) -> None:
    baselines = {name: dict(enumerate(values)) for name, values in theirs.items()}
    result = compare(dict(enumerate(ours)), baselines, higher_is_better=higher_is_better)
    assert result is not None
    assert result.star == (not result.reason)
    if result.star:
        assert result.p_two_sample < 0.05 and result.improvement > 0
