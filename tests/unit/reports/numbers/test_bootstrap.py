"""The paired bootstrap: the weighted AUC against scikit-learn, the drawing, and how often its intervals cover."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, norm
from sklearn.metrics import roc_auc_score

from reports.numbers import bootstrap
from reports.numbers.bootstrap import RankedPredictions, bootstrap_differences, resample, resamples_for

rows = st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.5000001, 1.0]) | st.floats(0, 1))


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def arrays(values):
    labels, scores = zip(*values, strict=True)
    return np.array(labels, np.uint8), np.array(scores)


def make_run(rng, labels, noise):
    return labels + 1.1 * noise + 0.4 * rng.standard_normal(len(labels))


def test_weighted_auc_by_hand() -> None:
    # Positives 0.9 (twice) and 0.4 (three times), negatives 0.4 (once) and 0.1 (four times): of 5 * 5 pairs, 2 * 5 are
    # won by the first, 3 * 4 by the second, and 3 are even.
    labels, scores = np.array([1, 0, 1, 0], np.uint8), np.array([0.4, 0.4, 0.9, 0.1])
    weights = np.array([[3, 1], [1, 1], [2, 1], [4, 1]])
    assert RankedPredictions(labels, scores).aucs(weights) == [(10 + 12 + 1.5) / 25, 3.5 / 4]


@given(st.lists(st.tuples(rows, st.lists(st.integers(0, 5), min_size=3, max_size=3)), min_size=1, max_size=30))
def test_weighted_auc_is_sklearns(values) -> None:
    labels, scores = arrays([row for row, _ in values])
    weights = np.array([own for _, own in values], np.uint8)
    for column, found in enumerate(RankedPredictions(labels, scores).aucs(weights)):
        own = weights[:, column]
        if set(labels[own > 0]) == {0, 1}:
            assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=own), abs=1e-12)
        else:
            assert math.isnan(found)


@given(st.lists(rows, min_size=2, max_size=40))
def test_unweighted_auc_is_sklearns(values) -> None:
    labels, scores = arrays(values)
    (found,) = RankedPredictions(labels, scores).aucs(np.ones((len(labels), 1), np.uint8))
    if set(labels) == {0, 1}:
        assert found == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_weighted_auc_of_many_rows() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(50_000) < 0.2).astype(np.uint8)
    scores = (labels + rng.standard_normal(50_000)).round(2)
    weights = np.stack([resample(rng, 50_000) for _ in range(2)], axis=1)
    for column, found in enumerate(RankedPredictions(labels, scores).aucs(weights)):
        assert found == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights[:, column]), abs=1e-12)


def test_rows_of_weights_of_their_own() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(5_000) < 0.2).astype(np.uint8)
    scores, own = (labels + rng.standard_normal(5_000)).round(2), rng.exponential(2.0, 5_000)
    times = np.stack([resample(rng, 5_000), np.ones(5_000, np.uint8)], axis=1)
    for column, found in enumerate(RankedPredictions(labels, scores, own).aucs(times)):
        expected = roc_auc_score(labels, scores, sample_weight=own * times[:, column])
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 100, 4096, 4097, 10_000])
def test_a_resample_draws_as_many_rows(count: int) -> None:
    drawn = resample(np.random.default_rng(1), count)
    assert drawn.shape == (count,) and drawn.sum() == count and drawn.dtype == np.uint8


def test_a_resample_draws_rows_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts of each row and of pairs of rows are the multinomial's, blocks of unequal sizes notwithstanding."""
    monkeypatch.setattr(bootstrap, "_BLOCK", 4)
    rng = np.random.default_rng(7)
    drawn = np.stack([resample(rng, 10) for _ in range(20_000)]).astype(float)
    assert chisquare(drawn.sum(axis=0)).pvalue > 0.001
    assert drawn.var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.05)
    covariances = np.cov(drawn, rowvar=False)[~np.eye(10, dtype=bool)]
    assert covariances == pytest.approx(np.full(90, -0.1), abs=0.035)


def test_number_of_resamples() -> None:
    assert [resamples_for(count) for count in (0, 1, 800_000, 1_600_000, 4_000_000, 40_000_000)] == [
        1000, 1000, 1000, 500, 200, 200,
    ]  # fmt: skip


def test_intervals_share_their_resamples_and_can_be_repeated() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(500) < 0.5).astype(np.uint8)
    noise = rng.standard_normal(500)
    runs = [RankedPredictions(labels, make_run(rng, labels, noise)) for _ in range(3)]
    together = bootstrap_differences(runs[0], runs[1:], 500, seed=1)
    assert together == bootstrap_differences(runs[0], runs[1:], 500, seed=1)
    assert together[1:] == bootstrap_differences(runs[0], runs[2:], 500, seed=1)
    assert together != bootstrap_differences(runs[0], runs[1:], 500, seed=2)
    back = bootstrap_differences(runs[1], runs[:1], 500, seed=1)[0]
    assert (-back.difference, -back.high, -back.low) == pytest.approx(
        (together[0].difference, together[0].low, together[0].high)
    )
    assert all(entry.rows == 500 and entry.resamples == 1000 for entry in together)
    itself = bootstrap_differences(runs[0], runs[:1], 500)[0]
    assert (itself.difference, itself.low, itself.high) == (0.0, 0.0, 0.0)


def test_one_class_has_no_interval() -> None:
    run = RankedPredictions(np.ones(5, np.uint8), np.linspace(0, 1, 5))
    (entry,) = bootstrap_differences(run, [run], 5)
    assert entry.resamples == 0 and all(map(math.isnan, (entry.difference, entry.low, entry.high)))


def test_resamples_of_one_class_are_left_out() -> None:
    # Of two rows, half of the resamples hold one of them twice.
    run = RankedPredictions(np.array([0, 1], np.uint8), np.array([0.1, 0.9]))
    other = RankedPredictions(np.array([0, 1], np.uint8), np.array([0.9, 0.1]))
    (entry,) = bootstrap_differences(run, [other], 2)
    assert 400 < entry.resamples < 600 and (entry.difference, entry.low, entry.high) == (1.0, 1.0, 1.0)


@pytest.mark.slow
def test_interval_covers_the_true_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are normal, so that the true AUCs are known: Phi(separation / sqrt(2 variance))."""
    monkeypatch.setattr(bootstrap, "MOST_RESAMPLES", 200)
    rng = np.random.default_rng(11)
    true = float(norm.cdf(1.0 / math.sqrt(2 * 1.3)) - norm.cdf(0.9 / math.sqrt(2 * 1.3)))
    covered, studies = 0, 150
    for number in range(studies):
        labels = np.arange(400, dtype=np.uint8) % 2
        shared = rng.standard_normal(400)
        first, second = (
            RankedPredictions(labels, apart * labels + shared + math.sqrt(0.3) * rng.standard_normal(400))
            for apart in (1.0, 0.9)
        )
        (entry,) = bootstrap_differences(first, [second], 400, seed=number)
        covered += entry.low <= true <= entry.high
    # Percentile intervals of 400 rows and 200 resamples cover a little less than they say.
    assert 0.91 < covered / studies < 0.98
