"""What a tuning leaves in its folder: the recipe, its trials, what mattered, and a picture of both."""

from __future__ import annotations

import io
from pathlib import Path

import polars as pl

from autodpq.files import write_whole
from autodpq.training.recipes import recipe_text
from reports.figures.style import save_figure
from reports.figures.tuning import tuning_figure
from studies.tuning.search import Tuned

RECIPE = "recipe.toml"


def write_tuning(tuned: Tuned, out: Path) -> Path:
    """Writes ``recipe.toml``, ``trials.parquet``, ``importance.csv`` and ``tuning.png`` and ``.svg``.

    Returns:
        The recipe's file.

    Raises:
        AutoDPQError: A file cannot be written.
    """
    trials, importance = trials_frame(tuned), importance_frame(tuned)
    buffer = io.BytesIO()
    trials.write_parquet(buffer)
    write_whole(out / "trials.parquet", buffer.getvalue())
    write_whole(out / "importance.csv", importance.write_csv())
    save_figure(tuning_figure(trials, importance, f"FE, {tuned.model} on {tuned.dataset}"), out / "tuning")
    return write_whole(out / RECIPE, f"# {summary(tuned)}\n{recipe_text(tuned.recipe)}")


def summary(tuned: Tuned) -> str:
    """One line on what was seen."""
    ended = sum(trial.state == "pruned" for trial in tuned.trials)
    seconds = sum(trial.seconds for trial in tuned.trials)
    rows = "validation rows" if tuned.folds == 1 else f"the validation rows of {tuned.folds} splits, in the mean"
    return (
        f"The best of {len(tuned.trials)} trials of FE with {tuned.model} on {tuned.dataset}, of which {ended} ended "
        f"early: AUC {tuned.best.valid_auc:.4f}, logloss {tuned.best.valid_logloss:.4f} on {rows}; "
        f"{seconds:.0f} s of training"
    )


def trials_frame(tuned: Tuned) -> pl.DataFrame:
    """One row per trial: how it ended, what it reached after each epoch, and its settings."""
    rows = [
        {
            "number": number,
            "state": trial.state,
            "valid_auc": trial.valid_auc,
            "valid_logloss": trial.valid_logloss,
            "by_epoch": list(trial.by_epoch),
            "seconds": trial.seconds,
            **{name: str(value) if isinstance(value, tuple) else value for name, value in trial.settings.items()},
        }
        for number, trial in enumerate(tuned.trials, 1)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def importance_frame(tuned: Tuned) -> pl.DataFrame:
    """The settings by how much each matters."""
    schema = {"setting": pl.String, "importance": pl.Float64}
    return pl.DataFrame(list(tuned.importance.items()), schema=schema, orient="row")
