"""DeLong's intervals against a plain double loop, against the bootstrap, and how often they cover."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from reports.numbers.bootstrap import RankedPredictions, bootstrap_differences
from reports.numbers.delong import Estimate, PairedAUC, paired_auc

Z = norm.ppf(0.975)
ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=2, max_size=8)


def plain(labels: np.ndarray, old: np.ndarray, new: np.ndarray) -> PairedAUC:
    """Equations 2 to 5 of the paper, pair by pair."""

    def wins(scores: np.ndarray) -> list[list[float]]:
        clicks, others = scores[labels == 1], scores[labels == 0]
        return [[1.0 if x > y else 0.5 if x == y else 0.0 for y in others] for x in clicks]

    pairs = [wins(old), wins(new)]
    m, n = len(pairs[0]), len(pairs[0][0])
    of_clicks = [[sum(row) / n for row in own] for own in pairs]
    of_others = [[sum(row[j] for row in own) / m for j in range(n)] for own in pairs]
    aucs = [sum(map(sum, own)) / (m * n) for own in pairs]
    s = np.zeros((2, 2))
    for r, t in itertools.product(range(2), repeat=2):
        tens = sum((of_clicks[r][i] - aucs[r]) * (of_clicks[t][i] - aucs[t]) for i in range(m)) / (m - 1)
        ones = sum((of_others[r][j] - aucs[r]) * (of_others[t][j] - aucs[t]) for j in range(n)) / (n - 1)
        s[r, t] = tens / m + ones / n
    variances = [*aucs, aucs[1] - aucs[0]], [s[0, 0], s[1, 1], s[0, 0] + s[1, 1] - 2 * s[0, 1]]
    made = [
        Estimate(value, value - Z * max(own, 0) ** 0.5, value + Z * max(own, 0) ** 0.5)
        for value, own in zip(*variances, strict=True)
    ]
    possible = (Estimate(own.value, max(own.low, 0), min(own.high, 1)) for own in made[:2])
    return PairedAUC(*possible, made[2])


def numbers(found: PairedAUC) -> list[float]:
    return [value for own in (found.old, found.new, found.difference) for value in (own.value, own.low, own.high)]


@given(ROWS, ROWS)
def test_as_the_paper_has_it(clicks: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    labels = np.array([1] * len(clicks) + [0] * len(others), np.uint8)
    old, new = np.array(clicks + others, float).T
    found = paired_auc(labels, old, new)
    # The root of a variance that rounding alone leaves is about 1e-8.
    assert numbers(found) == pytest.approx(numbers(plain(labels, old, new)), abs=1e-7)
    assert found.old.value == pytest.approx(roc_auc_score(labels, old), abs=1e-12)


def test_by_hand() -> None:
    # Old has one of four pairs wrong, new none: placements of clicks 1 and 1/2 against 1 and 1, of the others 1/2 and 1
    # against 1 and 1. Their variances are 1/8 each, over two rows each: 1/16 + 1/16 for the old AUC.
    found = paired_auc(np.array([1, 1, 0, 0]), np.array([4.0, 2.0, 3.0, 1.0]), np.array([4.0, 3.0, 2.0, 1.0]))
    reach = Z * 0.125**0.5
    assert numbers(found) == pytest.approx([0.75, 0.75 - reach, 1, 1, 1, 1, 0.25, 0.25 - reach, 0.25 + reach])


def test_a_class_of_one_row_has_no_variance() -> None:
    found = paired_auc(np.array([1, 0]), np.array([0.2, 0.7]), np.array([0.7, 0.2]))
    assert numbers(found) == [0, 0, 0, 1, 1, 1, 1, 1, 1]


@pytest.mark.slow
def test_as_wide_as_the_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(3000) < 0.2).astype(np.uint8)
    old = labels + 1.5 * rng.standard_normal(3000)
    new = old + 0.7 * rng.standard_normal(3000)
    found = paired_auc(labels, old, new).difference
    (drawn,) = bootstrap_differences(RankedPredictions(labels, new), [RankedPredictions(labels, old)], 3000)
    assert found.value == pytest.approx(drawn.difference, abs=1e-12)
    assert found.high - found.low == pytest.approx(drawn.high - drawn.low, rel=0.1)


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    hits = []
    for _ in range(150):
        labels = np.arange(200) % 4 == 0
        old, new = (2**0.5 * shift * labels + rng.standard_normal(200) for shift in (0.5, 0.8))
        found = paired_auc(labels.astype(np.uint8), old, new)
        true = norm.cdf(0.5), norm.cdf(0.8), norm.cdf(0.8) - norm.cdf(0.5)
        estimates = (found.old, found.new, found.difference)
        hits.append([own.low <= value <= own.high for own, value in zip(estimates, true, strict=True)])
    # 150 draws of 0.95 have a deviation of 0.018.
    assert (abs(np.mean(hits, axis=0) - 0.95) < 0.054).all()
