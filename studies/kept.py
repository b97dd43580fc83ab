"""Where the compressed models of a study are kept."""

from __future__ import annotations

from pathlib import Path

from autodpq.errors import AutoDPQError


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
