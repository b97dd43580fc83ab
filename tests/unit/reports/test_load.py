"""Reading a study, and what is refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.fake_studies import FLOORS, write_study

from autodpq.choices import DPQ, Full
from autodpq.errors import AutoDPQError
from reports import load_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_study(tmp_path / "study", strategies=["fe", "grid"], seeds=[0, 1], models=["deepfm"])


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    (tmp_path / "study").mkdir()
    return tmp_path


def first_run(study: Path) -> Path:
    return study / "runs" / str(pd.read_csv(study / "records.csv", dtype=str)["run"][0])


def edit(path: Path, change: Callable[[Any], object]) -> None:
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_reads_what_was_written(study: Path) -> None:
    results = load_study(study)
    assert results.name == "fake"
    assert results.pairs() == [("movielens1m", "deepfm")]
    assert len(results.records) == len(results.runs) == 4
    run = next(run for run in results.runs if (run.strategy, run.seed) == ("grid", 1))
    assert {entry.choice for entry in run.fields} == {DPQ(8, 8), Full()}
    assert {entry.embedding_dim for entry in run.fields} == {16}
    assert run.fingerprint == "5f2c" * 4
    assert run.truth is None
    assert run.curve[0].phase == "pretrain"
    row = results.records[results.records["run"] == run.run].iloc[0]
    assert row["time_in_fe"] == pytest.approx(row["seconds"] / run.fe_seconds)


def test_identifiers_and_names_stay_text(study: Path) -> None:
    first_run(study).rename(study / "runs" / "12345678e123")

    def rename(data: Any) -> None:
        data["run"] = data["record"]["run"] = "12345678e123"
        data["record"]["strategy"] = "null"

    edit(study / "runs" / "12345678e123" / "result.json", rename)
    results = load_study(study)
    assert [(run.run, run.strategy) for run in results.runs][-1] == ("12345678e123", "null")
    assert results.records.iloc[-1]["run"] == "12345678e123"


def test_missing_auc_is_nan(study: Path) -> None:
    edit(first_run(study) / "result.json", lambda data: data["headroom"].update(auc_rare=None))
    assert math.isnan(load_study(study).runs[0].headroom.auc_rare)


def refused(study: Path, *words: str) -> None:
    with pytest.raises(AutoDPQError) as caught:
        load_study(study)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_no_study_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere: there is no such folder")
    refused(tmp_path, "no study folder")


def test_no_finished_run(study: Path) -> None:
    for path in study.glob("runs/*/result.json"):
        path.unlink()
    refused(study, "no run has finished yet", "result.json")


def test_tables_that_were_gathered_are_not_read(study: Path) -> None:
    (study / "records.csv").write_text("damaged")
    assert len(load_study(study).runs) == 4


@pytest.mark.parametrize(
    ("column", "value"),
    [("seed", None), ("test_auc", "high"), ("test_auc", 1.5), ("run", "../../etc"), ("run", "0" * 12),
     ("dataset", ""), ("model", "x" * 1001), ("strategy", "_fe")],
)  # fmt: skip
def test_damaged_record(study: Path, column: str, value: object) -> None:
    path = first_run(study) / "result.json"
    edit(path, lambda data: data["record"].update({column: value}))
    refused(study, f"{path}: damaged (")


@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_damaged_json(study: Path, name: str) -> None:
    path = first_run(study) / name
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    refused(study, str(path), "not valid JSON")


def test_missing_configuration(study: Path) -> None:
    path = first_run(study) / "config.json"
    path.unlink()
    refused(study, str(path), "cannot be read")


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("curve"),
        lambda data: data.update(run="0" * 12),
        lambda data: data["fields"][0].update(choice="dpq(1,2)"),
        lambda data: data.update(truth={"bayes_auc": 0.8, "plan": "no plan"}),
        lambda data: data.update(headroom=None),
    ],
)
def test_damaged_result(study: Path, change: Callable[[Any], object]) -> None:
    path = first_run(study) / "result.json"
    edit(path, change)
    refused(study, str(path), "damaged")


def test_embedding_dimension_is_the_recipe_s(study: Path) -> None:
    path = first_run(study) / "config.json"
    edit(path, lambda data: data["recipe"].update(embedding_dim=8))
    refused(study, str(path.with_name("result.json")), "field 'user' does not cost what full does")
    edit(path, lambda data: data["recipe"].pop("embedding_dim"))
    refused(study, f"{path}: damaged (KeyError: 'recipe.embedding_dim'); delete the folder it lies in")


def test_two_fingerprints(study: Path) -> None:
    edit(first_run(study) / "config.json", lambda data: data["data"].update(fingerprint="abcd"))
    refused(study, "movielens1m", "abcd", "5f2c" * 4)


def test_two_recipes(study: Path) -> None:
    edit(first_run(study) / "result.json", lambda data: data["record"].update(recipe="paper"))
    refused(study, "two recipes", "paper", "strong")


def test_a_seed_run_twice(study: Path) -> None:
    runs = pd.read_csv(study / "records.csv", dtype=str)["run"]
    edit(first_run(study) / "result.json", lambda data: data["record"].update(seed=1))
    refused(study, "run twice", runs[0], runs[1])


def test_reports_load_without_torch_and_pyplot() -> None:
    code = (
        "import sys, reports; heavy = ('torch', 'matplotlib', 'scipy', 'pandas', 'seaborn');"
        "assert not [name for name in heavy if name in sys.modules], sys.modules.keys();"
        "from reports import *; from reports import audit_rows, load_study, write_report;"
        "heavy = ('torch', 'matplotlib', 'scipy', 'seaborn');"
        "assert not [name for name in heavy if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


def test_unknown_name_is_an_attribute_error() -> None:
    import reports

    with pytest.raises(AttributeError, match="table9"):
        _ = reports.table9
    assert "write_report" in dir(reports)


def test_every_public_name_is_what_it_says() -> None:
    import reports

    # A submodule of the same name would take its function's place once it is imported.
    assert all(callable(getattr(reports, name)) for name in reports.__all__ for _ in range(2))


def test_floors_are_those_of_the_data_set_and_split(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study", strategies=["fe", "grid"], seeds=[0, 1], models=["deepfm", "pnn"],
                        floors=FLOORS, resplit=True)  # fmt: skip
    for path in study.glob("runs/*/result.json"):

        def forget(data: Any) -> None:
            seed, strategy, model = (data["record"][name] for name in ("seed", "strategy", "model"))
            if (seed, strategy, model) != (0, "fe", "pnn"):
                del data["floors"]
                data["constant_logloss"] = 0.7

        edit(path, forget)
    results = load_study(study)
    records = results.records
    known = records[records["seed"].astype(int) == 0]
    assert known["additive_auc"].tolist() == [0.7927] * 4 and known["constant_logloss"].tolist() == [0.6817] * 4
    assert known["additive_logloss"].tolist() == [0.5395] * 4
    other = records[records["seed"].astype(int) == 1]  # a split of its own, of which no run knows more
    assert other["additive_auc"].isna().all() and other["constant_logloss"].tolist() == [0.7] * 4


def test_a_result_of_an_earlier_version_has_no_floors(study: Path) -> None:
    records = load_study(study).records
    assert records[["constant_logloss", "additive_auc", "additive_logloss"]].isna().all().all()
