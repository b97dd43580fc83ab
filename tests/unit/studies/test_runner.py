from __future__ import annotations

import gc
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from support.installed import installing
from support.small_study import PARTS, Run

from autodpq.choices import DPQ, Full, Others
from autodpq.data import EncodedDataset, Samples
from autodpq.errors import AutoDPQError, TrainingError
from autodpq.models import MODELS
from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.search.strategy import STRATEGIES, Strategy
from autodpq.search.task import SearchTask
from autodpq.testing import reachable_arrays
from autodpq.training.fit import DeviceRows
from autodpq.training.trainer import Trainer
from autodpq.trial import best_trial
from reports import load_study, table1
from studies.watch.progress import Progress


class Probe(Strategy):
    """Looks at everything that it can come by."""

    name: ClassVar[str] = "probe"
    lengths: ClassVar[set[int]] = set()

    def search(self, task: SearchTask) -> CompressionPlan:
        with task.phase("search"):
            task.evaluate(uniform_plan(task.fields, Others()))
        Probe.lengths |= {array.shape[0] for array in reachable_arrays(task) if array.ndim}
        # Not by the task, but by a look around in the process.
        Probe.lengths |= {
            len(rows) for rows in gc.get_objects() if isinstance(rows, Samples | DeviceRows | EncodedDataset)
        }
        return task.history[0].plan


class Outside(Strategy):
    """Gives a plan that is not in the space."""

    name: ClassVar[str] = "outside"

    def search(self, task: SearchTask) -> CompressionPlan:
        return uniform_plan(task.fields, DPQ(64, 8))


class Hopeless(Strategy):
    """Tries what cannot be trained in the time there is, or its best trial."""

    name: ClassVar[str] = "hopeless"

    def search(self, task: SearchTask) -> CompressionPlan:
        with task.phase("search"):
            task.evaluate_many([uniform_plan(task.fields, choice) for choice in (Full(), Others())])
        return best_trial(task.history).plan


class Prunes(Strategy):
    """Ends its second trial after the first epoch; may be interrupted when it is asked about its third."""

    name: ClassVar[str] = "prunes"
    stops: ClassVar[bool] = False
    asked: ClassVar[list[tuple[int, tuple[float, ...]]]] = []

    def search(self, task: SearchTask) -> CompressionPlan:
        def prune(number: int, valid_aucs: Sequence[float]) -> bool:
            if self.stops and (number, len(valid_aucs)) == (2, 2):
                raise KeyboardInterrupt
            self.asked.append((number, tuple(valid_aucs)))
            return number == 1

        with task.phase("search"):
            plans = [uniform_plan(task.fields, choice) for choice in (DPQ(4, 2), Full(), Others(), DPQ(4, 2))]
            task.evaluate_many(plans, prune)
        return best_trial(task.history).plan


@pytest.fixture(autouse=True)
def _strategies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Probe.lengths.clear()
    Prunes.asked.clear()
    Prunes.stops = False
    with installing(tmp_path, monkeypatch):
        for strategy in (Probe, Outside, Hopeless, Prunes):
            STRATEGIES.add(strategy)
        yield


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_strategy_can_come_by_the_test_rows(run: Run, jobs: int) -> None:
    run("probe", jobs=jobs)
    assert {PARTS["train"], PARTS["valid"]} <= Probe.lengths
    assert not {PARTS["test"], sum(PARTS.values())} & Probe.lengths


def test_a_run_whose_trials_all_fail_is_recorded_as_failed_and_the_study_goes_on(run: Run, tmp_path: Path) -> None:
    told = io.StringIO()
    records = run("hopeless,fe", trial_timeout=1e-9, told=told)
    failed, fe = records.sort_values("strategy", ascending=False).to_dict("records")
    assert failed["strategy"] == "hopeless" and fe["strategy"] == "fe" and pd.isna(fe["error"]) and fe["test_auc"] > 0
    reason = "no trial is complete: TrainingError: the trial took longer than its 1e-09 s (--trial-timeout)"
    assert failed["error"] == reason and failed["trials"] == failed["failed_trials"] == 2 and failed["plan"] == ""
    numbers = ["test_auc", "test_logloss", "valid_auc", "valid_logloss", "parameters", "bytes"]
    assert all(pd.isna(failed[name]) for name in numbers)
    assert f"hopeless: failed: {reason}, " in told.getvalue()
    lines = [json.loads(line) for line in (tmp_path / "study/runs" / failed["run"] / "trials.jsonl").open()]
    assert [line["state"] for line in lines] == ["failed"] * 2 and all("took longer" in line["error"] for line in lines)
    # It is done: the same command does nothing anew, and tells the same.
    told = io.StringIO()
    pd.testing.assert_frame_equal(run("hopeless,fe", trial_timeout=1e-9, told=told), records)
    assert "2 of them done before" in told.getvalue()
    study = load_study(tmp_path / "study")
    (failure,) = study.failures
    assert (failure.strategy, failure.seed, failure.reason) == ("hopeless", 0, reason)
    assert study.records["strategy"].tolist() == ["fe"]
    text = table1(study).to_text()
    assert re.search(r"^hopeless +failed( +[-\u2013\u2014])+ *$", text, re.MULTILINE), text
    assert f"hopeless, seed 0, failed and is in no number: {reason}." in " ".join(text.split())


def test_a_trial_that_code_ends_leaves_its_traceback(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train_plan = Trainer.train_plan

    def breaks_for_full(trainer: Trainer, plan: CompressionPlan, *others: Any) -> Any:
        if set(plan.values()) == {Full()}:
            raise RuntimeError("made to fail")
        return train_plan(trainer, plan, *others)

    monkeypatch.setattr(Trainer, "train_plan", breaks_for_full)
    told, quiet = io.StringIO(), io.StringIO()
    (record,) = run("hopeless", told=told, log_level="debug").to_dict("records")
    assert record["failed_trials"] == 1 and pd.isna(record["error"])
    failed, complete = (json.loads(line) for line in (tmp_path / f"study/runs/{record['run']}/trials.jsonl").open())
    assert failed["error"] == "RuntimeError: made to fail" and complete["traceback"] is None
    assert failed["traceback"].startswith("Traceback (most recent call last):\n")
    assert "in breaks_for_full\n" in failed["traceback"] and failed["traceback"] in told.getvalue()
    run("hopeless", "other", told=quiet)
    assert "Traceback" not in quiet.getvalue()


def test_candidates_of_any_kind_are_tried_and_told_in_advance(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    trainings: dict[str, int] = {}

    def see(_: Progress, *given: Any) -> None:
        trainings.update(given[4])

    monkeypatch.setattr(Progress, "start_study", see)
    monkeypatch.setattr(Progress, "end_run", lambda *_: None)
    records = run("fe,grid", K=None, D=None, candidates="dpq(4,2),others,dpq(2,4)")
    by_strategy = records.set_index("strategy")
    assert by_strategy["trials"].to_dict() == {"fe": 0, "grid": 3}
    assert {name: trainings[run] for name, run in by_strategy["run"].items()} == {"fe": 2, "grid": 3}


def test_pretraining_that_comes_to_nothing_ends_the_study(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> None:
        raise TrainingError("3 of 4 predictions are NaN or infinite")

    monkeypatch.setattr("autodpq.training.trainer.Trainer.pretrain", diverge)
    with pytest.raises(AutoDPQError, match=r"^pretraining of deepfm, seed 0: 3 of 4 predictions are NaN or infinite$"):
        run("fe,others")
    assert not list(tmp_path.glob("study/runs/*/result.json"))


def test_trials_in_time_are_as_without_a_limit(run: Run) -> None:
    columns = ["test_auc", "valid_auc", "plan", "failed_trials"]
    whole, limited = (
        run("hopeless", folder, trial_timeout=limit)[columns] for folder, limit in (("a", None), ("b", 600.0))
    )
    pd.testing.assert_frame_equal(whole, limited)


def test_a_study_of_failed_runs_alone_has_no_report(run: Run, tmp_path: Path) -> None:
    run("hopeless", trial_timeout=1e-9)
    with pytest.raises(AutoDPQError, match="study: no run came to anything: hopeless: no trial is complete"):
        load_study(tmp_path / "study")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_second_study_in_a_folder_is_refused_while_the_first_runs(run: Run, tmp_path: Path, jobs: int) -> None:
    run("fe")
    before = {path: path.read_bytes() for path in (tmp_path / "study").rglob("*.json")}
    holds = (
        "import sys; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print(1, flush=True); input()"
    )
    command = [sys.executable, "-c", holds, str(tmp_path / "study" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "1\n"
        with pytest.raises(AutoDPQError, match=r"--out: another process is at work in .*study; wait until it ends"):
            run("fe,others", jobs=jobs)
        assert {path: path.read_bytes() for path in (tmp_path / "study").rglob("*.json")} == before
        other.kill()
    # The lock has died with its owner.
    assert run("fe,others")["strategy"].tolist() == ["fe", "others"]


def test_plan_outside_of_the_space_is_that_run_s_failure(run: Run) -> None:
    records = run("outside,fe").set_index("strategy")
    assert "dpq(64,8) is not among its candidates" in records.loc["outside", "error"]
    assert pd.isna(records.loc["outside", "test_auc"]) and pd.isna(records.loc["fe", "error"])


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


def test_damaged_weights_of_an_interrupted_run_are_named(run: Run, tmp_path: Path) -> None:
    run("fe")
    for path in tmp_path.glob("study/runs/*/result.json"):
        path.unlink()
    for path in tmp_path.glob("study/pretrained/*.safetensors"):
        path.write_bytes(b"damaged")
    with pytest.raises(AutoDPQError, match="not readable as weights"):
        run("fe")


TIMES = ["seconds", "seconds_pretrain", "seconds_search", "seconds_retrain", "study"]


def trials_of(folder: Path, run: str) -> list[dict[str, Any]]:
    lines = (folder / "runs" / run / "trials.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None, "seal": None} for line in lines]


PLUG_IN = """
from autodpq.models import DeepFM
from autodpq.choices import Others
from autodpq.plan import uniform_plan
from autodpq.search.strategy import Strategy

class Mine(Strategy):
    name = "mine"

    def __init__(self, *, word: str = "a"):
        self.word = word

    def search(self, task):
        with task.phase("search"):
            task.evaluate_many([uniform_plan(task.fields, Others()), task.trainer.full_plan()])
        return task.history[0].plan

class Deep(DeepFM):
    name = "deep"
"""


def forget(name: str) -> None:
    """What a process of its own would not know."""
    STRATEGIES.forget("mine")
    MODELS.forget("deep")
    del sys.modules[name]


@pytest.mark.slow  # test_processes.py compares outcomes, test_cli.py records
def test_processes_side_by_side_leave_the_same_records(run: Run, tmp_path: Path) -> None:
    strategies = "random,tpe(batch_size=2),prunes"
    (tmp_path / "mine.py").write_text(PLUG_IN)
    models = ("mine.py:Deep",)  # which the processes have to load as well
    here = run(strategies, "here", trials=4, models=models, told=(told := io.StringIO()))
    asked = sorted(Prunes.asked)
    Prunes.asked.clear()
    there = run(strategies, "there", trials=4, models=models, jobs=2)
    pd.testing.assert_frame_equal(here.drop(columns=TIMES), there.drop(columns=TIMES))
    for name in here["run"]:
        assert trials_of(tmp_path / "here", name) == trials_of(tmp_path / "there", name)
    assert sorted(Prunes.asked) == asked
    counts = ["trials", "failed_trials", "pruned_trials", "restarted_trials"]
    rows = here.set_index("strategy")[counts].to_dict("index")
    assert rows["prunes"] == dict(zip(counts, (4, 0, 1, 0), strict=True))
    assert rows["random"] == rows["tpe(batch_size=2)"] == dict(zip(counts, (4, 0, 0, 0), strict=True))
    assert "epochs, 4 trials (1 pruned), " in told.getvalue() and "epochs, 4 trials, " in told.getvalue()


def test_where_nobody_says_how_many_are_trained_side_by_side_the_rows_and_the_cores_do(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("studies.runner.jobs_for", lambda n_rows: seen.append(n_rows) or 2)
    for name, values, jobs in (("cores", {}, 2), ("one", {"jobs": 1}, 1)):
        (run_id,) = run("others", name, **values)["run"]
        assert json.loads((tmp_path / name / "runs" / run_id / "config.json").read_text())["jobs"] == jobs
    assert seen == [sum(PARTS.values())]


def test_interrupted_run_goes_on_with_what_its_pruner_knew(run: Run, tmp_path: Path) -> None:
    whole = run("prunes", "whole")
    asked = list(Prunes.asked)
    assert {number for number, _ in asked} == {0, 1, 2, 3} and max(len(aucs) for _, aucs in asked) > 1
    Prunes.stops = True
    with pytest.raises(KeyboardInterrupt):
        run("prunes", "cut")
    (name,) = whole["run"]
    assert [line["state"] for line in trials_of(tmp_path / "cut", name)] == ["complete", "pruned"]
    Prunes.stops = False
    Prunes.asked.clear()
    again = run("prunes", "cut")
    assert Prunes.asked == asked
    pd.testing.assert_frame_equal(whole.drop(columns=TIMES), again.drop(columns=TIMES))
    assert trials_of(tmp_path / "cut", name) == trials_of(tmp_path / "whole", name)


@pytest.mark.parametrize("word", ["[/b]", "[bold]", ":ant:", "[1, 2]"])
def test_names_are_shown_as_they_are_on_a_terminal(run: Run, tmp_path: Path, word: str) -> None:
    (tmp_path / "mine.py").write_text(PLUG_IN)
    told = io.StringIO()
    console = Console(
        file=told, force_terminal=True, color_system=None, width=400, emoji=False, _environ={"TERM": "xterm"}
    )
    frame = run(f"mine.py:Mine(word='{word}')", console=console)
    name = f'mine(word="{word}")'
    assert frame["strategy"].tolist() == [name]
    finished = [line for line in told.getvalue().splitlines() if "test AUC" in line]
    assert len(finished) == 1 and f"seed 0 {name}: test AUC" in finished[0]
    assert f"deepfm seed 0 {name} " in told.getvalue().replace(finished[0], ""), "the bar does not tell it"


def test_name_of_a_file_is_shown_as_it_is(run: Run, tmp_path: Path) -> None:
    run("fe", "first")  # writes the file
    (tmp_path / "own.csv").rename(tmp_path / "[a] [bold].csv")
    run("fe", told=(told := io.StringIO()), dataset=str(tmp_path / "[a] [bold].csv"))
    assert told.getvalue().startswith("[a] [bold]: 700 rows, 2 fields, ")


def test_variants_of_one_strategy_have_rows_and_folders_of_their_own(run: Run, tmp_path: Path) -> None:
    frame = run("fe-continued,fe-continued(search_epochs=1)")
    assert frame["strategy"].tolist() == ["fe-continued", "fe-continued(search_epochs=1)"]
    for name, options in zip(frame["run"], ({"search_epochs": 2}, {"search_epochs": 1}), strict=True):
        config = json.loads((tmp_path / "study" / "runs" / name / "config.json").read_text())
        assert config["options"] == options
    assert frame["seconds_pretrain"].nunique() == 1, "they share the pretrained network"


def test_plug_in_that_was_changed_is_not_mixed_with_what_was_measured(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUG_IN)
    studies = {"strategy 'mine'": ("mine.py:Mine", "deepfm"), "model 'deep'": ("fe", "mine.py:Deep")}
    before = {part: run(strategy, part, models=(model,)) for part, (strategy, model) in studies.items()}
    for part, (strategy, model) in studies.items():
        pd.testing.assert_frame_equal(run(strategy, part, models=(model,)), before[part])
    forget(STRATEGIES["mine"].__module__)
    file.write_text(PLUG_IN + "# changed\n")
    for part, (strategy, model) in studies.items():
        with pytest.raises(AutoDPQError, match=f"{part}: its code is not what .*{part}/runs/.* was measured with"):
            run(strategy, part, models=(model,))
        left = pd.read_csv(tmp_path / part / "records.csv")
        assert left["run"].tolist() == before[part]["run"].tolist()
        again = run(strategy, f"{part} anew", models=(model,))
        pd.testing.assert_frame_equal(again.drop(columns=TIMES), before[part].drop(columns=TIMES))


def test_that_nothing_is_rare_is_told_before_anything_is_trained(run: Run) -> None:
    told = io.StringIO()
    records = run("others", "common", told=told, threshold=1, recipe="strong(max_epochs=1)")
    said = told.getvalue()
    warning = "Warning: no value is rare at threshold 1, so that strategies have nothing to search"
    assert warning in said and said.index(warning) < said.index("others: test AUC") and len(records) == 1
    told = io.StringIO()
    run("fe", "kept", told=told, threshold=1, recipe="strong(max_epochs=1)")
    assert "nothing to search" not in told.getvalue()
