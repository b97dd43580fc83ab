from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from support.fake_studies import make_config, make_record

import autodpq.search.autodpq  # noqa: F401 (registers it)
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.records.folder import read_trials, write_asked
from autodpq.records.result import RECORD_COLUMNS, Record, Result
from autodpq.records.schema import TrialLine
from autodpq.search.task import SearchTask
from autodpq.testing import ToyExecutor, make_task, make_trainer
from autodpq.trial import Outcome, Prune
from baselines import FullEmbedding, Random
from studies.folder.records import RunFolder, load_state, save_state, write_records
from studies.folder.status import status_lines

FIXED = (
    "study dataset model strategy seed recipe test_auc test_logloss valid_auc valid_logloss parameters bytes seconds "
    "seconds_pretrain seconds_search seconds_retrain trials plan device machine version"
).split()


def begin(study: Path, run: str, strategy: str, seed: int = 0) -> Path:
    folder = study / "runs" / run
    folder.mkdir(parents=True)
    (study / "study.json").write_text("{}")
    config = make_config(data={"name": "own"}, seed=seed, strategy=strategy)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def trial_line(number: int, valid_auc: float | None) -> str:
    state = "complete" if valid_auc is not None else "pruned"
    known = {"number": number, "plan": "{}", "state": state, "valid_auc": valid_auc, "valid_logloss": None}
    return json.dumps({**known, "parameters": 1, "bytes": 1, "seconds": {}, "epochs": 1, "error": None})


def finish(study: Path, run: str, **values: Any) -> None:
    folder = begin(study, run, values.get("strategy", "fe"), values.get("seed", 0))
    (folder / "result.json").write_text(
        json.dumps({"run": run, "record": make_record(run=run, **values), "fields": []})
    )


def test_columns_are_the_fixed_ones_and_some_more() -> None:
    assert [name for name in RECORD_COLUMNS if name in FIXED] == FIXED
    more = {"run", "epochs", "failed_trials", "pruned_trials", "restarted_trials", "optimizer", "compiled", "error"}
    more |= {"test_click_rate", "test_mean_prediction", "test_ece", "test_normalized_entropy", "calibrated"}
    more |= {"space", "budget", "vocabulary_bytes"}
    assert set(RECORD_COLUMNS) - set(FIXED) == more


def test_one_row_per_finished_run_sorted_and_the_same_in_csv_and_parquet(tmp_path: Path) -> None:
    finish(tmp_path, "c", strategy="grid", seed=1, plan='{"user":"dpq(8,2)"}')
    finish(tmp_path, "a", strategy="grid", seed=0, test_auc=0.1 + 0.2)
    finish(tmp_path, "b", strategy="fe", seed=0, machine='Maker, "Processor", 2 cores')
    begin(tmp_path, "d", "random")
    frame = write_records(tmp_path)
    assert frame["run"].tolist() == ["b", "a", "c"] and tuple(frame.columns) == RECORD_COLUMNS
    floats = [name for name in RECORD_COLUMNS if frame[name].dtype == float]
    numbers = {name: lambda text: float(text or "nan") for name in floats}  # exact, as Python reads them
    text = pd.read_csv(tmp_path / "records.csv", converters=numbers, dtype={"error": "str"})
    pd.testing.assert_frame_equal(text, frame, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "records.parquet"), frame, check_exact=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["records.csv", "records.parquet", "runs", "study.json"]


def test_a_study_without_finished_runs_has_a_header_alone(tmp_path: Path) -> None:
    begin(tmp_path, "a", "fe")
    assert write_records(tmp_path).empty
    assert (tmp_path / "records.csv").read_text().strip() == ",".join(RECORD_COLUMNS)


def searched(folder: Path, seed: int = 0) -> tuple[RunFolder, SearchTask]:
    journal = RunFolder(folder, make_trainer(seed))
    task = make_task(seed, journal=journal)
    Random().search(task)
    return journal, task


def test_run_folder_reads_its_trials_back(tmp_path: Path) -> None:
    _, task = searched(tmp_path)
    again = RunFolder(tmp_path, task.trainer)
    assert tuple(again.finished_trials()) == task.history
    assert not (tmp_path / "curve.jsonl").exists(), "points are told anew"


class Mixed(ToyExecutor):
    """Its second trial is pruned, its third fails after having been begun twice."""

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        for number, outcome in zip(numbers, super().__call__(plans, numbers, prune), strict=True):
            if number == 1:
                yield Outcome(None, None, 0.25, outcome.valid_aucs[:1], None)
            elif number == 2:
                yield Outcome(None, None, 0.5, outcome.valid_aucs, None, "RuntimeError: x", 2, "Traceback\n  there")
            else:
                yield replace(outcome, attempts=3)


def test_pruned_failed_and_restarted_trials_come_back_as_they_were(tmp_path: Path) -> None:
    task = make_task(executor=Mixed(), journal=RunFolder(tmp_path, make_trainer()))
    Random().search(task)
    assert [(trial.state, trial.attempts) for trial in task.history] == [("complete", 3), ("pruned", 1), ("failed", 2)]
    assert [len(trial.valid_aucs) for trial in task.history] == [trial.epochs for trial in task.history]
    again = RunFolder(tmp_path, task.trainer)
    assert tuple(again.finished_trials()) == task.history
    lines = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    for line, trial in zip(lines, task.history, strict=True):
        assert line["valid_aucs"] == list(trial.valid_aucs) and line["attempts"] == trial.attempts
        assert (line["state"], line["valid_auc"], line["error"]) == (trial.state, trial.valid_auc, trial.error)
        assert line["traceback"] == ("Traceback\n  there" if trial.error else None)
        assert (line["bytes"], line["parameters"]) == (trial.ledger.bytes, trial.ledger.parameters)


def test_lines_are_told_those_that_are_read_back_first(tmp_path: Path) -> None:
    told: list[TrialLine] = []
    task = make_task(journal=RunFolder(tmp_path, make_trainer(), on_line=told.append))
    assert told == []
    Random().search(task)
    path = tmp_path / "trials.jsonl"
    assert told == read_trials(path) and len(told) == 3
    # Two are whole, of which the second, the best so far, has lost its weights.
    better = max(told[:2], key=lambda line: line.valid_auc or 0.0).number
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]) + '{"number":2')
    for file in (tmp_path / "incumbents").glob(f"{better}.safetensors"):
        file.unlink()
    again: list[TrialLine] = []
    RunFolder(tmp_path, task.trainer, on_line=again.append)
    assert again == told[:better]
    assert len(path.read_text().splitlines()) == better


def test_trials_of_a_version_that_did_not_record_their_epochs_are_read_back(tmp_path: Path) -> None:
    _, task = searched(tmp_path)
    path = tmp_path / "trials.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["valid_aucs"], line["attempts"], line["traceback"], line["seal"]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = RunFolder(tmp_path, task.trainer).finished_trials()
    assert [(trial.plan, trial.valid_auc) for trial in again] == [
        (trial.plan, trial.valid_auc) for trial in task.history
    ]


def test_run_folder_forgets_a_trial_that_was_cut_off(tmp_path: Path) -> None:
    _, task = searched(tmp_path)
    path = tmp_path / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    again = RunFolder(tmp_path, task.trainer)
    assert tuple(again.finished_trials()) == task.history[:-1]


def test_resumed_run_trains_what_is_missing_and_appends_it_once(tmp_path: Path) -> None:
    _, whole = searched(tmp_path)
    path = tmp_path / "trials.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(lines[0] + lines[1][:20])
    journal, task = searched(tmp_path)
    assert len(path.read_text().splitlines()) == 3
    for one, two in zip(whole.history, task.history, strict=True):
        assert (one.plan, one.valid_auc, one.valid_logloss) == (two.plan, two.valid_auc, two.valid_logloss)
    assert len((tmp_path / "curve.jsonl").read_text().splitlines()) == 3 == len(journal.points)


def test_run_folder_keeps_the_best_trial_s_network(tmp_path: Path) -> None:
    journal, task = searched(tmp_path)
    best = max(task.history, key=lambda trial: trial.valid_auc or 0.0)
    expected, _ = task.trainer.train_plan(best.plan, task.pretrained())
    state = journal.network_of(best).state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())


def test_point_keeps_the_network_as_it_was(tmp_path: Path) -> None:
    task = make_task()
    journal = RunFolder(tmp_path, task.trainer)
    network = task.trainer.build(task.trainer.full_plan())
    journal.add_point(1.0, "search", 0.7, network)
    before = network.embedding.table.detach().clone()
    with torch.no_grad():
        network.embedding.table.zero_()
    kept = journal.points[0].reached_by
    assert isinstance(kept, type(network)) and torch.equal(kept.embedding.table, before)


def test_finished_run_keeps_its_result_and_no_weights(tmp_path: Path) -> None:
    journal, _ = searched(tmp_path)
    journal.finish(Result(run="a", record=Record(**make_record()), epochs={}, fields=()))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.jsonl", "result.json", "trials.jsonl"]


def test_weights_come_back_to_the_bit_and_damage_is_named(tmp_path: Path) -> None:
    task = make_task()
    FullEmbedding().search(task)
    path = tmp_path / "weights.safetensors"
    save_state(path, task.pretrained())
    read = load_state(path)
    assert read.keys() == task.pretrained().keys()
    assert all(torch.equal(read[name], value) for name, value in task.pretrained().items())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(AutoDPQError, match=r"weights\.safetensors: not readable as weights"):
        load_state(path)


def test_bits_of_weights_cannot_be_flipped_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    weights = {"b": torch.tensor([1, 2]), "a": torch.arange(6.0).reshape(2, 3), "c": torch.tensor(True)}
    weights |= {"d": torch.zeros(0, 2), "e": torch.ones(3, dtype=torch.float16)}
    save_state(path, weights)
    content = path.read_bytes()
    for place in range(0, 8 * len(content), 37):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(bytes(flipped))
        try:
            read = load_state(path)
        except AutoDPQError as error:
            assert str(error).startswith(f"{path}: not readable as weights (") and "\n" not in str(error)
        else:
            assert all(same(read[name], value) for name, value in weights.items()), f"bit {place}"


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def test_weights_of_a_version_that_kept_no_digest_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "weights.safetensors")
    assert torch.equal(load_state(tmp_path / "weights.safetensors")["a"], torch.ones(2))


def test_status_tells_what_is_done_and_how_far_the_others_are(tmp_path: Path) -> None:
    finish(tmp_path, "a", strategy="fe", test_auc=0.81234, seconds=12.4)
    trials = [trial_line(number, auc) for number, auc in enumerate((0.71, None, 0.7349))]
    begin(tmp_path, "b", "random", seed=2).joinpath("trials.jsonl").write_text(
        "".join(trial + "\n" for trial in trials) + '{"valid_auc":0.9'
    )
    points = [("pretrain", 0.7), ("search", 0.71), ("search", 0.7)]
    begin(tmp_path, "c", "autodpq", seed=1).joinpath("curve.jsonl").write_text(
        "".join(json.dumps({"seconds": 1.0, "phase": phase, "valid_auc": auc}) + "\n" for phase, auc in points)
    )
    finish(tmp_path, "d", strategy="nsga2", test_auc=None, error="no trial is complete: too late")
    begin(tmp_path, "e", "grid")
    for path, age in ((tmp_path / "runs" / "b", 5), (tmp_path / "runs" / "c", 200), (tmp_path / "runs" / "e", 9000)):
        for file in path.iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    write_asked(
        tmp_path / "asked.json", {"d": "own pnn seed 0 nsga2", "f": "own pnn seed 0 tpe", "a": "own pnn seed 0 fe"}
    )
    assert list(status_lines(tmp_path, now=1e9)) == [
        "failed   own pnn seed 0 nsga2: no trial is complete: too late",
        "waiting  own pnn seed 0 tpe",
        "done     own pnn seed 0 fe: test AUC 0.8123, 12 s",
        "begun    own pnn seed 2 random: 3 trials, best validation AUC 0.7349, last sign 5 s ago",
        "begun    own pnn seed 1 autodpq: search, epoch 2, best validation AUC 0.7100, last sign 3 min ago",
        "begun    own pnn seed 0 grid: 0 trials, last sign 2 h ago",
        "2 of 6 runs are done, 1 of them failed; stopped: the same command goes on",
    ]


def test_status_of_a_study_that_no_command_was_written_down_for(tmp_path: Path) -> None:
    finish(tmp_path, "a", strategy="fe", test_auc=0.81234, seconds=12.4)
    assert list(status_lines(tmp_path)) == ["done     own pnn seed 0 fe: test AUC 0.8123, 12 s", "1 of 1 runs are done"]


def test_status_tells_the_floors_and_who_is_below_them(tmp_path: Path) -> None:
    floors = {"constant": {"auc": 0.5, "logloss": 0.6}, "additive": {"auc": 0.72, "logloss": 0.55}}
    for run, strategy, auc in (("a", "fe", 0.73), ("b", "autodpq", 0.7)):
        finish(tmp_path, run, strategy=strategy, test_auc=auc, test_logloss=0.5, seconds=1.0)
    path = tmp_path / "runs" / "a" / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "floors": floors}))  # of the split, whatever run has it
    assert list(status_lines(tmp_path))[2:] == [
        "Floors on own: Constant AUC 0.5000, logloss 0.6000; Additive AUC 0.7200, logloss 0.5500",
        "Warning: on own, AUC below an additive model's 0.7200 (one weight per value): AutoDPQ 0.7000.",
        "2 of 2 runs are done",
    ]


def test_status_of_what_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(AutoDPQError, match=r"no study \(it has no study\.json\)"):
        list(status_lines(tmp_path))
