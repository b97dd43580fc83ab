from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.fake_studies import make_record

from autodpq.errors import AutoDPQError
from autodpq.records.folder import append_trial
from autodpq.records.result import Record, Result
from autodpq.records.schema import TrialLine
from autodpq.testing import make_task
from autodpq.training.fit import DeviceRows
from studies.folder.records import RunFolder, clear_up
from studies.pretraining import pretrain


def test_what_a_killed_process_left_is_cleared_up(tmp_path: Path) -> None:
    finished, begun = (tmp_path / "runs" / (digit * 12) for digit in "fb")
    for run in (finished, begun):
        (run / "incumbents").mkdir(parents=True)
        (run / "incumbents" / "0.safetensors").touch()
        part_of(run / "incumbents" / "1.safetensors")
        for name in ("config.json", "result.json", "trials.jsonl", "predictions.parquet"):
            part_of(run / name)
    (finished / "result.json").write_text("{}")
    for folder in ("pretrained", "models"):
        (tmp_path / folder).mkdir()
    names = "study.json", "asked.json", "records.csv", "records.parquet", "frame.parquet", "frame.parquet.json"
    for name in (*names, "pretrained/0a.json"):
        part_of(tmp_path / name)
    for name in (
        "pretrained/0a.safetensors",
        f"models/{'f' * 12}.safetensors",
        f"models/{'f' * 16}.vocabulary.parquet",
    ):
        part_of(tmp_path / name)
    clear_up(tmp_path)
    left = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {finished / "result.json", begun / "incumbents" / "0.safetensors"}
    assert not (finished / "incumbents").exists()


def part_of(path: Path) -> Path:
    """What a process that was killed while it wrote a file left of it, or one has that is at it."""
    part = path.with_name(f".{path.name}.ab12_xyz.part")
    part.touch()
    return part


def test_parts_of_others_in_the_folder_of_a_study_stay(tmp_path: Path) -> None:
    for folder in ("notes", "models", "report", "runs/mine"):
        (tmp_path / folder).mkdir(parents=True)
    others = {part_of(tmp_path / name) for name in ("x.safetensors", "models/x.safetensors", "scores.parquet")}
    others |= {part_of(tmp_path / name) for name in ("report/index.html", "notes/study.json", "runs/mine/result.json")}
    for name in ("notes/.draft.part", ".study.json.part", ".part"):
        (tmp_path / name).touch()
        others.add(tmp_path / name)
    clear_up(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == others


def test_run_is_finished_over_the_part_of_a_file_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "incumbents").mkdir()
    (tmp_path / "incumbents" / ".0.safetensors.ab12.part").touch()
    RunFolder(tmp_path, make_task().trainer).finish(
        Result(run="a", record=Record(**make_record()), epochs={}, fields=())
    )
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda line: "{}", r"line 2: damaged \(KeyError: 'plan'\); delete that line and those after it"),
        (lambda line: "[]", r"line 2: damaged \(it holds no JSON object\); delete that line"),
        (lambda line: line.replace('"plan":"{', '"plan":"'), r"line 2: damaged \(.*\); delete that line"),
        (
            lambda line: line.replace("others", "udders"),
            r"line 2: damaged \(its entries are not .*\); delete that line",
        ),
        (
            lambda line: line.split(',"seal"')[0].replace("others", "udders") + "}",
            r"line 2: damaged \(.*'udders'.*\); delete that line",
        ),
    ],
)
def test_damaged_trial_is_named_with_its_line(tmp_path: Path, damage: Callable[[str], str], message: str) -> None:
    trainer = make_task().trainer
    plan = '{"user":"others","item":"others","device":"full"}'
    values = {"state": "failed", "valid_auc": None, "valid_logloss": None, "parameters": 1, "bytes": 1}
    values |= {"seconds": {}, "epochs": 0, "error": "x"}
    path = tmp_path / "trials.jsonl"
    for number in range(3):
        append_trial(path, TrialLine(number=number, plan=plan, **values))
    assert len(RunFolder(tmp_path, trainer).finished_trials()) == 3
    lines = path.read_text().splitlines()
    lines[1] = damage(lines[1])
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(AutoDPQError, match=rf"trials\.jsonl, {message}"):
        RunFolder(tmp_path, trainer)


def test_pretrained_network_is_trained_anew_where_a_part_of_it_is_gone(tmp_path: Path) -> None:
    task = make_task()
    epochs: list[object] = []

    def pretrained() -> dict[str, torch.Tensor]:
        test = DeviceRows.load(task.valid, task.trainer.device)
        shared = pretrain(tmp_path / "pretrained", "a", task.trainer, test, epochs.append, lambda: None)
        return dict(shared.pretrained.state)

    whole, trained = pretrained(), len(epochs)
    pretrained()
    assert len(epochs) == trained > 0
    for times, ending in enumerate(("json", "safetensors"), 2):
        (tmp_path / "pretrained" / f"a.{ending}").unlink()
        again = pretrained()
        assert len(epochs) == times * trained
        assert all(torch.equal(again[name], value) for name, value in whole.items())
    (tmp_path / "pretrained" / "a.json").write_text("{}")
    with pytest.raises(AutoDPQError, match=r"a\.json: damaged \(KeyError: 'seconds'\); delete it"):
        pretrained()
