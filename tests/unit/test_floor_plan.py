"""The floor plan of pyproject.toml holds: who imports whom, and how much is in a folder."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
PACKAGES = ("autodpq", "baselines", "studies", "reports")
MOST_FILES = 20


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packages and their plan, found before the packages themselves."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.delitem(sys.modules, name, raising=False)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def overfull(root: Path) -> list[str]:
    """The folders of the packages that hold too many files of Python, with their number."""
    folders = (path for name in PACKAGES for path in (root / name, *(root / name).rglob("*")) if path.is_dir())
    counts = {folder: len(list(folder.glob("*.py"))) for folder in folders}
    return [f"{folder.relative_to(root)}: {count}" for folder, count in counts.items() if count > MOST_FILES]


def check(root: Path) -> int:
    return lint_imports(config_filename=str(root / "pyproject.toml"), no_cache=True, no_logo=True)


def test_the_plan_holds(capsys: pytest.CaptureFixture[str]) -> None:
    kept = check(ROOT) == 0
    said = capsys.readouterr().out
    assert kept and "6 kept, 0 broken" in said, said


def test_no_folder_is_overfull() -> None:
    assert not overfull(ROOT)


@pytest.mark.parametrize(
    ("file", "imported", "said"),
    [
        ("reports/names.py", "baselines.grid", "reports is not allowed to import baselines:"),
        ("autodpq/files.py", "studies.config", "autodpq is not allowed to import studies:"),
        ("autodpq/kernels/rows.py", "autodpq.plan", "autodpq.kernels is not allowed to import autodpq.plan:"),
        ("autodpq/search/task.py", "autodpq.packed.load", "autodpq.search is not allowed to import autodpq.packed:"),
        (
            "reports/numbers/power.py",
            "reports.tables.render",
            "reports.numbers is not allowed to import reports.tables:",
        ),
        ("reports/tables/render.py", "reports.page.page", "reports.tables is not allowed to import reports.page:"),
        ("reports/load.py", "autodpq.training.recipes", "reports is not allowed to import autodpq.training:"),
        ("autodpq/data/binning.py", "torch", "autodpq.data is not allowed to import torch:"),
        ("autodpq/packed/table.py", "autodpq.packed.load", "- .table -> .load (1 import)"),
        ("studies/prepared.py", "studies.config", "- .prepared -> .config (1 import)"),
    ],
)
def test_an_arrow_against_the_plan_is_named(
    tree: Path, capsys: pytest.CaptureFixture[str], file: str, imported: str, said: str
) -> None:
    path = tree / file
    path.write_text(f"{path.read_text()}\n\ndef hidden():\n    import {imported}\n")
    assert check(tree) == 1
    _, broken = capsys.readouterr().out.split("Broken contracts")
    assert said in broken, broken
    importer = file.removesuffix(".py").replace("/", ".")
    assert said.startswith("- ") or f"{importer} -> {imported} (l." in broken, broken


def test_a_folder_that_is_overfull_is_named(tree: Path) -> None:
    held = len(list((tree / "studies" / "watch").glob("*.py")))
    for number in range(MOST_FILES + 1 - held):
        (tree / "studies" / "watch" / f"more{number}.py").touch()
    assert overfull(tree) == [f"studies/watch: {MOST_FILES + 1}"]
