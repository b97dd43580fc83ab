"""Studies of the wide space through the command line: every row, any choice, within budgets of bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.command_line import call_here
from torch import Tensor

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.search.sensitivity import rises
from autodpq.serving import open_model
from autodpq.training.trainer import Trainer
from autodpq.trial import Rises, Space

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")

RECIPE = "robust(batch_size=512, max_epochs=2, hidden=(16,16))"
STRATEGIES = "fe,others,grid,random,sensitivity,autodpq"
BUDGETS = (0.3, 0.15)


@pytest.fixture(scope="module")
def found() -> Iterator[list[Rises]]:
    """What the studies of this file have found out about the rise of the loss."""
    every: list[Rises] = []

    def find(trainer: Trainer, pretrained: Mapping[str, Tensor], space: Space) -> Rises:
        every.append(rises(trainer, pretrained, space))
        return every[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("studies.sharing.rises", find)
        yield every


@pytest.fixture(scope="module")
def wide(
    own_csv: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory, found: list[Rises]
) -> tuple[list[str], Path, str]:
    out = tmp_path_factory.mktemp("wide") / "study"
    asked = ["run", "--dataset", str(own_csv), "--space", "wide", "--bands", "60,12,4", "--strategies", STRATEGIES]
    asked += ["--candidates", "others,int(2|4|8),narrow(4),hashed(5),dpq(4|16,2|8)", "--budget", "30%,15%"]
    asked += ["--recipe", RECIPE, "--seeds", "1", "--trials", "2", "--out", str(out)]
    done = call_here(*asked, cache=cache)
    assert done.code == 0, done.err
    return asked, out, done.out


def test_every_strategy_keeps_within_every_budget(wide: tuple[list[str], Path, str]) -> None:
    _, out, _ = wide
    records = pd.read_csv(out / "records.csv")
    assert records["error"].isna().all() and (records["space"] == "wide").all()
    (full,) = records[records["strategy"] == "fe"]["bytes"]
    compressed = records[records["strategy"] != "fe"]
    assert len(compressed) == 2 * (len(STRATEGIES.split(",")) - 1)
    assert set(compressed["budget"]) == {int(share * full) for share in BUDGETS}
    assert (compressed["bytes"] <= compressed["budget"]).all()
    trials = [json.loads(line) for path in out.glob("runs/*/trials.jsonl") for line in path.read_text().splitlines()]
    assert trials and max(trial["bytes"] for trial in trials) <= max(compressed["budget"])
    # A knapsack leaves little unused of what can be used.
    by_knapsack = compressed[compressed["strategy"] == "sensitivity"]
    assert (by_knapsack["bytes"] > 0.9 * by_knapsack["budget"]).all()


def test_what_all_budgets_have_in_common_is_found_once_and_charged_to_each(
    wide: tuple[list[str], Path, str], found: list[Rises]
) -> None:
    (once,) = found
    records = pd.read_csv(wide[1] / "records.csv").set_index("strategy")
    assert len(records.loc[["sensitivity", "autodpq"]]) == 4
    assert (records.loc[["sensitivity", "autodpq"], "seconds_search"] >= once.seconds).all()


def test_a_plan_that_suits_two_budgets_is_trained_once_and_charged_to_each(wide: tuple[list[str], Path, str]) -> None:
    _, out, _ = wide
    records = pd.read_csv(out / "records.csv").set_index("run")
    seconds: dict[str, list[float]] = {}
    for run in records[records["strategy"] == "grid"].index:
        lines = [json.loads(line) for line in (out / "runs" / str(run) / "trials.jsonl").read_text().splitlines()]
        for line in lines:
            seconds.setdefault(json.dumps(line["plan"]), []).append(line["seconds"]["search"])
        assert records.loc[run, "seconds_search"] >= sum(line["seconds"]["search"] for line in lines) > 0
    twice = [each for each in seconds.values() if len(each) == 2]
    # Two trainings never take the same time to the last digit.
    assert twice and all(first == second for first, second in twice)


def test_the_exported_file_is_what_was_measured(wide: tuple[list[str], Path, str], cache: Path, tmp_path: Path) -> None:
    _, out, _ = wide
    records = pd.read_csv(out / "records.csv").set_index("run")
    for run, record in records[records["strategy"] != "fe"].iterrows():
        path = out / "models" / f"{run}.safetensors"
        model = open_model(path)
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert path.stat().st_size - header == record["bytes"]
        plan = CompressionPlan.from_json(record["plan"])
        assert {"user/1", "user/2", "user/3", "user/4"} <= set(plan)
        kept = pd.read_parquet(out / "runs" / str(run) / "predictions.parquet")
        assert len(kept) and 0 < model.predict({name: ["1", "never seen"] for name in model.field_names}).min() < 1
    taken = tmp_path / "taken.safetensors"
    exported = call_here("export", str(out), "--out", str(taken), cache=cache)
    assert exported.code == 0 and "bytes, float16" in exported.out, exported
    audit = call_here("audit", str(taken), cache=cache)
    assert audit.code == 0 and "format 3" in audit.out and "user/4" in audit.out, audit


def test_auc_by_budget_is_the_first_that_is_shown(wide: tuple[list[str], Path, str]) -> None:
    _, out, said = wide
    assert said.index("AUC by budget: shop, deepfm") < said.index("Table 1")
    assert "--out model.safetensors (vocabulary beside it: " in " ".join(
        (out / "report" / "budgets.md").read_text().split()
    )
    table = pd.read_csv(out / "report" / "budgets.csv")
    assert len(table) == 1 + 2 * (len(STRATEGIES.split(",")) - 1)
    page = (out / "report" / "index.html").read_text()
    assert page.index("AUC by budget") < page.index("Table 1")
    assert "Sensitivity within" in page


def test_the_same_command_does_nothing_and_another_space_is_refused(
    wide: tuple[list[str], Path, str], cache: Path
) -> None:
    asked, out, _ = wide
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")}
    assert call_here(*asked, cache=cache).code == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/result.json")} == before
    narrow = [word for word in asked if word not in ("--space", "wide", "--bands", "60,12,4", "--budget", "30%,15%")]
    refused = call_here(*narrow, cache=cache)
    assert refused.code == 2 and "--space" in refused.err and "wide" in refused.err, refused.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--budget much", "--budget: 'much' is no size; 100kB, 1.5MB, 93207 or 10% (of FE's bytes) are"),
        ("--budget 0", "--budget: '0' is no size"),
        ("--budget 120%", "--budget: '120%' is more than FE's bytes"),
        ("--budget 10GB", "--budget: '10GB' is more than the "),
        ("--budget 10%,10%", "which is given twice"),
        ("--budget 500", "--budget: 500 bytes are too few: the smallest plan with deepfm takes "),
        ("--bands 10,40", "--bands: 10,40 given, falling counts from 2 on are needed"),
        ("--bands 10,1", "--bands: 10,1 given, falling counts"),
        ("--bands ten", "--bands: 'ten' given, whole numbers"),
        ("--threshold 5", "--threshold: applies to --space paper"),
        ("--space paper --bands 10,4", "--bands: applies to --space wide"),
    ],
)
def test_what_is_no_space_or_budget_is_one_line(
    own_csv: Path, cache: Path, tmp_path: Path, options: str, message: str
) -> None:
    call = ["run", "--dataset", str(own_csv), "--space", "wide", "--out", str(tmp_path / "study")]
    done = call_here(*call, *options.split(), cache=cache)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1, done.err
    assert not (tmp_path / "study").exists() or not [*(tmp_path / "study").iterdir()]


def test_a_strategy_that_ignores_the_budget_is_told(own_csv: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from autodpq import Full, Strategy, uniform_plan\n\n\n"
        "class Mine(Strategy):\n    name = 'mine'\n\n"
        "    def search(self, task):\n        return uniform_plan(task.fields, Full())\n"
    )
    out = tmp_path / "study"
    call = ["run", "--dataset", str(own_csv), "--space", "wide", "--budget", "10%", "--seeds", "1", "--recipe", RECIPE]
    done = call_here(*call, "--strategies", f"{tmp_path}/mine.py:Mine", "--out", str(out), cache=cache)
    (error,) = pd.read_csv(out / "records.csv")["error"]
    assert done.code == 2 and "mine" in done.err, done
    assert "bytes: the budget is" in error, error


def test_more_bands_than_values_leave_no_band_empty() -> None:
    from autodpq.data.dataset import EncodedDataset

    counts = (np.array([90, 50, 50, 3, 1]), np.array([120, 20]))
    ids = np.zeros((2, 2), np.int32)
    dataset = EncodedDataset("a", ("x", "y"), ids, np.zeros(2, np.uint8), counts, None, None, "0")
    x, y = dataset.banded((100, 50, 4, 2))
    assert [(band.name, band.start, band.stop) for band in x.bands] == [("x/1", 0, 3), ("x/2", 3, 4), ("x/3", 4, 5)]
    assert [(band.name, band.n_rows) for band in y.bands] == [("y/1", 1), ("y/2", 1)]
    assert dataset.banded("auto")[0].bands[0].name == "x"
    with pytest.raises(AutoDPQError, match="no value of 'a' occurs 121 times"):
        dataset.banded((121, 4))
