from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from autodpq.errors import AutoDPQError
from autodpq.plan import DPQ, CompressionPlan, Others, uniform_plan
from autodpq.strategy import STRATEGIES, Strategy
from autodpq.task import SearchTask
from autodpq.testing import reachable_arrays
from studies.config import check_config
from studies.progress import Progress
from studies.runner import run_study

Run = Callable[..., pd.DataFrame]
PARTS = {"train": 500, "valid": 130, "test": 70}


class Probe(Strategy):
    """Looks at everything that it can come by."""

    name: ClassVar[str] = "probe"
    lengths: ClassVar[set[int]] = set()

    def search(self, task: SearchTask) -> CompressionPlan:
        with task.phase("search"):
            task.evaluate(uniform_plan(task.fields, Others()))
        Probe.lengths |= {array.shape[0] for array in reachable_arrays(task) if array.ndim}
        return task.history[0].plan


class Outside(Strategy):
    """Gives a plan that is not in the space."""

    name: ClassVar[str] = "outside"

    def search(self, task: SearchTask) -> CompressionPlan:
        return uniform_plan(task.fields, DPQ(64, 8))


@pytest.fixture(autouse=True)
def _strategies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Probe.lengths.clear()
    for strategy in (Probe, Outside):
        monkeypatch.setitem(STRATEGIES, strategy.name, strategy)
    yield


@pytest.fixture
def run(tmp_path: Path) -> Run:
    rng = np.random.default_rng(5)
    n_rows = sum(PARTS.values())
    user, item = (rng.zipf(1.6, n_rows) % 60 for _ in range(2))
    labels = (rng.random(n_rows) < 1 / (1 + np.exp(-np.sin(user) - np.cos(item)))).astype(int)
    part = [name for name, size in PARTS.items() for _ in range(size)]
    path = tmp_path / "own.csv"
    pd.DataFrame({"click": labels, "user": user, "item": item, "part": part}).to_csv(path, index=False)

    def study(strategies: str, folder: str = "study", **values: Any) -> pd.DataFrame:
        config = {
            "dataset": str(path),
            "strategies": tuple(strategies.split(",")),
            "seeds": 1,
            "K": (4,),
            "D": (2,),
            "split_column": "part",
            "cache_dir": str(tmp_path / "cache"),
            **values,
        }
        return run_study(check_config(config), tmp_path / folder, Progress(Console(file=io.StringIO())))

    return study


def test_no_strategy_can_come_by_the_test_rows(run: Run) -> None:
    run("probe")
    assert {PARTS["train"], PARTS["valid"]} <= Probe.lengths
    assert not {PARTS["test"], sum(PARTS.values())} & Probe.lengths


def test_plan_outside_of_the_space_is_refused_and_leaves_no_result(run: Run, tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"dpq\(64,8\) is not among its candidates"):
        run("outside")
    assert not list(tmp_path.glob("study/runs/*/result.json"))


def test_phases_add_up_and_epochs_are_counted(run: Run, tmp_path: Path) -> None:
    frame = run("fe,others,fe-continued,autodpq,probe")
    phases = frame[["seconds_pretrain", "seconds_search", "seconds_retrain"]]
    np.testing.assert_allclose(phases.sum(axis=1), frame["seconds"])
    rows = frame.set_index("strategy")
    assert rows.loc["fe", "seconds_search"] == rows.loc["fe", "seconds_retrain"] == 0
    assert (rows["seconds_pretrain"] == rows.loc["fe", "seconds_pretrain"]).all()
    results = {json.loads(path.read_text())["run"]: path for path in tmp_path.glob("study/runs/*/result.json")}
    for name, row in rows.iterrows():
        result = json.loads(results[row["run"]].read_text())
        assert sum(result["epochs"].values()) == row["epochs"], name
        assert result["curve"][-1]["test_auc"] == row["test_auc"], name
    assert rows.loc["probe", "trials"] == 1 and rows.loc["fe", "trials"] == 0


def test_from_scratch_only_what_uses_the_pretrained_network_is_charged_for_it(run: Run) -> None:
    rows = run("fe,others,probe", init="scratch").set_index("strategy")
    assert rows.loc["fe", "seconds_pretrain"] > 0
    assert rows.loc["others", "seconds_pretrain"] == rows.loc["probe", "seconds_pretrain"] == 0


def test_folder_of_another_recipe_is_refused(run: Run) -> None:
    run("fe")
    with pytest.raises(AutoDPQError, match=r"--out: .*recipe 'paper', not 'strong'"):
        run("fe", recipe="strong")


def test_damaged_weights_of_an_interrupted_run_are_named(run: Run, tmp_path: Path) -> None:
    run("fe")
    for path in tmp_path.glob("study/runs/*/result.json"):
        path.unlink()
    for path in tmp_path.glob("study/pretrained/*.safetensors"):
        path.write_bytes(b"damaged")
    with pytest.raises(AutoDPQError, match="not readable as weights"):
        run("fe")
