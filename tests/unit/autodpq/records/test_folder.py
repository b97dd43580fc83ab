from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.fake_studies import make_config, make_record

from autodpq.errors import AutoDPQError
from autodpq.records.folder import (
    append_curve,
    append_trial,
    read_asked,
    read_config,
    read_curve,
    read_finished,
    read_pretrained,
    read_result,
    read_study,
    read_trials,
    write_asked,
    write_config,
    write_pretrained,
    write_result,
    write_study,
)
from autodpq.records.result import (
    RECORD_COLUMNS,
    FieldCost,
    FieldSize,
    FinishedResult,
    FrequencyBucket,
    Headroom,
    Record,
    Result,
    Truth,
)
from autodpq.records.schema import ConfigFile, CurveLine, CurvePoint, PretrainedFile, StudyFile, TrialLine

PLAN = '{"user":"dpq(8,2)"}'
TRIAL = TrialLine(
    number=3, plan=PLAN, state="complete", valid_auc=0.1 + 0.2, valid_logloss=0.5, parameters=120, bytes=480,
    seconds={"search": 1.25}, epochs=2, error=None, valid_aucs=(0.25, 0.1 + 0.2), attempts=2,
)  # fmt: skip
LOST = TrialLine(
    number=4, plan=PLAN, state="failed", valid_auc=None, valid_logloss=None, parameters=120, bytes=480, seconds={},
    epochs=0, error="Zurück: 2 \u00d7 \"nan\"\n", valid_aucs=(), attempts=1,
)  # fmt: skip
POINT = CurvePoint(seconds=0.5, phase="retrain", valid_auc=0.75, test_auc=2 / 3)
RECORD = Record(
    run="0123456789ab", study="mine", dataset="clicks", model="pnn", strategy="random(n=2)", seed=1, recipe="paper",
    test_auc=0.75, test_logloss=0.5, valid_auc=0.8, valid_logloss=0.45, parameters=120, bytes=500, seconds=2.5,
    seconds_pretrain=1.0, seconds_search=1.25, seconds_retrain=0.25, epochs=7, trials=2, failed_trials=0,
    pruned_trials=0, restarted_trials=1, plan=PLAN, optimizer="adam", compiled=False, device="cpu",
    machine="a box, 2 cores", version="0.1.0", error=None,
)  # fmt: skip
FINISHED = FinishedResult(
    run="0123456789ab",
    record=RECORD,
    epochs={"pretrain": 3, "search": 4, "retrain": 0},
    curve=(POINT,),
    fe_seconds=1.0,
    headroom=Headroom(samples=9, rare_samples=2, auc_rare=None, auc_other=0.75, auc_oracle=0.875),
    frequency=(FrequencyBucket(least=1, most=2, samples=9, auc=None),),
    fields=(FieldCost(name="user", cardinality=30, head=10, choice="dpq(8,2)", parameters=120, bits=3840),),
    truth=Truth(bayes_auc=0.875, plan=PLAN),
)
FAILED = Result(
    run="0123456789ab",
    record=Record(**make_record(test_auc=None, plan="", error="no trial is complete")),
    epochs={"pretrain": 3},
    fields=(FieldSize(name="user", cardinality=30, head=10),),
)
STUDY = StudyFile(study="mine", recipe="paper", init="pretrained", resplit=False)
PRETRAINED = PretrainedFile(seconds=1.5, epochs=2, curve=(POINT,))
CONFIG = ConfigFile.model_validate(
    make_config({"name": "clicks"}, loading={"dataset": "clicks.csv", "fields": None}, cpus_per_trial=1)
)


@pytest.mark.parametrize(
    ("write", "read", "content"),
    [
        (write_study, read_study, STUDY),
        (write_asked, read_asked, {"b": "clicks pnn seed 0 fe", "a": "clicks pnn seed 0 Größe"}),
        (write_config, read_config, CONFIG),
        (write_result, read_result, FAILED),
        (write_result, read_finished, FINISHED),
        (write_pretrained, read_pretrained, PRETRAINED),
    ],
)
def test_what_is_written_is_read(
    tmp_path: Path, write: Callable[[Path, Any], None], read: Callable[[Path], Any], content: Any
) -> None:
    path = tmp_path / "file.json"
    write(path, content)
    assert read(path) == content
    written = path.read_bytes()
    write(path, read(path))
    assert path.read_bytes() == written


def test_lines_that_are_written_are_read(tmp_path: Path) -> None:
    points = [
        CurveLine(seconds=0.0, phase="pretrain", valid_auc=0.5),
        CurveLine(seconds=9, phase="search", valid_auc=1),
    ]
    for trial in (TRIAL, LOST):
        append_trial(tmp_path / "trials.jsonl", trial)
    for point in points:
        append_curve(tmp_path / "curve.jsonl", point)
    assert read_trials(tmp_path / "trials.jsonl") == [TRIAL, LOST]
    assert read_curve(tmp_path / "curve.jsonl") == points
    assert read_trials(tmp_path / "none.jsonl") == read_curve(tmp_path / "none.jsonl") == []


WRITTEN = r"""{
 "run": "0123456789ab",
 "record": {
  "run": "0123456789ab",
  "study": "mine",
  "dataset": "clicks",
  "model": "pnn",
  "strategy": "random(n=2)",
  "seed": 1,
  "recipe": "paper",
  "test_auc": 0.75,
  "test_logloss": 0.5,
  "valid_auc": 0.8,
  "valid_logloss": 0.45,
  "parameters": 120,
  "bytes": 500,
  "seconds": 2.5,
  "seconds_pretrain": 1.0,
  "seconds_search": 1.25,
  "seconds_retrain": 0.25,
  "epochs": 7,
  "trials": 2,
  "failed_trials": 0,
  "pruned_trials": 0,
  "restarted_trials": 1,
  "plan": "{\"user\":\"dpq(8,2)\"}",
  "optimizer": "adam",
  "compiled": false,
  "device": "cpu",
  "machine": "a box, 2 cores",
  "version": "0.1.0",
  "error": null
 },
 "epochs": {
  "pretrain": 3,
  "search": 4,
  "retrain": 0
 },
 "curve": [
  {
   "seconds": 0.5,
   "phase": "retrain",
   "valid_auc": 0.75,
   "test_auc": 0.6666666666666666
  }
 ],
 "fe_seconds": 1.0,
 "headroom": {
  "samples": 9,
  "rare_samples": 2,
  "auc_rare": null,
  "auc_other": 0.75,
  "auc_oracle": 0.875
 },
 "frequency": [
  {
   "least": 1,
   "most": 2,
   "samples": 9,
   "auc": null
  }
 ],
 "fields": [
  {
   "name": "user",
   "cardinality": 30,
   "head": 10,
   "choice": "dpq(8,2)",
   "parameters": 120,
   "bits": 3840
  }
 ],
 "truth": {
  "bayes_auc": 0.875,
  "plan": "{\"user\":\"dpq(8,2)\"}"
 }
}
"""


def unsealed_text(path: Path) -> str:
    """What a file holds beside its seal, or the seals of its lines."""
    text, seals = re.subn(r',\n? ?"seal": ?"[0-9a-f]{16}"', "", path.read_text())
    assert seals == (text.count("\n") if path.suffix == ".jsonl" else 1)
    return text


def test_a_result_is_written_as_it_always_was_and_sealed(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", FINISHED)
    assert unsealed_text(tmp_path / "result.json") == WRITTEN
    later = ("test_click_rate", "test_mean_prediction", "test_ece", "test_normalized_entropy", "calibrated")
    later += ("space", "budget", "vocabulary_bytes")
    assert tuple(json.loads(WRITTEN)["record"]) == tuple(name for name in RECORD_COLUMNS if name not in later)


def test_lines_are_written_as_they_always_were_and_sealed(tmp_path: Path) -> None:
    append_trial(tmp_path / "trials.jsonl", TRIAL)
    append_curve(tmp_path / "curve.jsonl", CurveLine(seconds=0.5, phase="search", valid_auc=0.75))
    assert unsealed_text(tmp_path / "trials.jsonl") == (
        r'{"number":3,"plan":"{\"user\":\"dpq(8,2)\"}","state":"complete","valid_auc":0.30000000000000004,'
        '"valid_logloss":0.5,"parameters":120,"bytes":480,"seconds":{"search":1.25},"epochs":2,"error":null,'
        '"valid_aucs":[0.25,0.30000000000000004],"attempts":2}\n'
    )
    assert unsealed_text(tmp_path / "curve.jsonl") == '{"seconds":0.5,"phase":"search","valid_auc":0.75}\n'


def test_small_files_are_written_as_they_always_were_and_sealed(tmp_path: Path) -> None:
    write_study(tmp_path / "study.json", STUDY)
    assert unsealed_text(tmp_path / "study.json") == (
        '{\n "study": "mine",\n "recipe": "paper",\n "init": "pretrained",\n "resplit": false\n}\n'
    )
    write_pretrained(tmp_path / "a.json", PretrainedFile(seconds=1.5, epochs=2, curve=()))
    assert unsealed_text(tmp_path / "a.json") == '{\n "seconds": 1.5,\n "epochs": 2,\n "curve": []\n}\n'


def test_a_configuration_is_written_as_it_always_was_and_sealed(tmp_path: Path) -> None:
    data = {"name": "clicks", "fingerprint": "5f2c", "threshold": 20}
    data |= {"split": "random", "split_seed": 2023, "frequency_scope": "all"}
    recipe = {
        "name": "paper",
        "embedding_dim": 16,
        "initial_deviation": 1e-4,
        "hidden": (16, 16),
        "quantizer": {"a": None},
    }
    asked = {
        "data": data, "model": "pnn", "strategy": "random(n=2)", "options": {"n": 2}, "seed": 1, "recipe": recipe,
        "init": "scratch", "candidates": ("dpq(8,2)",), "trials": None, "executor": "local", "jobs": 2,
        "cpus_per_trial": 1, "gpus_per_trial": 0.5, "device": "cpu", "threads": 1, "optimizer": "adam",
        "compiled": True, "sources": {"model": None, "strategy": "ab"}, "loading": {"fields": ("a", "b")},
        "machine": "a box", "versions": {"torch": "2"},
    }  # fmt: skip
    write_config(tmp_path / "config.json", ConfigFile.model_validate(asked))
    assert unsealed_text(tmp_path / "config.json") == json.dumps(asked, indent=1) + "\n"


def test_what_is_not_known_is_nan_in_a_program(tmp_path: Path) -> None:
    write_result(tmp_path / "result.json", FINISHED)
    assert math.isnan(read_finished(tmp_path / "result.json").headroom.auc_rare)


def test_what_versions_before_0_2_did_not_write_is_not_needed(tmp_path: Path) -> None:
    result = json.loads(WRITTEN)
    del result["frequency"]
    for name in ("pruned_trials", "restarted_trials", "optimizer", "compiled", "error"):
        del result["record"][name]
    (tmp_path / "result.json").write_text(text := json.dumps(result, indent=1) + "\n")
    old = read_finished(tmp_path / "result.json")
    assert old.frequency == () and old.record.error is None
    write_result(tmp_path / "result.json", old)
    assert unsealed_text(tmp_path / "result.json") == text
    line = {name: value for name, value in TRIAL.model_dump().items() if name not in ("valid_aucs", "attempts")}
    (tmp_path / "trials.jsonl").write_text(json.dumps(line) + "\n")
    (trial,) = read_trials(tmp_path / "trials.jsonl")
    assert (trial.valid_aucs, trial.attempts) == ((), 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"valid_auc": 1.5}, "valid_auc = 1.5: a number of at most 1 is needed"),
        ({"valid_auc": "0.5"}, "valid_auc = '0.5': a number is needed"),
        ({"seconds": {"lunch": 1.0}}, "seconds.lunch"),
        ({"seconds": {"search": 1e-300}}, "seconds.search = 1e-300: Value error, no clock tells so little time"),
        ({"state": "lost"}, "state = 'lost'"),
        ({"error": "x" * 100_000, "epochs": 1.5}, "epochs = 1.5"),
    ],
)
def test_an_entry_that_cannot_be_is_named(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    path = tmp_path / "trials.jsonl"
    append_trial(path, TRIAL)
    path.write_text(path.read_text() + json.dumps({**TRIAL.model_dump(), **change}) + "\n")
    with pytest.raises(AutoDPQError) as refused:
        read_trials(path)
    message = str(refused.value)
    assert message.startswith(f"{path}, line 2: damaged (") and reason in message
    assert message.endswith("; delete that line and those after it to measure them anew") and len(message) < 600


def test_what_has_no_limits_is_no_number(tmp_path: Path) -> None:
    for text in ("NaN", "1e999", "-Infinity"):
        (tmp_path / "result.json").write_text(WRITTEN.replace('"test_logloss": 0.5', f'"test_logloss": {text}'))
        with pytest.raises(AutoDPQError, match=r"result\.json: damaged \(record\.test_logloss = "):
            read_result(tmp_path / "result.json")


def test_thousands_of_trials_are_read_at_once(tmp_path: Path) -> None:
    append_trial(tmp_path / "trials.jsonl", TRIAL)
    (tmp_path / "trials.jsonl").write_bytes((tmp_path / "trials.jsonl").read_bytes() * 5000)
    begin = time.process_time()
    assert len(read_trials(tmp_path / "trials.jsonl")) == 5000
    assert time.process_time() - begin < 2
