"""The additive model: the minimum of its objective, and how it is reached."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import OneHotEncoder

from autodpq.data import Samples
from autodpq.plan import NO_ID
from autodpq.training import additive
from autodpq.training.additive import AdditiveFit, fit_additive

CARDINALITIES = (40, 12, 3)


def make_rows(rows: int, seed: int, rate: float = 0.3, effect: float = 1.0) -> Samples:
    """Rows of skewed values, the second field hanging together with the first."""
    rng = np.random.default_rng(seed)
    first = (CARDINALITIES[0] * rng.random(rows) ** 2).astype(np.int32)
    second = np.where(rng.random(rows) < 0.8, first % CARDINALITIES[1], rng.integers(CARDINALITIES[1], size=rows))
    ids = np.column_stack([first, second, rng.integers(CARDINALITIES[2], size=rows)]).astype(np.int32)
    weights = [effect * np.random.default_rng(9).standard_normal(size) for size in CARDINALITIES]
    logits = np.log(rate / (1 - rate)) + sum(own[ids[:, column]] for column, own in enumerate(weights))
    return Samples(ids, (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(np.uint8))


@pytest.mark.parametrize("precision", [0.3, 7.0])
def test_it_is_ridge_logistic_regression_on_indicators(precision: float) -> None:
    rows = make_rows(3000, 0)
    encoder = OneHotEncoder(categories=[range(size) for size in CARDINALITIES])
    columns = encoder.fit_transform(rows.ids)
    # By Newton's method: lbfgs stops some 1e-5 from the minimum, where depends on the processor.
    other = LogisticRegression(C=1 / precision, tol=1e-14, solver="newton-cholesky").fit(columns, rows.labels)
    model = AdditiveFit(rows, CARDINALITIES).run(precision, 1e-15).model()
    assert np.concatenate(model.weights) == pytest.approx(other.coef_[0], abs=2e-6)
    assert model.intercept == pytest.approx(other.intercept_[0], abs=2e-6)
    assert model.probabilities(rows.ids) == pytest.approx(other.predict_proba(columns)[:, 1], abs=1e-6)


def test_it_stops_near_the_minimum() -> None:
    rows = make_rows(3000, 1)
    near, at = (AdditiveFit(rows, CARDINALITIES).run(2.0, *tolerance) for tolerance in ((), (1e-15,)))
    assert 0 <= (near.objective(2.0) - at.objective(2.0)) / len(rows) < 1e-4


# One value clicks always where clicks are rare: Newton's own step would go 500 too far, and come back.
def test_no_step_raises_the_objective() -> None:
    ids = np.zeros((20_000, 1), np.int32)
    ids[:12] = 1
    labels = np.zeros(20_000, np.uint8)
    labels[:20] = 1
    fit = AdditiveFit(Samples(ids, labels), [2])
    values = [fit.objective(0.001)]
    for _ in range(30):
        fit.sweep(0.001)
        values.append(fit.objective(0.001))
    assert np.all(np.diff(values) <= 1e-9) and values[-1] < values[0] - 10
    assert 5 < fit.model().weights[0][1] < 20


def test_a_value_that_no_training_row_has_weighs_nothing() -> None:
    rows = make_rows(500, 2)
    model = AdditiveFit(rows, (41, 12, 3)).run(1.0).model()
    assert model.weights[0][40] == 0
    assert model.logits(np.array([[40, 0, 0]], np.int32))[0] == pytest.approx(
        model.intercept + model.weights[1][0] + model.weights[2][0]
    )


def test_the_order_of_rows_and_how_many_are_taken_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    train, valid = make_rows(3000, 3), make_rows(1000, 4)
    first = fit_additive(train, valid, CARDINALITIES)
    order = np.random.default_rng(0).permutation(len(train))
    monkeypatch.setattr(additive, "_ROWS", 700)
    second = fit_additive(Samples(train.ids[order], train.labels[order]), valid, CARDINALITIES)
    for one, other in zip(first.weights, second.weights, strict=True):
        assert one == pytest.approx(other, abs=1e-9)


def test_validation_rows_choose_the_prior() -> None:
    """The stronger the effects, the weaker the prior; what says nothing is shrunk to nearly nothing."""
    sizes = {}
    for effect in (0.0, 1.5):
        train, valid = make_rows(2000, 5, effect=effect), make_rows(2000, 6, effect=effect)
        chosen = fit_additive(train, valid, CARDINALITIES)
        variance = train.labels.mean() * (1 - train.labels.mean())
        losses = {}
        for samples in additive.SAMPLES:
            logits = AdditiveFit(train, CARDINALITIES).run(samples * variance, 1e-9).model().logits(valid.ids)
            losses[samples] = float((np.logaddexp(0, logits) - valid.labels * logits).mean())
        logits = chosen.logits(valid.ids)
        own = float((np.logaddexp(0, logits) - valid.labels * logits).mean())
        assert own == pytest.approx(min(losses.values()), abs=1e-3)
        sizes[effect] = min(losses, key=lambda samples: losses[samples])
    assert sizes[0.0] > sizes[1.5]


def test_where_values_tell_nothing_it_is_no_worse_than_the_constant() -> None:
    rng = np.random.default_rng(3)
    ids = rng.integers(CARDINALITIES, size=(2400, 3)).astype(np.int32)
    labels = (rng.random(2400) < 0.03).astype(np.uint8)
    train, valid = Samples(ids[:2000], labels[:2000]), Samples(ids[2000:], labels[2000:])
    chosen = fit_additive(train, valid, CARDINALITIES)
    constant = AdditiveFit(train, CARDINALITIES).model()

    def loss(model: additive.AdditiveModel) -> float:
        logits = model.logits(valid.ids)
        return float((np.logaddexp(0, logits) - valid.labels * logits).mean())

    assert loss(AdditiveFit(train, CARDINALITIES).run(128.0 * 0.03).model()) > loss(constant) + 1e-3
    assert loss(chosen) < loss(constant) + 1e-4


def test_a_weight_of_two_is_a_row_twice() -> None:
    rows, valid = make_rows(2000, 5), make_rows(800, 6)
    times = [np.random.default_rng(seed).integers(0, 4, len(own)) for seed, own in enumerate((rows, valid))]
    weighted = [replace(own, weights=0.1 * count) for own, count in zip((rows, valid), times, strict=True)]
    repeated = [
        Samples(np.repeat(own.ids, count, 0), np.repeat(own.labels, count))
        for own, count in zip((rows, valid), times, strict=True)
    ]
    # The prior is worth so many rows of the mean weight, which are fewer than those that are repeated.
    factor = len(rows) / times[0].sum()
    found, expected = (
        AdditiveFit(own[0], CARDINALITIES).run(precision, 1e-13).model()
        for own, precision in ((weighted, 2.0 * factor), (repeated, 2.0))
    )
    assert np.concatenate(found.weights) == pytest.approx(np.concatenate(expected.weights), abs=1e-5)
    assert found.intercept == pytest.approx(expected.intercept, abs=1e-5)
    assert weighted[0].click_rate == pytest.approx(repeated[0].click_rate)


def test_the_prior_is_chosen_by_the_weighted_loss() -> None:
    rows, valid = make_rows(2000, 5), make_rows(400, 6)
    plain = fit_additive(rows, valid, CARDINALITIES)
    alike = fit_additive(replace(rows, weights=np.full(2000, 3.0)), valid, CARDINALITIES)
    assert alike.l2 == plain.l2 and np.concatenate(alike.weights) == pytest.approx(np.concatenate(plain.weights))
    # Only rows that the model has wrong count: the strongest prior has them least wrong.
    wrong = replace(valid, weights=(np.abs(plain.probabilities(valid.ids) - valid.labels) > 0.5).astype(np.float64))
    assert fit_additive(rows, wrong, CARDINALITIES).l2 > plain.l2


@pytest.mark.parametrize("precision", [0.3, 7.0])
def test_of_a_bag_a_row_has_the_mean_of_the_weights(precision: float) -> None:
    rows, rng = make_rows(2000, 3), np.random.default_rng(4)
    more = rng.integers(0, CARDINALITIES[1], (2000, 2)).astype(np.int32)
    more[rng.random((2000, 2)).cumsum(1) > 0.8] = NO_ID
    ids = np.column_stack([rows.ids[:, :2], more, rows.ids[:, 2]])
    rows = Samples(ids, rows.labels)
    columns = np.zeros((2000, sum(CARDINALITIES)))
    for row, own in zip(columns, ids, strict=True):
        bag = [number for number in own[1:4] if number != NO_ID]
        row[own[0]] += 1
        np.add.at(row, [CARDINALITIES[0] + number for number in bag], 1 / len(bag))
        row[sum(CARDINALITIES[:2]) + own[4]] += 1
    # By Newton's method: lbfgs stops some 1e-5 from the minimum, where depends on the processor.
    other = LogisticRegression(C=1 / precision, tol=1e-14, solver="newton-cholesky").fit(columns, rows.labels)
    fit = AdditiveFit(rows, CARDINALITIES, (1, 3, 1))
    before = fit.objective(precision)
    fit.sweep(precision)
    assert fit.objective(precision) < before
    model = fit.run(precision, 1e-15).model()
    assert model.probabilities(ids) == pytest.approx(other.predict_proba(columns)[:, 1], abs=1e-4)
