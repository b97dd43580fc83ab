"""``--calibrate``: the runs of a study with it and without."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support.small_study import Run, small_study

import autodpq
from autodpq.calibration import Calibration, fit_calibration
from autodpq.errors import AutoDPQError
from autodpq.metrics import auc, calibration_error, chance_error, evaluate_predictions, logloss, reliability
from autodpq.packed.file import open_packed
from autodpq.packed.load import PackedNetwork
from autodpq.records.folder import read_config, read_finished, read_records
from studies.config import check_config, make_strategies, run_config
from studies.options import StudyConfig
from studies.prepared import LOADING, load_rows, prepare_for

STRATEGIES = "fe,others,random"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """The same runs in ``plain`` and in ``calibrated``."""
    folder = tmp_path_factory.mktemp("calibrated")
    run = small_study(folder)
    run(STRATEGIES, "plain", trials=1)
    run(STRATEGIES, "calibrated", trials=1, calibrate=True)
    return run, folder


def results_of(study: Path) -> dict[str, Any]:
    return {record.strategy: read_finished(path) for path, record in read_records(study).items()}


def rows_of(folder: Path) -> Any:
    config = read_config(next(iter(read_records(folder / "calibrated"))).with_name("config.json"))
    return prepare_for(
        lambda: load_rows({name: config.loading.get(name) for name in LOADING}), config.data.model_dump()
    )


def test_the_order_stays_and_the_loss_on_validation_rows_falls(both: tuple[Run, Path]) -> None:
    plain, calibrated = (results_of(both[1] / name) for name in ("plain", "calibrated"))
    assert len(plain) == len(calibrated) == 3
    for strategy, before in plain.items():
        after = calibrated[strategy]
        assert before.calibration is None and before.record.calibrated is False
        assert after.calibration is not None and after.record.calibrated is True
        for name in ("test_auc", "valid_auc"):
            # Of 70 rows; torch's sigmoid makes one digit of two of equal logits, and so an order of a tie.
            assert getattr(after.record, name) == pytest.approx(getattr(before.record, name), abs=2e-3)
        assert after.record.valid_logloss < before.record.valid_logloss
        assert after.record.test_logloss != before.record.test_logloss
        assert (after.record.plan, after.record.bytes) == (before.record.plan, before.record.bytes)


def test_the_file_gives_the_numbers_of_the_record_to_the_digit(both: tuple[Run, Path]) -> None:
    prepared = rows_of(both[1])
    test, valid = prepared.test(), prepared.valid
    for name in ("plain", "calibrated"):
        study = both[1] / name
        for result in results_of(study).values():
            network = autodpq.load(study / "models" / f"{result.run}.safetensors")
            assert isinstance(network, PackedNetwork)
            own = network.manifest.calibration
            assert (own is None) == (name == "plain")
            with torch.inference_mode():
                found, on_valid = (
                    network(torch.from_numpy(rows.ids)).double().sigmoid().numpy() for rows in (test, valid)
                )
            record = result.record
            metrics = evaluate_predictions(found, test.labels)
            assert (metrics.auc, metrics.logloss) == (record.test_auc, record.test_logloss)
            assert evaluate_predictions(on_valid, valid.labels).logloss == record.valid_logloss
            kept = pd.read_parquet(study / "runs" / result.run / "predictions.parquet")
            np.testing.assert_array_equal(kept["probability"], found)
            bins = reliability(found, test.labels)
            told = [(b.samples, b.mean_prediction, b.click_rate) for b in result.reliability]
            assert told == [(b.samples, b.mean_prediction, b.click_rate) for b in bins]
            assert record.test_ece == calibration_error(bins)
            assert record.test_mean_prediction == found.mean() and record.test_click_rate == test.labels.mean()
            constant = logloss(np.full(len(test), prepared.train.labels.mean()), test.labels)
            assert record.test_normalized_entropy == metrics.logloss / constant


def test_scale_and_shift_are_those_of_the_validation_rows(both: tuple[Run, Path]) -> None:
    prepared = rows_of(both[1])
    for strategy, result in results_of(both[1] / "calibrated").items():
        path = both[1] / "plain" / "models" / f"{results_of(both[1] / 'plain')[strategy].run}.safetensors"
        own = both[1] / "calibrated" / "models" / f"{result.run}.safetensors"
        with torch.inference_mode():
            logits, after = (autodpq.load(file)(torch.from_numpy(prepared.valid.ids)).numpy() for file in (path, own))
        assert auc(after, prepared.valid.labels) == auc(logits, prepared.valid.labels)
        expected, note = fit_calibration(logits, prepared.valid.labels)
        stored = result.calibration
        assert Calibration(stored.scale, stored.shift) == expected and stored.note == note
        assert open_packed(own).manifest.calibration == expected


def test_a_level_that_is_off_comes_right(tmp_path: Path) -> None:
    # Few epochs on a click rate of 8 %, from an output that starts at one half.
    rng = np.random.default_rng(0)
    user, item = (size * rng.random(12_000) ** 3 for size in (200, 100))
    logits = np.sin(user.astype(int)) + np.cos(item.astype(int)) - 3
    clicks = (rng.random(12_000) < 1 / (1 + np.exp(-logits))).astype(int)
    late = np.arange(12_000) >= 9000  # clicks become rarer: training rows do not know it
    clicks[late & (rng.random(12_000) < 0.5)] = 0
    part = np.where(~late, "train", np.where(np.arange(12_000) % 2, "valid", "test"))
    frame = pd.DataFrame({"click": clicks, "user": user.astype(int), "item": item.astype(int), "part": part})
    frame.to_csv(tmp_path / "rare.csv", index=False)
    run = small_study(tmp_path)
    options = {"dataset": str(tmp_path / "rare.csv"), "recipe": "strong"}
    plain = run("fe", "plain", **options).iloc[0]
    calibrated = run("fe", "calibrated", **options, calibrate=True).iloc[0]
    assert plain["test_mean_prediction"] > 1.5 * plain["test_click_rate"]
    assert calibrated["test_mean_prediction"] == pytest.approx(calibrated["test_click_rate"], rel=0.25)
    assert calibrated["test_ece"] < plain["test_ece"] / 2
    assert calibrated["test_logloss"] < plain["test_logloss"]
    assert calibrated["test_normalized_entropy"] < plain["test_normalized_entropy"]
    (result,) = results_of(tmp_path / "calibrated").values()
    bins = [own.bin for own in result.reliability]
    assert calibrated["test_ece"] < 3 * chance_error(bins)


def test_runs_without_have_the_names_that_they_had(tmp_path: Path) -> None:
    assert StudyConfig().calibrate is False
    loading = {"dataset": "synthetic", "cache_dir": str(tmp_path)}
    dataset = load_rows(loading)
    runs = []
    for given in ({}, {"calibrate": False}, {"calibrate": True}):
        config = check_config({**loading, "strategies": ("fe",), **given})
        runs.append(run_config(config, dataset, "deepfm", make_strategies(config)[0], 0))
    assert runs[0].run_id == runs[1].run_id == "1aaffad7294f", "as versions before named it"
    assert runs[2].run_id != runs[0].run_id
    assert len({run.pretrained_id for run in runs}) == 1, "what is trained is the same"


@pytest.mark.parametrize(("name", "calibrate"), [("plain", True), ("calibrated", False)])
def test_a_folder_does_not_mix(both: tuple[Run, Path], name: str, calibrate: bool) -> None:
    with pytest.raises(
        AutoDPQError, match=f"runs of --calibrate {not calibrate}, and this command's would be of {calibrate}"
    ):
        both[0]("grid", name, trials=1, calibrate=calibrate)


def test_runs_of_earlier_versions_are_not_calibrated(both: tuple[Run, Path]) -> None:
    run, folder = both
    for path in read_records(folder / "plain"):
        config = json.loads(path.with_name("config.json").read_text())
        del config["calibrate"], config["seal"]
        path.with_name("config.json").write_text(json.dumps(config))
    records = run(STRATEGIES, "plain", trials=1)
    assert len(records) == 3, "nothing is run again"
    with pytest.raises(AutoDPQError, match="runs of --calibrate False"):
        run("fe", "plain", trials=1, calibrate=True)


def test_what_was_in_the_way_is_said(both: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Calibration(2.0, 0.5), "the scale is held"
    monkeypatch.setattr("studies.single_run.calibrate", lambda *_: held)
    told = io.StringIO()
    small_study(tmp_path)("fe", told=told, calibrate=True)
    assert "Warning: " in told.getvalue() and "calibration: the scale is held" in told.getvalue()
    (result,) = results_of(tmp_path / "study").values()
    assert result.calibration.note == "the scale is held" and result.calibration.scale == 2.0
