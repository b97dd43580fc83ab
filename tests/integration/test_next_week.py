"""A model in use meets rows of later days: it is compared with another one, updated, and patched where it is in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from support.command_line import Call
from support.packed_models import random_ids, torch_logits, values_of, write_model


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows that the model in use tells apart by chance alone better than the other one does."""
    network = write_model(tmp_path / "old.safetensors")
    write_model(tmp_path / "new.safetensors", "pnn")
    ids = random_ids(300)
    noise = np.random.default_rng(0).normal(size=300)
    values_of(ids).with_columns(pl.Series("bought", torch_logits(network, ids) + noise > 0)).write_csv(
        tmp_path / "rows.csv"
    )
    return tmp_path / "rows.csv"


def test_the_gate_says_by_its_exit_code_whether_a_model_may_be_released(call_here: Call, rows: Path) -> None:
    old, new, out = (rows.with_name(name) for name in ("old.safetensors", "new.safetensors", "o.csv"))
    asked = ["--input", rows, "--label", "bought", "--slice", "day,city", "--out", out]
    refused = call_here("compare", old, new, *asked, "--max-loss", "0.001")
    assert refused.code == 1 and refused.err == ""
    assert refused.out.splitlines()[-1].startswith("AUC changes by -0.")
    numbers = pd.read_csv(out).query("slice.isna()").set_index("model")
    assert numbers.loc["difference", "auc"] == pytest.approx(numbers.loc["new", "auc"] - numbers.loc["old", "auc"])
    assert f"{numbers.loc['difference', 'auc']:+.4f} [" in refused.out.splitlines()[-1]
    assert call_here("compare", old, new, *asked).code == 0
    passed = call_here("compare", new, old, *asked, "--max-loss", "0")
    assert passed.code == 0 and passed.out.splitlines()[-1].startswith("AUC changes by +0.")
    assert "Logloss by day" in passed.out and "Logloss by city" in passed.out


def test_what_cannot_be_compared_ends_with_one_line(call_here: Call, rows: Path) -> None:
    old = rows.with_name("old.safetensors")
    failed = call_here("compare", old, old, "--input", rows)
    assert (failed.code, failed.out) == (2, "")
    assert failed.err.strip() == f"Error: {rows}: no column 'click', which --label names; known: " + ", ".join(
        ("user", "city", "device", "shop", "day", "bought")
    )
    failed = call_here("compare", old, old, "--input", rows, "--label", "bought", "--slice", ",")
    assert failed.code == 2 and failed.err.strip().startswith("Error: --slice: ',' given, names of columns")


@pytest.mark.slow
@pytest.mark.usefixtures("nothing_is_drawn")
def test_a_model_is_updated_and_the_one_in_use_patched(call_here: Call, own_csv: Path, tmp_path: Path) -> None:
    clicks = pl.read_csv(own_csv)
    clicks.head(1500).write_csv(tmp_path / "old.csv")
    later = clicks.tail(1500).with_columns(user=pl.col("user") + 200 * (pl.int_range(pl.len()) % 5 == 0))
    later.write_parquet(tmp_path / "new.parquet")
    recipe = "robust(batch_size=256,max_epochs=1,hidden=(8,))"
    asked = ["--dataset", tmp_path / "old.csv", "--threshold", "3", "--candidates", "dpq(4,4)", "--recipe", recipe]
    study = tmp_path / "study"
    assert call_here("run", *asked, "--strategies", "grid", "--seeds", "1", "--out", study).code == 0
    used, out = tmp_path / "used.safetensors", tmp_path / "out.safetensors"
    assert call_here("export", study, "--out", used).code == 0
    done = call_here("update", used, "--input", tmp_path / "new.parquet", "--out", out)
    assert done.code == 0, done
    users = [set(frame["user"]) for frame in (clicks.head(1500), later)]
    assert f"{len(users[1] - users[0]):,}" in next(line for line in done.out.splitlines() if line.startswith("user"))
    assert "1,350 rows learned from, 150 held out: AUC 0." in done.out
    delta = tmp_path / "out.delta.safetensors"
    patched = call_here("patch", used, "--delta", delta)
    assert patched.code == 0 and used.read_bytes() == out.read_bytes()
    again = call_here("patch", used, "--delta", delta)
    assert again.code == 2 and f"Error: {used}: it is what the delta makes already" in again.err
    scored = call_here("predict", used, "--input", tmp_path / "new.parquet", "--out", tmp_path / "p.csv")
    assert scored.code == 0 and "never seen" not in scored.out
