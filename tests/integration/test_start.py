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

# What a process has imported is written where the test looks, whatever it prints.
REPORTING = """
import atexit, json, pathlib, sys
path = pathlib.Path(sys.argv.pop(1))
atexit.register(lambda: path.write_text(json.dumps(sorted({name.partition(".")[0] for name in sys.modules}))))
"""


def imported(code: str, tmp_path: Path, *arguments: str, path: Iterable[Path] = ()) -> tuple[set[str], str]:
    """The packages that a process of its own imports, and what it prints."""
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
    return set(json.loads(report.read_text())), done.stdout


def called(tmp_path: Path, *arguments: str) -> tuple[set[str], str]:
    """The same for the command line."""
    return imported("from studies.cli.main import main\nmain()", tmp_path, *arguments)


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


def test_a_slow_import_would_be_seen(tmp_path: Path) -> None:
    assert {"torch", "autodpq"} <= imported("import autodpq.training.trainer", tmp_path)[0]


HELP = """
from studies.cli.main import main
for command in sys.argv[1:]:
    sys.argv = ["autodpq-study", *command.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        print("code", ended.code)
"""


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    """Of all commands, one after another."""
    modules, out = imported(HELP, tmp_path, *COMMANDS)
    shown = out.split("code 0")
    assert len(shown) == len(COMMANDS) + 1 and not shown.pop().strip()
    for command, text in zip(COMMANDS, shown, strict=True):
        assert "Usage:" in text and command in text
    assert "studies" in modules and not modules & {*SLOW, *SLOW_TABLES}


def test_help_of_every_command_is_tried() -> None:
    assert {"", "run", "report", "list", "status", "audit", "export", "predict"} <= set(COMMANDS)


def test_version_imports_nothing_slow(tmp_path: Path) -> None:
    modules, out = called(tmp_path, "--version")
    assert out.startswith("autodpq ") and not modules & {*SLOW, *SLOW_TABLES}


@pytest.mark.parametrize(
    ("what", "some"), [("strategies", {"autodpq", "fe", "grid", "tpe", "asha"}), ("models", {"deepfm", "gdcn"})]
)
def test_lists_import_nothing_slow(what: str, some: set[str], tmp_path: Path) -> None:
    modules, out = called(tmp_path, "list", what)
    assert some <= {line.split()[0] for line in out.splitlines() if line.strip()}
    assert not modules & {*SLOW, *SLOW_TABLES}


def test_list_of_data_sets_imports_no_torch(tmp_path: Path) -> None:
    modules, out = called(tmp_path, "list", "datasets")
    assert "movielens1m" in out and not modules & {*SLOW}


def test_status_imports_nothing_slow(study: Path, tmp_path: Path) -> None:
    modules, out = called(tmp_path, "status", str(study))
    assert "test AUC 0.7500" in out and "1 of 2 runs" in out
    assert not modules & {*SLOW, *SLOW_TABLES}


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


@pytest.mark.parametrize(
    "code", ["import autodpq", "import autodpq, baselines, autodpq.search.autodpq, autodpq.models"]
)
def test_import_of_the_packages_imports_nothing_slow(code: str, tmp_path: Path) -> None:
    modules, _ = imported(code, tmp_path)
    assert "autodpq" in modules and not modules & {*SLOW, *SLOW_TABLES}


def test_import_of_autodpq_imports_no_numpy_either(tmp_path: Path) -> None:
    assert not imported("import autodpq", tmp_path)[0] & {"numpy", "pydantic"}


def test_all_that_the_author_of_a_strategy_needs_imports_nothing_slow(tmp_path: Path) -> None:
    modules, out = imported(STRATEGY, tmp_path)
    assert out.split() == ["first", "True"] and not modules & {*SLOW, *SLOW_TABLES}


def test_names_of_models_are_imported_late_and_are_the_registered_classes(tmp_path: Path) -> None:
    code = "import autodpq.models as m, sys\nassert 'torch' not in sys.modules\nprint(*(n for n in m.__all__ if {}))"
    modules, out = imported(code.format("getattr(m, n) in m.MODELS.values()"), tmp_path)
    assert set(out.split()) == {"DeepFM", "PNN", "DCN", "DCNv2", "FinalMLP", "GDCN"} and "torch" in modules


def test_a_plug_in_is_listed_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with installing(tmp_path, monkeypatch) as site:
        site.install("first-tools", STRATEGY, {"autodpq.strategies": {"first": "first_tools:First"}})
        code = "from studies.cli.main import main\nmain()"
        modules, out = imported(code, tmp_path, "list", "strategies", path=[site.folder])
        (line,) = [line for line in out.splitlines() if "first-tools" in line]
        assert line.startswith("first ") and "first-tools 1.0" in line and not modules & {*SLOW, *SLOW_TABLES}


def test_without_ray_its_strategies_are_listed_with_what_to_install(tmp_path: Path) -> None:
    code = "import sys\nsys.modules['ray'] = None\nfrom studies.cli.main import main\nmain()"
    lines = imported(code, tmp_path, "list", "strategies")[1].splitlines()
    without = [line for line in lines if line.endswith("does not load: needs Ray Tune: pip install 'autodpq[ray]'")]
    assert {line.split()[0] for line in without} == {"asha", "random-ray"}
    assert sum("cannot be used" in line for line in lines) == 2 < len(lines)
