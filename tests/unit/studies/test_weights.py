"""``--weight-column``: the runs of a study whose samples count by weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support.small_study import PARTS, Run, small_study

from autodpq.errors import AutoDPQError
from autodpq.records.folder import read_finished, read_records
from reports.load import load_study
from reports.numbers.predictions import auc_intervals, read_predictions
from reports.tables.calibration import calibration_table
from reports.tables.paper_tables import table1
from studies.exported.predict import predict_file
from studies.folder.models import export_run

OPTIONS: dict[str, Any] = {"trials": 1, "calibrate": True}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A study whose rows have weights, some of them 0."""
    folder = tmp_path_factory.mktemp("weighted")
    run = small_study(folder)
    frame = pd.read_csv(folder / "own.csv")
    rng = np.random.default_rng(3)
    frame["dwell"] = np.where(rng.random(len(frame)) < 0.1, 0.0, rng.exponential(4.0, len(frame)).round(2))
    frame.to_csv(folder / "weighted.csv", index=False)
    run("fe,random", "weighted", dataset=str(folder / "weighted.csv"), weight_column="dwell", **OPTIONS)
    return run, folder


def test_what_is_measured_is_scikit_learn_s_by_weight(world: tuple[Run, Path]) -> None:
    frame = pd.read_csv(world[1] / "weighted.csv")
    train, test = (frame[frame["part"] == part] for part in ("train", "test"))
    study = load_study(world[1] / "weighted")
    for run in study.runs:
        labels, probabilities, weights = read_predictions(
            world[1] / "weighted" / "runs" / run.run / "predictions.parquet", run
        )
        assert weights is not None and weights.tolist() == test["dwell"].tolist()
        record = read_finished(world[1] / "weighted" / "runs" / run.run / "result.json").record
        expected = [
            roc_auc_score(labels, probabilities, sample_weight=weights),
            log_loss(labels, probabilities, sample_weight=weights),
            np.average(labels, weights=weights),
            np.average(probabilities, weights=weights),
        ]
        found = [record.test_auc, record.test_logloss, record.test_click_rate, record.test_mean_prediction]
        assert found == pytest.approx(expected, abs=1e-12)
        rate = np.average(train["click"], weights=train["dwell"])
        constant = log_loss(labels, np.full(len(labels), rate), sample_weight=weights)
        assert run.floors is not None and run.floors.constant.logloss == pytest.approx(constant, abs=1e-12)
        assert record.test_normalized_entropy == pytest.approx(expected[1] / constant, abs=1e-12)
        assert sum(own.samples for own in run.reliability) == (weights > 0).sum()
        assert sum(own.weight or 0 for own in run.reliability) == pytest.approx(1.0)
        assert run.headroom.samples == PARTS["test"]
    (interval,) = auc_intervals(study.folder, study.runs[0], study.runs[1:])
    assert not isinstance(interval, str)
    aucs = [run.test_auc or 0.0 for run in study.runs]
    assert interval.difference == pytest.approx(aucs[0] - aucs[1], abs=1e-12) and interval.low <= interval.high
    assert "Samples count by their weights" in str(table1(study).grids[0].notes)
    assert len(calibration_table(study).grids[0].rows) == 2


def test_weights_are_part_of_what_is_asked(world: tuple[Run, Path]) -> None:
    run, folder = world
    with pytest.raises(AutoDPQError, match=r"--out: .*weighted holds runs of .*fingerprint"):
        run("fe", "weighted", dataset=str(folder / "weighted.csv"), exclude=("dwell",), **OPTIONS)
    again = run("fe,random", "weighted", dataset=str(folder / "weighted.csv"), weight_column="dwell", **OPTIONS)
    assert len(again) == 2
    plain = run("fe", "plain", dataset=str(folder / "weighted.csv"), exclude=("dwell",), **OPTIONS)
    (weighted,) = again[again["strategy"] == "fe"]["test_auc"]
    assert plain["test_auc"].tolist() != [weighted]
    (path,) = read_records(folder / "plain")
    text = path.read_text()
    assert '"weight"' not in text and '"effective"' not in text
    assert pd.read_parquet(path.with_name("predictions.parquet")).columns.tolist() == ["label", "probability"]


def test_predicting_and_exporting_need_no_weights(world: tuple[Run, Path], tmp_path: Path) -> None:
    study = world[1] / "weighted"
    paths = [path.parent for path, record in read_records(study).items() if record.strategy == "random"]
    lines = export_run(
        paths[0], tmp_path / "model.safetensors", head_dtype="float16", hashed_vocabulary=False, onnx=None,
        data_dir=None, cache_dir=None,
    )  # fmt: skip
    record = read_finished(paths[0] / "result.json").record
    assert f"test AUC {record.test_auc:.5f}, logloss {record.test_logloss:.5f} as trained" in lines
    (stored,) = [line for line in lines if line.endswith("as float16")]
    assert abs(float(stored.split()[2]) - (record.test_auc or 0)) < 5e-3
    frame = pd.read_csv(world[1] / "weighted.csv")
    test = frame[frame["part"] == "test"].drop(columns=["dwell", "click", "part"])
    test.to_csv(tmp_path / "new.csv", index=False)
    predict_file(study / "models" / f"{paths[0].name}.safetensors", tmp_path / "new.csv", tmp_path / "out.csv")
    kept = pd.read_parquet(paths[0] / "predictions.parquet")["probability"]
    np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["probability"], kept, atol=1e-6)


def test_a_part_without_weight_is_refused(world: tuple[Run, Path], tmp_path: Path) -> None:
    frame = pd.read_csv(world[1] / "weighted.csv")
    for name, off in (("none", frame["part"] == "valid"), ("one", (frame["part"] == "valid") & (frame["click"] == 1))):
        frame.assign(dwell=np.where(off, 0.0, frame["dwell"] + 1)).to_csv(tmp_path / f"{name}.csv", index=False)
    for name, said in (
        ("none", "every weight of the valid part is 0; split otherwise"),
        ("one", "every label of those of the valid part whose weight is above 0 is 0; split otherwise"),
    ):
        with pytest.raises(AutoDPQError, match=said):
            world[0]("fe", name, dataset=str(tmp_path / f"{name}.csv"), weight_column="dwell")
