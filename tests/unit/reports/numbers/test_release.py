"""The numbers of a release against scikit-learn and plain sums."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from reports.numbers.release import Column, Release, Scored, compare_release
from reports.tables.release import release_table

N_ROWS = 1000
RNG = np.random.default_rng(0)
LABELS = (RNG.random(N_ROWS) < 0.3).astype(np.uint8)
OLD, NEW = (RNG.beta(2, 4, N_ROWS) * (1 - 0.1 * LABELS) + 0.1 * LABELS for _ in range(2))
SIZES = [500, 400, 60, 30, 10]
CITY = np.repeat(np.arange(5), SIZES)


@pytest.fixture(scope="module")
def release() -> Release:
    cities = Column("city", ("Köln", "", "Bonn", "x", "y" * 40), CITY)
    lone = Column("user", [str(number) for number in range(N_ROWS)], np.arange(N_ROWS))
    return compare_release(LABELS, Scored("o", OLD, 0.25, 100, 7), Scored("n", NEW, 0.5, 110, 9), [cities, lone])


def test_numbers_of_all_rows(release: Release) -> None:
    rate = LABELS.mean()
    constant = log_loss(LABELS, np.full(N_ROWS, rate))
    for side, predicted in zip(release.sides, (OLD, NEW), strict=True):
        assert side.auc.value == pytest.approx(roc_auc_score(LABELS, predicted), abs=1e-12)
        assert side.logloss == pytest.approx(log_loss(LABELS, predicted), abs=1e-12)
        assert side.normalized_entropy == pytest.approx(side.logloss / constant, abs=1e-12)
        assert side.mean_prediction == pytest.approx(predicted.mean())
    first, second = release.sides
    assert release.auc.value == pytest.approx(second.auc.value - first.auc.value, abs=1e-12)
    losses = [np.where(LABELS == 1, -np.log(own), -np.log(1 - own)) for own in (OLD, NEW)]
    own = losses[1] - losses[0]
    reach = 1.959964 * own.std(ddof=1) / N_ROWS**0.5
    found = (release.logloss.value, release.logloss.low, release.logloss.high)
    assert found == pytest.approx((own.mean(), own.mean() - reach, own.mean() + reach), abs=1e-9)


def test_values_of_few_rows_are_one_slice(release: Release) -> None:
    cities = [own for own in release.slices if own.column == "city"]
    assert [(own.value, own.values, own.rows) for own in cities] == [("Köln", 1, 500), ("", 1, 400), (None, 3, 100)]
    for own, rows in zip(cities, (CITY == 0, CITY == 1, CITY > 1), strict=True):
        labels = LABELS[rows]
        assert own.click_rate == pytest.approx(labels.mean())
        assert own.loglosses == pytest.approx([log_loss(labels, model[rows]) for model in (OLD, NEW)], abs=1e-12)
        assert own.mean_predictions == pytest.approx([OLD[rows].mean(), NEW[rows].mean()])
        assert own.difference.value == pytest.approx(own.loglosses[1] - own.loglosses[0], abs=1e-12)
    (users,) = [own for own in release.slices if own.column == "user"]
    assert (users.value, users.values, users.rows) == (None, N_ROWS, N_ROWS)
    assert users.difference == release.logloss


def test_the_table_and_its_rows_say_the_same(release: Release) -> None:
    table = release_table(release, "rows.parquet")
    rows = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [row["model"] for row in rows] == ["old", "new", "difference"] * 5
    assert float(rows[2]["auc"]) == pytest.approx(release.auc.value) and rows[2]["bytes"] == "10"
    assert float(rows[1]["auc_low"]) == pytest.approx(release.sides[1].auc.low)
    assert (rows[9]["slice"], rows[9]["value"], rows[9]["values"], rows[9]["rows"]) == ("city", "", "3", "100")
    text = table.to_text()
    auc = release.auc
    assert f"{auc.value:+.4f} [{auc.low:+.4f}, {auc.high:+.4f}]" in text and "+10.0%" in text
    assert "(missing)" in text and "3 others" in text and "1,000 others" in text
    assert max(map(len, text.splitlines())) <= 100


def test_no_slice_and_models_that_are_alike() -> None:
    same = Scored("m", OLD, 0.0, 100, 0)
    release = compare_release(LABELS, same, same)
    assert release.slices == () and len(release_table(release, "r").grids) == 1
    assert (release.auc.value, release.auc.low, release.auc.high) == (0, 0, 0)
    assert (release.logloss.low, release.logloss.high) == (0, 0)
