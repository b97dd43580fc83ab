"""What is known beforehand: the plan that generated the embedded data, and the paper's Space on MovieLens-1M."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from support.command_line import Call
from support.command_line import call_here as call_in_process

from autodpq.data import DATASETS, load_dataset
from autodpq.models import MODELS
from autodpq.plan import CompressionPlan
from autodpq.training.fit import DeviceRows, evaluate
from autodpq.training.recipes import find_recipe
from autodpq.training.trainer import Trainer
from studies.config import SPLIT_SEED
from studies.folder.records import load_state
from studies.prepared import prepare


@pytest.mark.slow  # three trainings of all generated rows
def test_autodpq_comes_near_the_plan_that_generated_the_data(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "study"
    done = call_in_process(
        "run", "--dataset", "synthetic", "--strategies", "autodpq", "--seeds", "1", "--out", out, cache=cache
    )
    assert done.code == 0, done.err
    result = json.loads(next(out.glob("runs/*/result.json")).read_text())
    spec, cpu = DATASETS["synthetic"], torch.device("cpu")
    ready = prepare(
        lambda: load_dataset("synthetic", cache_dir=cache),
        threshold=spec.threshold,
        split_method=spec.split_method,
        split_seed=SPLIT_SEED,
        frequency_scope="all",
    )
    assert ready.truth is not None and ready.truth == result["truth"]
    trainer = Trainer(ready.fields, MODELS.find("deepfm"), find_recipe("paper"), 0, cpu, ready.train, ready.valid)
    pretrained = load_state(next(out.glob("pretrained/*.safetensors")))
    test = DeviceRows.load(ready.test(), cpu)

    def test_auc(plan: str | float) -> float:
        network, _ = trainer.train_plan(CompressionPlan.from_json(str(plan)), pretrained)
        return evaluate(network, test).auc

    true_auc, chosen_auc = test_auc(ready.truth["plan"]), test_auc(result["record"]["plan"])
    assert chosen_auc >= true_auc - 0.002, (chosen_auc, true_auc)
    # What the run itself ends with, trained from the search's centroids, is no worse.
    assert result["record"]["test_auc"] >= true_auc - 0.002, (result["record"]["test_auc"], true_auc)
    assert max(chosen_auc, true_auc) < result["truth"]["bayes_auc"]


@pytest.mark.slow
def test_audit_of_movielens_gives_the_paper_s_space(call_here: Call) -> None:
    folder = _SOURCE
    assert folder, "set AUTODPQ_DATA to the folder that holds ml-1m.zip or ml-1m/"
    done = call_here("audit", "--dataset", "movielens1m", "--data-dir", folder)
    assert done.code == 0, done.err
    assert "V = 13,561" in done.out and "h = 10,711" in done.out
    spaces = {}
    for line in done.out.splitlines():
        name, _, rest = line.replace(", ", ",").partition(" ")
        if name in ("FE", "Others", "(8,8)", "(32,2)", "(32,8)"):
            spaces[name] = rest.split()[0]
    assert spaces == {
        "FE": "216,976",
        "Others": "171,456",
        "(8,8)": "194,816",
        "(32,2)": "179,636",
        "(32,8)": "196,736",
    }


# Read before fixtures hide it from the command line.
_SOURCE = os.environ.get("AUTODPQ_DATA")
