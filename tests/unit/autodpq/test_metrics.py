from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from autodpq.errors import AutoDPQError
from autodpq.metrics import N_BINS, Bin, calibration_error, chance_error, evaluate_predictions, reliability


def by_loops(probabilities, labels):
    pairs = [
        (p, q)
        for p, y in zip(probabilities, labels, strict=True)
        for q, z in zip(probabilities, labels, strict=True)
        if y > z
    ]
    auc = sum(1.0 if p > q else 0.5 if p == q else 0.0 for p, q in pairs) / len(pairs)
    losses = [-math.log(p if y else 1 - p) for p, y in zip(probabilities, labels, strict=True)]
    return auc, sum(losses) / len(losses)


def test_counted_by_hand():
    metrics = evaluate_predictions(np.array([0.9, 0.4, 0.6, 0.2]), np.array([1, 1, 0, 0]))
    assert metrics.auc == pytest.approx(3 / 4)
    assert metrics.logloss == pytest.approx(-(math.log(0.9) + math.log(0.4) + math.log(0.4) + math.log(0.8)) / 4)


@given(st.lists(st.tuples(st.sampled_from([0.01, 0.2, 0.5, 0.7, 0.99]), st.booleans()), min_size=2, max_size=20))
def test_against_loops(samples):
    labels = np.array([label for _, label in samples], np.uint8)
    labels[:2] = 0, 1
    probabilities = np.array([probability for probability, _ in samples])
    metrics = evaluate_predictions(probabilities, labels)
    auc, logloss = by_loops(probabilities.tolist(), labels.tolist())
    assert metrics.auc == pytest.approx(auc)
    assert metrics.logloss == pytest.approx(logloss)


@pytest.mark.parametrize("digits", [1, 2, 16])
@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(2, 3000))
def test_digits_are_those_of_scikit_learn(digits, seed, n_rows):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n_rows).astype(np.uint8)
    labels[:2] = 0, 1
    probabilities = rng.random(n_rows).round(digits)
    metrics = evaluate_predictions(probabilities, labels)
    assert metrics.auc == roc_auc_score(labels, probabilities)
    assert metrics.logloss == log_loss(labels, probabilities, labels=[0, 1])


def weighted_rows(seed, n_rows, digits=2):
    """Predictions, labels of both classes and weights, some of which are 0."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n_rows).astype(np.uint8)
    weights = np.where(rng.random(n_rows) < 0.2, 0.0, rng.exponential(3.0, n_rows))
    labels[:2], weights[:2] = (0, 1), (0.5, 2.0)
    return rng.random(n_rows).round(digits), labels, weights


@pytest.mark.parametrize("digits", [1, 2, 16])
@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(2, 3000))
def test_weighted_metrics_are_those_of_scikit_learn(digits, seed, n_rows):
    probabilities, labels, weights = weighted_rows(seed, n_rows, digits)
    metrics = evaluate_predictions(probabilities, labels, weights)
    assert metrics.auc == pytest.approx(roc_auc_score(labels, probabilities, sample_weight=weights), abs=1e-12)
    expected = log_loss(labels, probabilities, labels=[0, 1], sample_weight=weights)
    assert metrics.logloss == pytest.approx(expected, rel=1e-12)


@given(seed=st.integers(0, 2**32 - 1), n_rows=st.integers(2, 400))
def test_a_weight_of_two_is_a_sample_twice(seed, n_rows):
    probabilities, labels, _ = weighted_rows(seed, n_rows)
    times = np.random.default_rng(seed).integers(0, 4, n_rows)
    times[:2] = 1, 2
    repeated, weights = [np.repeat(array, times) for array in (probabilities, labels)], 0.1 * times
    metrics, expected = evaluate_predictions(probabilities, labels, weights), evaluate_predictions(*repeated)
    assert (metrics.auc, metrics.logloss) == pytest.approx((expected.auc, expected.logloss), rel=1e-12)
    bins, others = reliability(probabilities, labels, weights), reliability(*repeated)
    assert sum(own.samples for own in bins) == (times > 0).sum()
    assert sum(own.weight for own in bins) == pytest.approx(1.0)
    # A cut at a share of the weight can fall on another side of a sample by the last digit of a sum.
    if len(bins) == len(others):
        assert calibration_error(bins) == pytest.approx(calibration_error(others), abs=0.02)


def test_weights_of_one_size_make_the_same_bins():
    probabilities, labels, _ = weighted_rows(0, 1990, 16)
    plain, weighted = reliability(probabilities, labels), reliability(probabilities, labels, np.full(1990, 7.0))
    assert [own.samples for own in plain] == [own.samples for own in weighted]
    assert [own.effective for own in weighted] == pytest.approx([own.samples for own in weighted])
    assert calibration_error(weighted) == pytest.approx(calibration_error(plain))
    assert chance_error(weighted) == pytest.approx(chance_error(plain))


def test_a_class_that_has_no_weight_is_not_there():
    with pytest.raises(AutoDPQError, match="there is no AUC"):
        evaluate_predictions(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 0]), np.array([1.0, 0.0, 2.0]))


def test_a_constant_prediction():
    labels = np.array([1, 1, 1, 0])
    metrics = evaluate_predictions(np.full(4, 0.75), labels)
    assert metrics.auc == 0.5
    assert metrics.logloss == pytest.approx(-(3 * math.log(0.75) + math.log(0.25)) / 4)


def test_single_precision_is_widened_before_it_is_summed():
    probabilities = np.random.default_rng(0).uniform(0.01, 0.99, 1000).astype(np.float32)
    labels = np.random.default_rng(1).integers(0, 2, 1000).astype(np.uint8)
    assert evaluate_predictions(probabilities, labels) == evaluate_predictions(probabilities.astype(np.float64), labels)


def test_certain_predictions_have_a_finite_logloss():
    metrics = evaluate_predictions(np.array([0.0, 1.0, 0.0]), np.array([0, 1, 1]))
    assert math.isfinite(metrics.logloss) and metrics.logloss > 5


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_predictions_that_are_not_finite_are_refused(value):
    with pytest.raises(AutoDPQError, match="2 of 4 predictions"):
        evaluate_predictions(np.array([0.5, value, 0.1, value]), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_have_no_auc(label):
    with pytest.raises(AutoDPQError, match="all 3 labels are the same, so that there is no AUC; both 0 and 1"):
        evaluate_predictions(np.array([0.1, 0.2, 0.3]), np.full(3, label))


def by_hand(probabilities, labels):
    """Equal-mass bins by a loop over samples: a bin ends where its share is full and the next prediction differs."""
    pending = False
    pairs, bins, begin = sorted(zip(probabilities, labels, strict=True)), [], 0
    for end in range(1, len(pairs) + 1):
        is_full = end * N_BINS // len(pairs) > (end - 1) * N_BINS // len(pairs) or end == len(pairs)
        wanted = is_full or pending
        pending = wanted and end < len(pairs) and pairs[end][0] == pairs[end - 1][0]
        if wanted and not pending:
            own, begin = pairs[begin:end], end
            bins.append((len(own), sum(p for p, _ in own) / len(own), sum(y for _, y in own) / len(own)))
    return bins


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=1, max_size=130))
def test_bins_of_equal_mass_against_a_loop(samples):
    labels = np.array([label for _, label in samples], np.uint8)
    probabilities = np.array([number / 60 for number, _ in samples])
    bins = reliability(probabilities, labels)
    expected = by_hand(probabilities.tolist(), labels.tolist())
    assert [
        (own.samples, pytest.approx(own.mean_prediction), pytest.approx(own.click_rate)) for own in bins
    ] == expected
    assert sum(own.samples for own in bins) == len(samples) and len(bins) <= N_BINS
    error = sum(count * abs(p - rate) for count, p, rate in expected) / len(samples)
    assert calibration_error(bins) == pytest.approx(error)


def test_bins_hold_as_many_samples_each():
    rng = np.random.default_rng(0)
    bins = reliability(rng.random(1990), rng.integers(0, 2, 1990).astype(np.uint8))
    assert len(bins) == N_BINS and {own.samples for own in bins} == {99, 100}
    assert [own.mean_prediction for own in bins] == sorted(own.mean_prediction for own in bins)


def test_ties_share_a_bin_and_their_order_changes_nothing():
    probabilities, labels = np.repeat([0.1, 0.2, 0.9], [50, 900, 50]), np.tile([1, 0, 0, 0], 250)
    bins = reliability(probabilities, labels)
    assert [own.samples for own in bins] == [50, 900, 50]
    order = np.random.default_rng(1).permutation(1000)
    assert reliability(probabilities[order], labels[order]) == bins


def test_a_constant_has_one_bin_and_the_distance_to_the_click_rate_as_error():
    bins = reliability(np.full(8, 0.5), np.array([1, 0, 0, 0, 0, 0, 0, 1]))
    assert bins == (Bin(8, 0.5, 0.25),) and calibration_error(bins) == 0.25


def test_perfect_probabilities_have_the_error_that_chance_gives():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(40):
        probabilities = rng.uniform(0, 0.1, 8000)
        bins = reliability(probabilities, rng.random(8000) < probabilities)
        found.append(calibration_error(bins) / chance_error(bins))
    assert np.mean(found) == pytest.approx(1, abs=0.08)
