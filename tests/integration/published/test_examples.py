"""The quickstart and the notebook run as they stand there."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient
from support.little import LITTLE, no_pictures
from support.patience import PATIENCE

EXAMPLES = Path(__file__).parents[3] / "examples"

# As they stand they take minutes; with fewer trainings every line of them runs all the same.
FEWER = {"trials=4": "trials=1", "seeds=2": "seeds=1", "60_000": "15_000"}
AS_IT_STANDS = pytest.param({}, id="as it stands", marks=pytest.mark.slow)
SIZES = pytest.mark.parametrize("changes", [AS_IT_STANDS, pytest.param(FEWER, id="fewer trainings")])


def changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def as_a_program(path: Path) -> str:
    """Runs a program as a person does; gives what it prints."""
    done = subprocess.run(
        [sys.executable, path.name], cwd=path.parent, capture_output=True, text=True, timeout=int(PATIENCE)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def here(path: Path) -> str:
    """The same in this process; pictures that it does not ask for are left out."""
    with no_pictures(), redirect_stdout(io.StringIO()) as out:
        runpy.run_path(path.name, run_name="__main__")
    return out.getvalue()


@pytest.mark.slow  # pages of the documentation call the same
@SIZES
def test_the_quickstart_runs(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, changes: Mapping[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTODPQ_CACHE", str(cache))
    monkeypatch.setenv("MPLBACKEND", "agg")
    program = tmp_path / "quickstart.py"
    program.write_text(changed((EXAMPLES / "quickstart.py").read_text(), changes))
    printed = here(program) if changes else as_a_program(program)
    records = pd.read_csv(tmp_path / "quickstart" / "records.csv")
    assert len(records) == (4 if changes else 8) and records["test_auc"].between(0.65, 0.9).all()
    auc = records.groupby("strategy")["test_auc"].mean()
    assert auc["others"] < auc["autodpq"], "rare users and items are of kinds that can be learned"
    for text in ("AutoDPQ against Random:", "The best compressed plan:", "probability"):
        assert text in printed
    for name in ("figure3.png", "model.safetensors"):
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.slow  # a kernel imports all anew; what its cells call is called by the quickstart
@SIZES
def test_the_notebook_runs_and_shows_what_is_kept_in_it(
    tmp_path: Path, cache: Path, changes: Mapping[str, str]
) -> None:
    kept = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    ran = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    for cell in ran.cells:
        cell.source = changed(cell.source, changes)
    if changes:
        first = next(cell for cell in ran.cells if cell.cell_type == "code")
        first.source = f"{LITTLE}\n{first.source}"
    (tmp_path / "cache").symlink_to(cache)
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(ran, timeout=int(PATIENCE), kernel_name="python3", resources=resources)
    client.execute(env={**os.environ, "AUTODPQ_CACHE": str(cache)})
    for before, after in zip(kept.cells, ran.cells, strict=True):
        if before.cell_type == "code":
            assert _kinds(after) == _kinds(before), after.source
    assert not [output for cell in ran.cells for output in cell.get("outputs", []) if "\x1b[" in output.get("text", "")]
    shown = [output["data"] for cell in ran.cells for output in cell.get("outputs", []) if "data" in output]
    assert any("| grow-one " in data.get("text/markdown", "") for data in shown)
    assert len(list((tmp_path / "notebook-study" / "runs").glob("*/result.json"))) == (4 if changes else 8)


def _kinds(cell: nbformat.NotebookNode) -> set[str]:
    """What a cell shows: the kinds of its outputs, but for warnings of the notebook's own machinery."""
    shown = [output for output in cell.outputs if output.get("name") != "stderr"]
    return {kind for output in shown for kind in output.get("data", {output["output_type"]: ""})}
