from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from autodpq.calibration import LEAST_SPREAD, MOST_SPREAD, Calibration, fit_calibration
from autodpq.errors import AutoDPQError, TrainingError
from autodpq.metrics import auc, logloss


def clicks_of(logits: npt.NDArray[np.float64], scale: float, shift: float, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Labels of samples whose true log-odds are ``scale * logits + shift``."""
    drawn = np.random.default_rng(seed).random(len(logits))
    return (drawn < 1 / (1 + np.exp(-(scale * logits + shift)))).astype(np.uint8)


def loss_of(calibration: Calibration, logits: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8]) -> float:
    return logloss(1 / (1 + np.exp(-calibration(logits))), labels)


def test_what_was_distorted_comes_back() -> None:
    logits = np.random.default_rng(1).normal(-3, 1.5, 200_000)
    calibration, note = fit_calibration(logits, clicks_of(logits, 0.6, -0.8))
    assert note is None
    assert (calibration.scale, calibration.shift) == (pytest.approx(0.6, rel=0.03), pytest.approx(-0.8, abs=0.06))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(20, 400), st.floats(0.05, 3), st.floats(-3, 3), st.floats(-50, 50))
def test_it_is_the_least_logloss(seed: int, n_rows: int, scale: float, shift: float, centre: float) -> None:
    logits = centre + np.random.default_rng(seed).normal(0, 2, n_rows)
    labels = clicks_of(logits - centre, scale, shift, seed)
    labels[:2] = 0, 1
    calibration, note = fit_calibration(logits, labels)
    assert calibration.scale > 0
    if note is None:
        signs, values = 2.0 * labels - 1, logits - centre
        losses = lambda w: np.logaddexp(0, -signs * (w[0] * values + w[1])).mean()  # noqa: E731
        found = minimize(losses, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9})
        assert loss_of(calibration, logits, labels) == pytest.approx(found.fun, abs=1e-9)


def test_the_same_numbers_each_time_whatever_the_order_of_the_rows() -> None:
    logits = np.random.default_rng(2).normal(0, 1, 5000)
    labels = clicks_of(logits, 2, 1)
    first, _ = fit_calibration(logits, labels)
    assert fit_calibration(logits, labels)[0] == first
    backwards, _ = fit_calibration(logits[::-1], labels[::-1])
    assert (backwards.scale, backwards.shift) == (pytest.approx(first.scale), pytest.approx(first.shift))


def test_no_order_changes() -> None:
    logits = np.random.default_rng(3).normal(0, 3, 20_000).astype(np.float32).astype(np.float64)
    labels = clicks_of(logits, 0.3, -2)
    calibration, _ = fit_calibration(logits, labels)
    assert auc(1 / (1 + np.exp(-calibration(logits))), labels) == auc(logits, labels)


@pytest.mark.parametrize("gap", [0.0, 1e-3, 5.0])
def test_the_scale_does_not_run_off_where_rows_are_separable(gap: float) -> None:
    logits = np.concatenate([np.linspace(-3, -1, 60), np.linspace(-1 + gap, 2, 40)])
    labels = (np.arange(100) >= 60).astype(np.uint8)
    calibration, note = fit_calibration(logits, labels)
    assert calibration(logits).std() == pytest.approx(MOST_SPREAD, rel=1e-6)
    assert note is not None and re.search("held .* deviation of 10: .* with hardly an error", note)


def test_one_click_that_stands_far_out_is_separable_too() -> None:
    logits = np.append(np.zeros(999), 40.0) + np.linspace(0, 1e-3, 1000)
    calibration, note = fit_calibration(logits, np.append(np.zeros(999, int), 1))
    assert calibration(logits).std() == pytest.approx(MOST_SPREAD, rel=1e-6) and note is not None


@pytest.mark.parametrize("labels", [[1, 1, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0]])
def test_the_scale_stays_positive_where_clicks_do_not_rise(labels: list[int]) -> None:
    logits = np.arange(6.0)
    calibration, note = fit_calibration(logits, np.array(labels))
    assert calibration.scale > 0 and calibration(logits).std() == pytest.approx(LEAST_SPREAD, rel=1e-3)
    assert (1 / (1 + np.exp(-calibration(logits)))).mean() == pytest.approx(np.mean(labels), abs=1e-6)
    assert note is not None and note.endswith("the clicks of the validation rows hardly rise with them")


@pytest.mark.parametrize("noise", [0.0, 3e-7])
def test_logits_that_are_all_equal_get_a_shift_alone(noise: float) -> None:
    logits = np.full(8, -1.5) + noise * (np.arange(8) % 2)
    calibration, note = fit_calibration(logits, np.array([1, 0, 0, 0, 0, 0, 0, 1]))
    assert calibration.scale == 1.0
    assert calibration(logits) == pytest.approx(math.log(2 / 6), abs=1e-6)
    assert note == "all logits of the validation rows are equal: only a shift is fitted"


def test_logits_of_any_size(recwarn: pytest.WarningsRecorder) -> None:
    logits = np.random.default_rng(4).normal(0, 1, 500)
    labels = clicks_of(logits, 1, 0)
    plain, _ = fit_calibration(logits, labels)
    for size in (1e-5, 1e6):
        scaled, note = fit_calibration(size * logits, labels)
        assert scaled.scale * size == pytest.approx(plain.scale, rel=1e-5) and note is None
    assert not list(recwarn)


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_are_refused(label: int) -> None:
    with pytest.raises(AutoDPQError, match="all 3 labels are the same, which no shift can meet; both 0 and 1"):
        fit_calibration(np.arange(3.0), np.full(3, label))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_a_failure_of_training(value: float) -> None:
    with pytest.raises(TrainingError, match="1 of 3 logits are NaN or infinite"):
        fit_calibration(np.array([0.1, value, 0.2]), np.array([0, 1, 1]))


def test_numpy_and_torch_give_the_same_bits() -> None:
    logits = np.random.default_rng(5).normal(0, 5, 4096)
    calibration = Calibration(0.7123, -1.0456)
    np.testing.assert_array_equal(calibration(torch.from_numpy(logits)).numpy(), calibration(logits))


def test_logits_that_hardly_differ_are_still_told_apart() -> None:
    logits = (0.4 + 1e-5 * np.random.default_rng(6).normal(0, 1, 2000)).astype(np.float32)
    labels = clicks_of((logits.astype(np.float64) - 0.4) * 1e5, 1, 0)
    calibration, note = fit_calibration(logits, labels)
    assert note is None and calibration.scale == pytest.approx(1e5, rel=0.2)
    found = calibration(logits.astype(np.float64)).astype(np.float32)
    assert auc(found, labels) == auc(logits, labels)


@pytest.mark.parametrize("held", [False, True])
def test_a_weight_of_two_is_a_sample_twice(held: bool) -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(-2, 1.5, 600)
    labels = clicks_of(logits, 0.6, -0.8) if not held else (logits > np.median(logits)).astype(int)
    times = rng.integers(0, 4, 600)
    found, note = fit_calibration(logits, labels, 0.25 * times)
    expected, other = fit_calibration(np.repeat(logits, times), np.repeat(labels, times))
    assert (found.scale, found.shift) == pytest.approx((expected.scale, expected.shift), rel=1e-6)
    assert note == other and (note is not None) == held
    assert found != fit_calibration(logits, labels)[0]
