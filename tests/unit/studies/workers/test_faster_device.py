"""Which device is taken where nobody says it; the GPU of these tests is a second CPU."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from support.small_study import Run, small_study

from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.training.trainer import Trainer
from studies.workers import faster_device as measured
from studies.workers.faster_device import faster_device


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return small_study(tmp_path)


@pytest.mark.parametrize(("cpu", "gpu", "faster"), [(3.0, 9.0, "cpu"), (9.0, 3.0, "cuda"), (4.0, 4.0, "cpu")])
def test_the_faster_one_is_taken(monkeypatch: pytest.MonkeyPatch, cpu: float, gpu: float, faster: str) -> None:
    def milliseconds(device: torch.device, plan: CompressionPlan) -> float:
        return {"cpu": cpu, "cuda": gpu}[device.type]

    monkeypatch.setattr(measured, "_milliseconds", milliseconds)
    device, taken = faster_device(lambda device: device, CompressionPlan({}))  # type: ignore[arg-type,return-value]
    assert device.type == faster and dict(taken) == {"cpu": cpu, "cuda": gpu}


def test_a_study_measures_where_there_is_a_gpu_and_nobody_says_which(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainers: list[tuple[str, bool]] = []

    def milliseconds(trainer: Trainer, plan: CompressionPlan) -> float:
        trainers.append((trainer.device.type, plan == uniform_plan(trainer.fields, next(iter(plan.values())))))
        return float(len(trainers))

    monkeypatch.setattr("studies.runner.choose_device", lambda name: torch.device("cuda" if name == "auto" else name))
    monkeypatch.setattr(measured, "_milliseconds", milliseconds)
    monkeypatch.setattr(measured, "_DEVICES", dict.fromkeys(("cpu", "cuda"), torch.device("cpu")))
    told = io.StringIO()
    (run_id,) = run("others", told=told)["run"]
    assert trainers == [("cpu", True)] * 2
    assert "Device cpu: a step of FE and one of a plan take 1.0 ms on cpu, 2.0 ms on cuda" in told.getvalue()
    config = json.loads((tmp_path / "study" / "runs" / run_id / "config.json").read_text())
    assert config["device"] == "cpu"
    trainers.clear()
    run("others")  # a complete study
    run("others", name="asked", device="cpu")
    assert trainers == []


def test_steps_are_timed_on_the_rows_of_a_study(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    real = measured._milliseconds

    def milliseconds(trainer: Trainer, plan: CompressionPlan) -> float:
        seen.append(real(trainer, plan))
        return seen[-1]

    monkeypatch.setattr("studies.runner.choose_device", lambda name: torch.device("cuda" if name == "auto" else name))
    monkeypatch.setattr(measured, "_milliseconds", milliseconds)
    monkeypatch.setattr(measured, "_DEVICES", dict.fromkeys(("cpu", "cuda"), torch.device("cpu")))
    run("others")
    assert len(seen) == 2 and all(milliseconds > 0 for milliseconds in seen)
