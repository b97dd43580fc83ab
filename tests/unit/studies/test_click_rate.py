"""Rare clicks in few rows: what a study's models say of the level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import studies
from autodpq.metrics import logloss
from studies.config import check_config, make_strategies, run_config, study_recipe
from studies.prepared import load_rows


def clicks(rows: int, rate: float) -> pd.DataFrame:
    # Values occur often enough for some hundred clicks to tell of them: else chance decides which side of a constant's
    # a loss falls.
    rng = np.random.default_rng(0)
    user, item = ((size * rng.random(rows) ** 3).astype(int) for size in (200, 100))
    logits = np.sin(user) + np.cos(item) + np.log(rate / (1 - rate)) - 0.5
    return pd.DataFrame(
        {"click": (rng.random(rows) < 1 / (1 + np.exp(-logits))).astype(int), "user": user, "item": item}
    )


@pytest.mark.parametrize(("rows", "rate"), [(5000, 0.046), pytest.param(20_000, 0.02, marks=pytest.mark.slow)])
def test_probabilities_are_of_the_level_of_the_clicks(tmp_path: Path, rows: int, rate: float) -> None:
    frame = clicks(rows, rate)
    out = tmp_path / "study"
    options = {"strategies": ["fe", "others"], "seeds": 1, "cache_dir": str(tmp_path / "cache")}
    study = studies.run(frame, out=out, show_progress=False, **options)
    for run in study.results.runs:
        kept = pd.read_parquet(out / "runs" / run.run / "predictions.parquet")
        trained = frame["click"].mean()
        assert kept["probability"].mean() == pytest.approx(trained, rel=0.1), run.strategy
        constant = logloss(np.full(len(kept), trained), kept["label"].to_numpy())
        assert run.floors is not None and run.floors.constant.logloss == pytest.approx(constant, rel=0.05)
        (loss,) = study.records.loc[study.records["run"] == run.run, "test_logloss"]
        assert loss <= constant, run.strategy


def test_printed_numbers_come_out_again(tmp_path: Path) -> None:
    config = check_config({"dataset": "synthetic", "strategies": ("fe",), "cache_dir": str(tmp_path)})
    dataset = load_rows({"dataset": "synthetic", "cache_dir": str(tmp_path)})
    assert study_recipe(config, dataset).output_start == "drawn"
    (strategy,) = make_strategies(config)
    run = run_config(config, dataset, "deepfm", strategy, 0)
    assert run.run_id == "1aaffad7294f", "as versions before named it"
