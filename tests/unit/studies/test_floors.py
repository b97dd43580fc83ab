"""The floors of a split: what they are, when they are measured, and where they are kept."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.small_study import PARTS, Run

from autodpq.metrics import auc, logloss
from autodpq.records.folder import read_finished
from autodpq.records.result import Floors
from autodpq.training.additive import fit_additive
from studies import runner
from studies.floors import measure_floors
from studies.prepared import Prepared, load_rows, prepare


def own_rows(folder: Path) -> Prepared:
    loading = {"dataset": str(folder / "own.csv"), "split_column": "part", "cache_dir": str(folder / "cache")}
    return prepare(
        lambda: load_rows(loading), threshold=2, split_method="column", split_seed=2023, frequency_scope="all"
    )


def test_floors_are_fitted_to_training_rows_and_measured_on_test_rows(run: Run, tmp_path: Path) -> None:
    told = io.StringIO()
    records = run("fe,others", told=told)
    found = {name: read_finished(tmp_path / "study/runs" / name / "result.json").floors for name in records["run"]}
    first, second = found.values()
    assert first == second and first is not None and first.additive is not None

    frame = pd.read_csv(tmp_path / "own.csv")
    test = frame[frame["part"] == "test"]["click"].to_numpy()
    rate = frame[frame["part"] == "train"]["click"].mean()
    assert (first.constant.auc, first.constant.logloss) == (0.5, logloss(np.full(PARTS["test"], rate), test))
    prepared = own_rows(tmp_path)
    rows = prepared.test()
    model = fit_additive(prepared.train, prepared.valid, [field.cardinality for field in prepared.fields])
    predicted = model.probabilities(rows.ids)
    assert first.additive.auc == pytest.approx(auc(predicted, rows.labels), abs=1e-12)
    assert first.additive.logloss == pytest.approx(logloss(predicted, rows.labels), abs=1e-12)
    assert 0.55 < first.additive.auc
    assert f"Additive AUC {first.additive.auc:.4f}" in told.getvalue()


def test_floors_are_measured_once_per_split_and_only_where_a_run_is_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[Floors] = []

    def measure(prepared: Prepared) -> Floors:
        measured.append(measure_floors(prepared))
        return measured[-1]

    monkeypatch.setattr(runner, "measure_floors", measure)
    options = {"models": ("deepfm", "pnn"), "resplit": True, "split": "random", "split_column": None}
    records = run("fe", seeds=2, **options)
    assert len(measured) == 2 and measured[0] != measured[1]
    for name, seed in zip(records["run"], records["seed"], strict=True):
        assert read_finished(tmp_path / "study/runs" / name / "result.json").floors == measured[seed]
    run("fe", seeds=2, **options)
    assert len(measured) == 2
