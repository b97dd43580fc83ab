"""A folder takes no runs that cannot stand in one table with its own, and says so before anything is trained."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.small_study import Run, small_study

from autodpq.errors import AutoDPQError


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A study of two runs, and its folder."""
    folder = tmp_path_factory.mktemp("kept")
    run = small_study(folder)
    run("fe,others", threshold=2, trials=2)
    return run, folder / "study"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--dataset synthetic", {"dataset": "synthetic", "split_column": None}),
        ("fingerprint", {"exclude": ("item",)}),
        ("--threshold 3", {"threshold": 3}),
        ("--split random", {"split": "random"}),
        ("--frequency-scope train", {"frequency_scope": "train"}),
        ("--candidates dpq(8,2)", {"K": (8,)}),
        ("--candidates others", {"K": None, "D": None, "candidates": ("others",)}),
        ("--trials 3", {"trials": 3}),
        ("--trials not given", {"trials": None}),
        ("--init scratch", {"init": "scratch"}),
        ("--recipe strong", {"recipe": "strong"}),
        ("--optimizer lazy-adam", {"optimizer": "lazy-adam"}),
        ("--resplit True", {"resplit": True}),
        ("--compile on", {"compile": "on"}),
    ],
)
def test_what_differs_is_named_and_nothing_is_touched(
    kept: tuple[Run, Path], option: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = kept
    before = contents(folder)
    monkeypatch.setattr("studies.sharing.pretrain", lambda *_: pytest.fail("something is trained"))
    with pytest.raises(AutoDPQError) as refused:
        run("fe,others,random", **{"threshold": 2, "trials": 2, **values})
    name, _, value = option.partition(" ")
    message = str(refused.value)
    assert message.startswith(f"--out: {folder} holds runs of ") and "\n" not in message
    assert f"{name} " in message and f"would be of {value}" in message and "name another --out" in message
    assert contents(folder) == before, "it stays as usable as it was"


def test_more_seeds_strategies_and_models_are_welcome(kept: tuple[Run, Path], tmp_path: Path) -> None:
    run, folder = kept
    shutil.copytree(folder, folder.with_name("more"))
    records = run("fe,others,grid", "more", threshold=2, trials=2, models=("deepfm", "pnn"))
    assert len(records) == 6 and records["error"].isna().all()


def changed_runs(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    for path in folder.glob("runs/*/config.json"):
        config = json.loads(path.read_text())
        change(config)
        config.pop("seal", None)
        path.write_text(json.dumps(config))


def test_a_study_goes_on_as_it_was_trained_whatever_the_machine_would_choose(
    kept: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = kept
    shutil.copytree(folder, folder.with_name("here"))
    monkeypatch.setattr("studies.sharing.MIN_ROWS", 0)  # so that compiling would pay
    compiled = run("fe,others,grid", "here", threshold=2, trials=2)["compiled"]
    assert not compiled.any()
    shutil.copytree(folder, folder.with_name("gpu"))
    changed_runs(folder.with_name("gpu"), lambda config: config.update(device="cuda"))
    with pytest.raises(AutoDPQError, match="--device: cuda is not available here"):
        run("fe,others,grid", "gpu", threshold=2, trials=2)


def test_a_study_of_compiled_steps_does_not_go_on_without_them(
    kept: tuple[Run, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, folder = kept
    shutil.copytree(folder, folder.with_name("compiled"))
    changed_runs(folder.with_name("compiled"), lambda config: config.update(compiled=True))
    monkeypatch.setattr("autodpq.training.step.why_not", lambda device: "no C++ compiler is here")
    with pytest.raises(AutoDPQError, match=r"--compile: training steps of the runs in .* are compiled, and cannot be"):
        run("fe,others,grid", "compiled", threshold=2, trials=2)


def test_a_recipe_of_the_same_name_tells_what_differs(kept: tuple[Run, Path]) -> None:
    run, folder = kept
    shutil.copytree(folder, folder.with_name("older"))
    changed_runs(folder.with_name("older"), lambda config: config["recipe"].update(patience=7))
    with pytest.raises(AutoDPQError, match=r"runs of --recipe patience 7, and this command's would be of patience 2:"):
        run("fe,others", "older", threshold=2, trials=2)


def test_runs_of_another_machine_or_version_are_told(kept: tuple[Run, Path]) -> None:
    run, folder = kept
    shutil.copytree(folder, folder.with_name("moved"))

    def elsewhere(config: dict[str, Any]) -> None:
        config["machine"] = "a loom, 1 core"
        config["versions"]["torch"] = "1.0"

    changed_runs(folder.with_name("moved"), elsewhere)
    told = io.StringIO()
    records = run("fe,others,grid", "moved", threshold=2, trials=2, told=told)
    lines = [line for line in told.getvalue().splitlines() if line.startswith("Warning:")]
    assert len(lines) == 2 and "another machine are there (a loom, 1 core; here " in lines[0]
    assert "other versions are there (torch 1.0, here " in lines[1]
    assert isinstance(records, pd.DataFrame) and len(records) == 3
