"""A small study of all strategies through the real command line, and what the other commands print."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from support.command_line import Call, Called, call_cli
from support.command_line import call_here as call_in_process
from support.installed import Site, installing
from support.patience import PATIENCE

from autodpq._version import __version__
from autodpq.errors import AutoDPQError
from studies.cli.main import app
from studies.folder.lock import alone_in
from studies.options import StudyConfig

pytestmark = pytest.mark.usefixtures("nothing_is_drawn")  # but for what a process of its own runs

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
    done = call_in_process(*arguments, out, cache=cache)
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
    """Results but for what a clock says, and for the seals over it."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if "seconds" not in key and key != "seal"}
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
    assert (records[["failed_trials", "pruned_trials", "restarted_trials"]] == 0).all(axis=None)
    assert set(records["recipe"]) == {"robust"}
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
    assert f"The report: {out / 'report' / 'index.html'}" in done.out
    table = (out / "report" / "table1.md").read_text()
    assert "AutoDPQ" in table and "Grid" in table


def test_same_command_again_runs_nothing(study: tuple[Path, Called], arguments: list[str], call_here: Call) -> None:
    out, _ = study
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.json*")}
    records = (out / "records.csv").read_bytes()
    again = call_here(*arguments, out)
    assert again.code == 0, again.err
    assert "12 runs, 12 of them done before" in again.out
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*.json*")} == before
    assert (out / "records.csv").read_bytes() == records


@pytest.mark.parametrize("elsewhere", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "elsewhere"])
def test_lost_result_is_measured_anew_with_the_same_digits(
    elsewhere: bool, copy: Path, arguments: list[str], call_here: Call, cache: Path
) -> None:
    """Also by a process of its own, whose sets and dictionaries have another order, and which draws the report."""
    before = records_of(copy)
    lost = {}
    for strategy in ("autodpq", "random"):
        run = before.index[(before["strategy"] == strategy) & (before["seed"] == "1")][0]
        path = copy / "runs" / run / "result.json"
        lost[path] = json.loads(path.read_text())
        shutil.rmtree(path.parent)
    kept = {path: path.stat().st_mtime_ns for path in copy.glob("runs/*/result.json")}
    if elsewhere:
        again = call_cli(*arguments, copy, cache=cache, env={"PYTHONHASHSEED": "77"})
        assert list((copy / "report").glob("figure3*"))
    else:
        again = call_here(*arguments, copy)
    assert again.code == 0 and again.err == "", again.err
    assert "12 runs, 10 of them done before" in again.out
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    pd.testing.assert_frame_equal(records_of(copy).drop(columns=[*TIMES]), before.drop(columns=[*TIMES]))
    for path, result in lost.items():
        assert without_times(json.loads(path.read_text())) == without_times(result)


def test_result_lost_after_its_trials_is_put_together_again(copy: Path, arguments: list[str], call_here: Call) -> None:
    before = records_of(copy)
    run = before.index[(before["strategy"] == "grid") & (before["seed"] == "0")][0]
    (copy / "runs" / run / "result.json").unlink()
    again = call_here(*arguments, copy)
    assert again.code == 0, again.err
    pd.testing.assert_frame_equal(records_of(copy).drop(columns=[*TIMES]), before.drop(columns=[*TIMES]))


def test_fresh_study_gives_the_same_digits(
    study: tuple[Path, Called], arguments: list[str], call_here: Call, tmp_path: Path
) -> None:
    out = tmp_path / "study"
    again = call_here(*arguments, out, "--strategies", "autodpq,random", "--seeds", "1", "--jobs", "2")
    assert again.code == 0, again.err
    whole, alone = (records_of(folder).drop(columns=[*TIMES]) for folder in (study[0], out))
    pd.testing.assert_frame_equal(alone, whole.loc[alone.index])


def test_status_counts_what_is_done(copy: Path, call_here: Call) -> None:
    next(copy.glob("runs/*/result.json")).unlink()
    done = call_here("status", copy)
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[-1] == "11 of 12 runs are done; stopped: the same command goes on"
    assert sum(line.startswith("done") for line in lines) == 11 and sum(line.startswith("begun") for line in lines) == 1


def test_status_tells_a_study_that_runs_from_one_that_was_stopped(copy: Path, call_here: Call) -> None:
    next(copy.glob("runs/*/result.json")).unlink()
    with alone_in(copy):
        assert call_here("status", copy).out.endswith("11 of 12 runs are done; a process is at work\n")
    assert call_here("status", copy).out.endswith("stopped: the same command goes on\n")


def test_report_can_be_written_anew(copy: Path, call_here: Call) -> None:
    before = (copy / "report" / "table1.csv").read_bytes()
    shutil.rmtree(copy / "report")
    done = call_here("report", copy)
    assert done.code == 0 and f"The report: {copy / 'report' / 'index.html'}" in done.out
    assert (copy / "report" / "table1.csv").read_bytes() == before


@pytest.mark.parametrize("what", ["strategies", "models", "datasets", "tables"])
def test_list(call_here: Call, what: str) -> None:
    done = call_here("list", what)
    expected = {
        "strategies": (*STRATEGIES, "tpe", "nsga2", "random-ray", "asha"),
        "models": ("deepfm", "pnn", "dcn", "dcnv2", "finalmlp", "gdcn"),
        "datasets": ("synthetic", "movielens1m"),
        "tables": ("synthetic", "yelp"),
    }
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


def test_version_and_help(call_here: Call) -> None:
    version, help_ = call_here("--version"), call_here("run", "--help")
    assert (version.code, version.out) == (0, f"autodpq {__version__}\n")
    assert help_.code == 0 and "--strategies" in help_.out and "--frequency-scope" in help_.out


@pytest.mark.slow  # test_killed.py interrupts a study, too
def test_ctrl_c_says_that_what_is_finished_is_kept(cache: Path, arguments: list[str], tmp_path: Path) -> None:
    options = [str(tmp_path / "study"), "--strategies", "fe,random", "--seeds", "1", "--trials", "100000"]
    command = [sys.executable, "-m", "studies.cli.main", *arguments, *options]
    environment = {**os.environ, "AUTODPQ_CACHE": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        while not run.stdout.readline().startswith("[1/2]"):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130
    assert err.startswith("Stopped.") and len(err.splitlines()) == 1
    assert len(list((tmp_path / "study").glob("runs/*/result.json"))) == 1


def test_a_study_whose_time_is_up_reports_what_is_finished_and_goes_on(
    arguments: list[str], call_here: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out, begun = tmp_path / "study", []

    def start(*_: Any) -> None:
        begun.append(True)
        if len(begun) == ends_at:
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr("studies.watch.progress.Progress.start_run", start)
    options = [out, "--strategies", "fe,others", "--seeds", "1"]
    ends_at = 1
    done = call_here(*arguments, *options, "--timeout", "3600")
    assert (done.code, done.err) == (2, "Error: timeout: no run has ended in 3600 s; the same command goes on\n")
    begun.clear()
    ends_at = 2
    done = call_here(*arguments, *options, "--timeout", "3600")
    assert done.code == 1 and done.err == "", done.err
    assert "| FE " in (out / "report" / "table1.md").read_text()
    assert done.out.splitlines()[-1] == "The time is up: 1 of the runs is missing; the same command goes on from there"
    ends_at = 0
    done = call_here(*arguments, *options, "--timeout", "3600")
    assert done.code == 0 and "The time is up" not in done.out, done
    assert len(records_of(out)) == 2


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with installing(tmp_path, monkeypatch) as made:
        yield made


MINE = """
from autodpq.plan import CompressionPlan
from autodpq.search.strategy import AskTellStrategy

import beside

class Mine(AskTellStrategy):
    name = "mine"
    uses_history = False

    def __init__(self, *, shift: int = 0, word: str = "a"):
        self.shift = shift
        self.word = word

    def ask(self, number, space, rng, history):
        return CompressionPlan(beside.shifted(space, number + self.shift))
"""
BESIDE = """
def shifted(space, number):
    return {name: row[number % len(row)] for name, row in space.items()}
"""


@pytest.mark.slow
def test_strategy_of_one_s_own_runs_beside_others_and_has_a_row_in_the_tables(
    site: Site, call_here: Call, own_csv: Path, tmp_path: Path
) -> None:
    site.write("../path/mine.py", MINE)
    site.write("../path/beside.py", BESIDE)
    arguments = f"run --dataset {own_csv} --seeds 1 --trials 2 --K 4,8 --D 2 --threshold 8 --out study --jobs 2".split()
    strategies = """fe,path/mine.py:Mine(shift=1),path/mine.py:Mine(word='b, "c"')"""
    done = call_here(*arguments, "--strategies", strategies)
    assert done.code == 0 and done.err == "", done.err
    names = ["fe", "mine(shift=1)", 'mine(word="b, \\"c\\"")']
    records = pd.read_csv(tmp_path / "study" / "records.csv")
    assert records["strategy"].tolist() == names
    assert records["trials"].tolist() == [0, 2, 2]
    for name, shift in zip(records["run"][1:], (1, 0), strict=True):
        lines = (tmp_path / "study" / "runs" / name / "trials.jsonl").read_text().splitlines()
        plans = [json.loads(json.loads(line)["plan"]) for line in lines]
        assert [plan["user"] for plan in plans] == [f"dpq({(4, 8)[(number + shift) % 2]},2)" for number in range(2)]
    table = (tmp_path / "study" / "report" / "table1.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| mine(")]
    assert len(rows) == 2 and rows[0].startswith("| mine(shift=1) ")
    tidy = pd.read_csv(tmp_path / "study" / "report" / "table1.csv")
    assert tidy["strategy"].unique().tolist() == ["floor-constant", "floor-additive", *names]
    # What was measured is shown without the code that was measured.
    (tmp_path / "path" / "mine.py").unlink()
    assert "done     shop deepfm seed 0 mine(shift=1): test AUC" in call_here("status", "study").out
    assert call_here("report", "study").code == 0
    assert (tmp_path / "study" / "report" / "table1.md").read_text() == table


def test_broken_plug_in_does_not_keep_the_others_from_being_listed_or_run(
    site: Site, call_here: Call, own_csv: Path
) -> None:
    site.write("beside.py", BESIDE)
    site.install("sound-things", MINE, {"autodpq.strategies": {"mine": "sound_things:Mine"}})
    points = {"broken": "broken_things:Mine", "grid": "broken_things:Mine"}
    site.install("broken-things", "raise RuntimeError('one\\ntwo')\n", {"autodpq.strategies": points})
    listed = call_here("list", "strategies")
    assert listed.code == 0 and listed.err == ""
    lines = {line.split()[0]: line for line in listed.out.splitlines() if "cannot be used" not in line}
    assert lines["mine"].split()[1:3] == ["sound-things", "1.0"] and {*STRATEGIES} <= set(lines)
    (broken,) = (line for line in listed.out.splitlines() if line.startswith("broken "))
    assert "cannot be used: strategy 'broken' of broken-things 1.0 does not load: RuntimeError: one two" in broken
    arguments = f"run --dataset {own_csv} --seeds 1 --trials 1 --K 4 --D 2 --threshold 8 --out study".split()
    done = call_here(*arguments, "--strategies", "grid,mine")
    assert done.code == 0, done.err
    assert pd.read_csv("study/records.csv")["strategy"].tolist() == ["grid", "mine"]


Config = Callable[..., StudyConfig]


@pytest.fixture
def config_of(call_here: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Config:
    """The options that a command line comes to, by which nothing is run."""

    def config(text: str, *arguments: str) -> StudyConfig:
        seen: list[StudyConfig] = []

        def see(config: StudyConfig, *_: Any) -> None:
            seen.append(config)
            raise AutoDPQError("it was seen")

        monkeypatch.setattr("studies.runner.run_study", see)
        (tmp_path / "study.toml").write_text(text)
        done = call_here("run", *arguments, "--config", tmp_path / "study.toml")
        assert done.err == "Error: it was seen\n"
        return seen[0]

    return config


def test_every_option_of_a_study_can_be_given_on_the_command_line_and_in_the_file() -> None:
    command: Any = typer.main.get_command(app)
    options = {option.name for option in command.commands["run"].params}
    assert options - {"config", "out", "replay", "help"} == set(StudyConfig.model_fields) - {"options"}


BOTH = [
    ("dataset", '"movielens1m"', "avazu", "avazu", "movielens1m"),
    ("strategies", '["fe", "grid"]', "random,tpe(batch_size=2)", ("random", "tpe(batch_size=2)"), ("fe", "grid")),
    ("strategies", '["fe"]', "all", ("all",), ("fe",)),
    ("models", '["pnn"]', "deepfm", ("deepfm",), ("pnn",)),
    ("seeds", "5", "3", 3, 5),
    ("recipe", '"strong"', "paper", "paper", "strong"),
    ("trials", "7", "2", 2, 7),
    ("threshold", "30", "20", 20, 30),
    ("K", "[4]", "8,16", (8, 16), (4,)),
    ("D", "[4]", "2,4", (2, 4), (4,)),
    ("candidates", '["dpq(8,2)", "others"]', "dpq(4,2),full", ("dpq(4,2),full",), ("dpq(8,2)", "others")),
    ("candidates", '"others"', "dpq(4,2)", ("dpq(4,2)",), ("others",)),
    ("init", '"scratch"', "pretrained", "pretrained", "scratch"),
    ("split", '"time"', "random", "random", "time"),
    ("frequency_scope", '"train"', "all", "all", "train"),
    ("device", '"cpu"', "auto", "auto", "cpu"),
    ("jobs", "4", "1", 1, 4),
    ("label", '"clicked"', "click", "click", "clicked"),
    ("split_column", '"part"', "half", "half", "part"),
    ("time_column", '"hour"', "day", "day", "hour"),
    ("multi", '["tags", "words:|"]', "tags:;", ("tags:;",), ("tags", "words:|")),
    ("weight_column", '"dwell"', "value", "value", "dwell"),
    ("data_dir", '"there"', "here", "here", "there"),
    ("cache_dir", '"there"', "here", "here", "there"),
    ("mirror", '"sqlite:///a.db"', "b.log", "b.log", "sqlite:///a.db"),
]


@pytest.mark.parametrize(("option", "in_file", "given", "wins", "else_"), BOTH)
def test_command_line_stands_before_the_file_even_where_it_says_what_is_so_anyway(
    config_of: Config, option: str, in_file: str, given: str, wins: object, else_: object
) -> None:
    text = f"{option} = {in_file}"
    alone = config_of(text)
    assert getattr(alone, option) == else_
    untouched = {name: value for name, value in StudyConfig() if name != option}
    assert {name: value for name, value in alone if name != option} == untouched
    both = config_of(text, f"--{option.replace('_', '-')}", given)
    assert getattr(both, option) == wins
    assert {name: value for name, value in both if name != option} == untouched


def test_options_of_ray_and_flags_in_both(config_of: Config) -> None:
    text = 'executor = "ray"\nray_address = "a:1"\ncpus_per_trial = 2\ngpus_per_trial = 0.5\nresplit = true'
    config = config_of(text)
    assert (config.executor, config.ray_address, config.cpus_per_trial, config.gpus_per_trial) == ("ray", "a:1", 2, 0.5)
    assert config.resplit
    config = config_of(text, "--ray-address", "auto", "--cpus-per-trial", "1", "--gpus-per-trial", "0")
    assert (config.executor, config.ray_address, config.cpus_per_trial, config.gpus_per_trial) == ("ray", "auto", 1, 0)
    assert config_of("", "--resplit").resplit
    assert not config_of(text, "--no-resplit").resplit


def test_options_of_strategies_in_the_file_apply_to_those_that_the_command_line_names(config_of: Config) -> None:
    from studies.config import make_strategies

    text = 'strategies = ["fe"]\n[options.tpe]\nbatch_size = 2'
    config = config_of(text, "--strategies", "tpe,tpe(batch_size=3)")
    assert [vars(strategy) for strategy in make_strategies(config)] == [{"batch_size": 2}, {"batch_size": 3}]


def test_file_of_options_runs(call_here: Call, own_csv: Path, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        f"""
        dataset = "{own_csv}"
        strategies = ["fe", "fe-continued"]
        seeds = 2
        threshold = 8
        [options.fe-continued]
        search_epochs = 1
        """
    )
    done = call_here("run", "--config", tmp_path / "study.toml", "--seeds", "1", "--out", tmp_path / "study")
    assert done.code == 0, done.err
    records = pd.read_csv(tmp_path / "study" / "records.csv")
    assert records["strategy"].tolist() == ["fe", "fe-continued(search_epochs=1)"]
