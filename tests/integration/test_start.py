"""What answers at once must not import what takes seconds: checked by what a process has imported when it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from support.fake_studies import make_config, make_record
from support.installed import installing
from support.patience import PATIENCE

from studies.cli.main import app

SLOW = ("torch", "ray", "optuna", "scipy", "sklearn", "matplotlib", "seaborn", "pandas", "safetensors", "onnx")
SLOW_TABLES = ("polars", "pyarrow")

# What a process has imported by a point is written where the test looks, whatever it prints.
REPORTING = """
import atexit, json, pathlib, sys
path, told = pathlib.Path(sys.argv.pop(1)), []

def tell():
    told.append(sorted({name.partition(".")[0] for name in sys.modules}))
    path.write_text(json.dumps(told))

atexit.register(tell)
"""


def imported(code: str, tmp_path: Path, *arguments: str, path: Iterable[Path] = ()) -> tuple[list[set[str]], str]:
    """The packages that a process of its own has imported whenever it says ``tell()`` and when it ends; its output."""
    report = tmp_path / "imported.json"
    done = subprocess.run(
        [sys.executable, "-c", f"{REPORTING}\n{code}", str(report), *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*map(str, path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return [set(modules) for modules in json.loads(report.read_text())], done.stdout


def commands(command: Any, name: str = "") -> Iterator[str]:
    """The names of a command and of all below it."""
    yield name
    for below in getattr(command, "commands", {}).values():
        yield from commands(below, f"{name} {below.name}".strip())


TRIAL = {
    "number": 0, "plan": "{}", "state": "complete", "valid_auc": 0.7, "valid_logloss": 0.5, "parameters": 1, "bytes": 1,
    "seconds": {}, "epochs": 1, "error": None,
}  # fmt: skip
COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of which one run is done and another has one trial."""
    for name, strategy in (("a", "fe"), ("b", "random")):
        folder = tmp_path / "study" / "runs" / name
        folder.mkdir(parents=True)
        config = make_config(data={"name": "clicks"}, strategy=strategy)
        (folder / "config.json").write_text(json.dumps(config))
    result = {"run": "a", "record": make_record(test_auc=0.75), "fields": []}
    (tmp_path / "study" / "runs" / "a" / "result.json").write_text(json.dumps(result))
    (tmp_path / "study" / "runs" / "b" / "trials.jsonl").write_text(json.dumps(TRIAL) + "\n")
    (tmp_path / "study" / "study.json").write_text("{}")
    return tmp_path / "study"


CALLING = """
import json
from studies.cli.main import main
for call in json.loads(sys.argv[1]):
    sys.argv = ["autodpq-study", *call]
    try:
        main()
    except SystemExit as ended:
        print("code", ended.code)
    tell()
"""


def test_what_answers_at_once_imports_nothing_slow(study: Path, tmp_path: Path) -> None:
    """Help of all commands and what lists things, one after another in a process: none imports it for the next."""
    helps = [[*command.split(), "--help"] for command in COMMANDS]
    lists = [["--version"], ["list", "strategies"], ["list", "models"], ["status", str(study)], ["list", "datasets"]]
    modules, out = imported(CALLING, tmp_path, json.dumps([*helps, *lists]))
    *shown, end = out.split("code 0\n")
    assert len(shown) == len(modules) - 1 == len(COMMANDS) + len(lists) and not end
    for command, text in zip(COMMANDS, shown, strict=False):
        assert "Usage:" in text and command in text
    version, strategies, models, status, datasets = shown[len(COMMANDS) :]
    assert version.startswith("autodpq ")
    assert {"autodpq", "fe", "grid", "tpe", "asha"} <= first_words(strategies)
    assert {"deepfm", "gdcn"} <= first_words(models)
    assert "test AUC 0.7500" in status and "1 of 2 runs" in status
    assert "movielens1m" in first_words(datasets)
    *others, of_data_sets, _ = modules
    for call, so_far in zip([*helps, *lists], others, strict=False):
        assert "studies" in so_far and not so_far & {*SLOW, *SLOW_TABLES}, call
    assert not of_data_sets & {*SLOW}


def first_words(text: str) -> set[str]:
    return {line.split()[0] for line in text.splitlines() if line.strip()}


def test_help_of_every_command_is_tried() -> None:
    assert {"", "run", "report", "list", "status", "audit", "export", "predict"} <= set(COMMANDS)


STRATEGY = """
from autodpq import AskTellStrategy, Budget, CompressionPlan, SearchTask, Space, Strategy, Trial, best_trial, register
from autodpq.search.strategy import STRATEGIES

@register
class First(AskTellStrategy):
    name = "first"

    def ask(self, number, space, rng, history):
        return CompressionPlan({name: row[0] for name, row in space.items()})

print(First.name, STRATEGIES["first"] is First)
"""
IMPORTING = f"""
import autodpq
tell()
{STRATEGY}
tell()
import baselines, autodpq.search.autodpq, autodpq.models as models
tell()
print(*(name for name in models.__all__ if getattr(models, name) in models.MODELS.values()))
"""


def test_imports_of_the_packages_import_nothing_slow(tmp_path: Path) -> None:
    """Nor does all that the author of a strategy needs; models are imported late, and are the registered classes."""
    (package, author, packages, models), out = imported(IMPORTING, tmp_path)
    assert "autodpq" in package and not package & {"numpy", "pydantic"}
    assert not packages & {*SLOW, *SLOW_TABLES} and not author & {*SLOW, *SLOW_TABLES}
    first, *names = out.splitlines()
    assert first == "first True"
    assert set(" ".join(names).split()) == {"DeepFM", "PNN", "DCN", "DCNv2", "FinalMLP", "GDCN"}
    assert "torch" in models, "a slow import is seen"


def test_a_plug_in_is_listed_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installing(tmp_path, monkeypatch) as site:
        site.install("first-tools", STRATEGY, {"autodpq.strategies": {"first": "first_tools:First"}})
        code = "from studies.cli.main import main\nmain()"
        (modules,), out = imported(code, tmp_path, "list", "strategies", path=[site.folder])
        (line,) = [line for line in out.splitlines() if "first-tools" in line]
        assert line.startswith("first ") and "first-tools 1.0" in line and not modules & {*SLOW, *SLOW_TABLES}


def test_without_ray_its_strategies_are_listed_with_what_to_install(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['ray'] = None\nfrom studies.cli.main import main\nmain()"
    lines = imported(code, tmp_path, "list", "strategies")[1].splitlines()
    without = [line for line in lines if line.endswith("does not load: needs Ray Tune: pip install 'autodpq[ray]'")]
    assert {line.split()[0] for line in without} == {"asha", "random-ray"}
    assert sum("cannot be used" in line for line in lines) == 2 < len(lines)
