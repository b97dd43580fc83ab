"""Where the compressed models of a study are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from autodpq.errors import AutoDPQError

if TYPE_CHECKING:
    import pandas as pd


def model_path(study: Path, run: str) -> Path:
    """Where a study keeps the model of a run."""
    return study / "models" / f"{run}.safetensors"


def model_of(run: Path) -> Path:
    """The kept model of a run's folder.

    Raises:
        AutoDPQError: It is no folder of a run, or the run has not finished.
    """
    if not (run / "config.json").is_file():
        runs = sorted(path.parent.name for path in run.glob("runs/*/result.json"))
        hint = f"; its runs are {run / 'runs'}/{'|'.join(runs[:3])}{'|...' * (len(runs) > 3)}" if runs else ""
        raise AutoDPQError(f"{run}: this is no folder of a run (STUDY/runs/RUN){hint}")
    path = model_path(run.parent.parent, run.name)
    if not path.is_file():
        reason = "was run by a version that kept no models" if (run / "result.json").exists() else "has not finished"
        raise AutoDPQError(f"{run}: this run {reason}; remove the folder and give the study's command again")
    return path


def offer(study: Path, records: pd.DataFrame) -> str | None:
    """A line that says how to take a model away: of those that compress, the one of the best validation AUC.

    Args:
        study: The study's folder.
        records: Its records; None is offered where no plan compresses anything.
    """
    compressed = records[records["plan"].str.contains("dpq|others")]
    if compressed.empty:
        return None
    best = compressed.sort_values("valid_auc", ascending=False, kind="stable").iloc[0]
    return (
        f"Of the compressed models, {best['strategy']} with {best['model']}, seed {best['seed']}, has the best "
        f"validation AUC; to take it away: autodpq-study export {study / 'runs' / best['run']} --out model.safetensors"
    )
