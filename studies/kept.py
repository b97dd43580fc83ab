"""Where the compressed models of a study are kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autodpq.errors import AutoDPQError

if TYPE_CHECKING:
    import pandas as pd


def best_compressed(records: pd.DataFrame) -> pd.Series[Any] | None:
    """The record of the best validation AUC among those whose plan compresses something; None where there is none."""
    compressed = records[records["plan"].str.contains("dpq|others")]
    if compressed.empty:
        return None
    return compressed.sort_values("valid_auc", ascending=False, kind="stable").iloc[0]


def model_path(study: Path, run: str) -> Path:
    """Where a study keeps the model of a run."""
    return study / "models" / f"{run}.safetensors"


def read_records(study: Path) -> pd.DataFrame:
    """The records of a study: one row per run, as in ``records.parquet``.

    Raises:
        AutoDPQError: No run has finished, or the file is damaged.
    """
    import pandas as pd

    path = study / "records.parquet"
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise AutoDPQError(f"{study}: no study folder, or no run has finished yet") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AutoDPQError(f"{path}: damaged ({reason}); give the study's command again to write it anew") from None


def run_of(path: Path) -> Path:
    """The folder of a run; of a study's folder, that of its best compressed model.

    Raises:
        AutoDPQError: No finished run of the study compresses anything.
    """
    if not (path / "study.json").is_file():
        return path
    best = best_compressed(read_records(path))
    if best is None:
        raise AutoDPQError(f"{path}: no finished run compresses anything; name a run, {path / 'runs'}/RUN")
    return path / "runs" / str(best["run"])


def model_of(run: Path) -> Path:
    """The kept model of a run's folder.

    Raises:
        AutoDPQError: It is no folder of a run, or the run has not finished.
    """
    if not (run / "config.json").is_file():
        raise AutoDPQError(f"{run}: this is no folder of a run (STUDY/runs/RUN)")
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
    best = best_compressed(records)
    if best is None:
        return None
    return (
        f"Of the compressed models, {best['strategy']} with {best['model']}, seed {best['seed']}, has the best "
        f"validation AUC; to take it away: autodpq-study export {study} --out model.safetensors"
    )
