"""The quickstart and the notebook run as they stand there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
from nbclient import NotebookClient
from support.patience import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_quickstart_runs(tmp_path: Path, cache: Path) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / "quickstart.py"],
        cwd=tmp_path,
        env={**os.environ, "AUTODPQ_CACHE": str(cache)},
        capture_output=True,
        text=True,
        timeout=int(PATIENCE),
    )
    assert done.returncode == 0, done.stderr
    records = pd.read_csv(tmp_path / "quickstart" / "records.csv")
    assert len(records) == 8 and records["test_auc"].between(0.65, 0.9).all()
    auc = records.groupby("strategy")["test_auc"].mean()
    assert auc["others"] < auc["autodpq"], "rare users and items are of kinds that can be learned"
    for text in ("AutoDPQ against Random:", "The best compressed plan:", "probability"):
        assert text in done.stdout
    for name in ("figure3.png", "model.safetensors"):
        assert (tmp_path / name).stat().st_size > 1000


def test_the_notebook_runs_and_shows_what_is_kept_in_it(tmp_path: Path, cache: Path) -> None:
    kept = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
    ran = nbformat.read(EXAMPLES / "quickstart.ipynb", as_version=4)
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
    assert len(list((tmp_path / "notebook-study" / "runs").glob("*/result.json"))) == 8


def _kinds(cell: nbformat.NotebookNode) -> set[str]:
    """What a cell shows: the kinds of its outputs, but for warnings of the notebook's own machinery."""
    shown = [output for output in cell.outputs if output.get("name") != "stderr"]
    return {kind for output in shown for kind in output.get("data", {output["output_type"]: ""})}
