"""``autodpq-study shrink``: from clicks to the smallest model, in one command."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.command_line import call_here

from autodpq.serving import open_model

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

RECIPE = "robust(batch_size=512, max_epochs=2, hidden=(16,16))"


def call(own_csv: Path, out: Path, cache: Path, *options: str):
    asked = ["shrink", own_csv, "--recipe", RECIPE, "--candidates", "others,int(2|4),dpq(4,2|8)", "--steps", "3"]
    return call_here(*asked, *options, "--out", out, cache=cache)


def test_the_smallest_model_within_the_loss_is_taken_away(own_csv: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "shrunk"
    done = call(own_csv, out, cache, "--max-loss", "0.02")
    assert done.code == 0, done
    records = pd.read_csv(out / "records.csv")
    (full,) = records[records["strategy"] == "fe"].to_dict("records")
    tried = records[records["strategy"] != "fe"]
    assert 2 <= len(tried) <= 3 and (tried["bytes"] <= tried["budget"]).all()
    allowed = tried[full["valid_auc"] - tried["valid_auc"] <= 0.02]
    best = allowed.sort_values("bytes").iloc[0]
    model = out / "model.safetensors"
    header = 8 + int.from_bytes(model.read_bytes()[:8], "little")
    assert model.stat().st_size - header == best["bytes"] < full["bytes"] / 3
    assert open_model(model).manifest.about["run"] == best["run"]
    said = " ".join(done.out.split())
    assert f"takes {best['bytes']:,} bytes of {full['bytes']:,}" in said
    assert "On test rows, which chose nothing, it loses" in said and "what was allowed" in said
    again = call(own_csv, out, cache, "--max-loss", "0.02")
    assert again.code == 0 and len(pd.read_csv(out / "records.csv")) == len(records)


def test_where_no_model_is_within_the_loss_the_nearest_is_told(own_csv: Path, cache: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from autodpq import Others, Strategy, uniform_plan\n\n\n"
        "class Least(Strategy):\n    name = 'least'\n\n"
        "    def search(self, task):\n        return uniform_plan(task.fields, Others())\n"
    )
    out = tmp_path / "shrunk"
    done = call(own_csv, out, cache, "--max-loss", "0", "--strategy", f"{mine}:Least", "--steps", "1")
    assert done.code == 1 and "No model within 0 of FE's validation AUC was found: the nearest loses" in done.out, done
    assert not (out / "model.safetensors").exists()
