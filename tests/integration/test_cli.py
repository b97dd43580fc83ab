"""A small study of all strategies through the real command line, and what the other commands print."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command_line import Call, Called, call_cli

from autodpq._version import __version__

STRATEGIES = ("fe", "fe-continued", "others", "grid", "random", "autodpq")
SEEDS = 2
TIMES = ("seconds", "seconds_pretrain", "seconds_search", "seconds_retrain")


@pytest.fixture(scope="module")
def arguments(own_csv: Path) -> list[str]:
    text = f"run --dataset {own_csv} --seeds {SEEDS} --trials 2 --K 4,8 --D 2 --threshold 8 --out"
    return text.split()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, arguments: list[str], cache: Path) -> tuple[Path, Called]:
    out = tmp_path_factory.mktemp("out") / "study"
    done = call_cli(*arguments, out, cache=cache)
    assert done.code == 0, done.err
    return out, done


@pytest.fixture
def copy(study: tuple[Path, Called], tmp_path: Path) -> Path:
    """A copy of the study that a test may damage."""
    shutil.copytree(study[0], tmp_path / "study")
    return tmp_path / "study"


def records_of(study: Path) -> pd.DataFrame:
    return pd.read_csv(study / "records.csv", dtype=str).set_index("run")


def without_times(value: Any) -> Any:
    """Results but for what a clock says."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if "seconds" not in key}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def test_every_run_has_one_row_and_one_result(study: tuple[Path, Called]) -> None:
    out, done = study
    records = pd.read_csv(out / "records.csv")
    assert sorted(zip(records["strategy"], records["seed"], strict=True)) == sorted(
        (name, seed) for name in STRATEGIES for seed in range(SEEDS)
    )
    assert {path.parent.name for path in out.glob("runs/*/result.json")} == set(records["run"])
    assert (records["test_auc"].between(0.4, 1)).all() and (records["bytes"] > 0).all()
    assert dict(zip(records["strategy"], records["trials"], strict=True)) == {
        **dict.fromkeys(STRATEGIES, 0),
        "grid": 2,
        "random": 2,
    }
    assert (records["failed_trials"] == 0).all() and set(records["recipe"]) == {"paper"}
    assert f"[{len(records)}/{len(records)}]" in done.out and done.err == ""
    assert not list(out.rglob("*.part")) and not list(out.glob("runs/*/incumbents"))


def test_strategies_learn_and_are_charged_alike(study: tuple[Path, Called]) -> None:
    records = pd.read_csv(study[0] / "records.csv")
    full = records[records["strategy"] == "fe"].set_index("seed")
    for row in records.itertuples():
        assert row.parameters <= full.loc[row.seed, "parameters"]
        assert row.seconds_pretrain == full.loc[row.seed, "seconds_pretrain"]
        assert row.seconds == pytest.approx(row.seconds_pretrain + row.seconds_search + row.seconds_retrain)


def test_report_is_written(study: tuple[Path, Called]) -> None:
    out, done = study
    names = {path.name for path in (out / "report").iterdir()}
    assert {"README.md"} | {
        f"{table}.{kind}" for table in ("table1", "table2", "headroom") for kind in ("md", "tex", "csv")
    } <= names
    assert any(name.startswith("figure3") for name in names)
    assert "start with README.md there" in done.out
    table = (out / "report" / "table1.md").read_text()
    assert "AutoDPQ" in table and "Grid" in table


def test_same_command_again_runs_nothing(study: tuple[Path, Called], arguments: list[str], cache: Path) -> None:
    out, _ = study
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.json*")}
    records = (out / "records.csv").read_bytes()
    begin = time.monotonic()
    again = call_cli(*arguments, out, cache=cache)
    assert again.code == 0, again.err
    assert "12 runs, 12 of them done before" in again.out
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.json*")} == before
    assert (out / "records.csv").read_bytes() == records
    assert time.monotonic() - begin < 60


def test_lost_result_is_measured_anew_with_the_same_digits(copy: Path, arguments: list[str], cache: Path) -> None:
    before = records_of(copy)
    lost = {}
    for strategy in ("autodpq", "random"):
        run = before.index[(before["strategy"] == strategy) & (before["seed"] == "1")][0]
        path = copy / "runs" / run / "result.json"
        lost[path] = json.loads(path.read_text())
        shutil.rmtree(path.parent)
    kept = {path: path.stat().st_mtime_ns for path in copy.glob("runs/*/result.json")}
    again = call_cli(*arguments, copy, cache=cache, env={"PYTHONHASHSEED": "77"})
    assert again.code == 0, again.err
    assert "12 runs, 10 of them done before" in again.out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(records_of(copy).drop(columns=[*TIMES]), before.drop(columns=[*TIMES]))
    for path, result in lost.items():
        assert without_times(json.loads(path.read_text())) == without_times(result)


def test_result_lost_after_its_trials_is_put_together_again(copy: Path, arguments: list[str], cache: Path) -> None:
    before = records_of(copy)
    run = before.index[(before["strategy"] == "grid") & (before["seed"] == "0")][0]
    (copy / "runs" / run / "result.json").unlink()
    again = call_cli(*arguments, copy, cache=cache)
    assert again.code == 0, again.err
    pd.testing.assert_frame_equal(records_of(copy).drop(columns=[*TIMES]), before.drop(columns=[*TIMES]))


def test_fresh_study_gives_the_same_digits(
    study: tuple[Path, Called], arguments: list[str], cache: Path, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    again = call_cli(*arguments, out, "--strategies", "autodpq", "--seeds", "1", "--jobs", "2", cache=cache)
    assert again.code == 0, again.err
    whole, alone = (records_of(folder).drop(columns=[*TIMES]) for folder in (study[0], out))
    pd.testing.assert_frame_equal(alone, whole.loc[alone.index])


def test_status_counts_what_is_done(copy: Path, call_here: Call) -> None:
    next(copy.glob("runs/*/result.json")).unlink()
    done = call_here("status", copy)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-1] == "11 of 12 runs that were begun are done"
    assert sum(line.startswith("done") for line in lines) == 11 and sum(line.startswith("begun") for line in lines) == 1


def test_report_can_be_written_anew(copy: Path, call_here: Call) -> None:
    before = (copy / "report" / "table1.csv").read_bytes()
    shutil.rmtree(copy / "report")
    done = call_here("report", copy)
    assert done.code == 0 and f"files in {copy / 'report'}" in done.out.replace("\n", " ")
    assert (copy / "report" / "table1.csv").read_bytes() == before


@pytest.mark.parametrize("what", ["strategies", "models", "datasets"])
def test_list(call_here: Call, what: str) -> None:
    done = call_here("list", what)
    expected = {"strategies": STRATEGIES, "models": ("deepfm", "pnn", "dcn"), "datasets": ("synthetic", "movielens1m")}
    listed = [line.split()[0] for line in done.out.splitlines() if line.strip()]
    assert done.code == 0 and set(expected[what]) <= set(listed)


def test_audit_prices_every_uniform_plan(call_here: Call) -> None:
    done = call_here("audit", "--dataset", "synthetic")
    assert done.code == 0
    rows = [line.split() for line in done.out.splitlines()]
    prices = {row[0]: int(row[1].replace(",", "")) for row in rows if row and row[0] in ("FE", "Others")}
    # V and h of the embedded data are 3,540 and 935; five fields have rare values.
    assert prices == {"FE": 3540 * 16, "Others": (935 + 5) * 16}
    assert "(32, 8)" in done.out


def test_audit_of_one_s_own_file(call_here: Call, own_csv: Path) -> None:
    done = call_here("audit", "--dataset", own_csv, "--threshold", "8", "--K", "4", "--D", "2,4")
    assert done.code == 0 and "(4, 2)" in done.out and "(4, 4)" in done.out and "(8, 2)" not in done.out


def test_version_and_help(cache: Path) -> None:
    version, help_ = call_cli("--version", cache=cache), call_cli("run", "--help", cache=cache)
    assert (version.code, version.out) == (0, f"autodpq {__version__}\n")
    assert help_.code == 0 and "--strategies" in help_.out and "--frequency-scope" in help_.out


def test_ctrl_c_says_that_what_is_finished_is_kept(cache: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "studies.cli", "run", "--out", str(tmp_path / "study")]
    environment = {**os.environ, "AUTODPQ_CACHE": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        while not run.stdout.readline().startswith("[1/18]"):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err.startswith("Stopped.") and len(err.splitlines()) == 1
    assert len(list((tmp_path / "study").glob("runs/*/result.json"))) >= 1
