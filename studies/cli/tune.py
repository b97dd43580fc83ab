"""The command that tunes a recipe."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from studies.cli.options import COLUMNS, FOLDERS, takes
from studies.options import names
from studies.tuning.ranges import RANGES
from studies.watch.console import say

DEFAULT_OUT = Path("autodpq-tune")
N_TRIALS = 30


@takes("dataset", "recipe", "threshold", "split", "frequency_scope", "optimizer", "device", "jobs", *COLUMNS, *FOLDERS)
def tune(
    *,
    model: Annotated[
        str, typer.Option(help="The model: a name (list models), module:Class or file.py:Class.")
    ] = "deepfm",
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those that are there included.")] = N_TRIALS,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds after which no trial is begun any more.")
    ] = None,
    settings: Annotated[str, typer.Option(help="Settings of the recipe to tune, with commas.")] = ",".join(RANGES),
    out: Annotated[Path, typer.Option(help="Folder; the same command again goes on.")] = DEFAULT_OUT,
    **options: Any,
) -> None:
    """Tune a recipe's settings for FE on validation rows; run --recipe takes the file that comes out."""
    from studies.config import check_config
    from studies.tuning.results import summary, write_tuning
    from studies.tuning.search import Tuning, tune

    console = Console(emoji=False)
    tell = partial(say, console)

    config = check_config({**options, "models": (model,), "strategies": ("fe",)})
    tuned = tune(Tuning(config, out, names(settings), trials, timeout), tell)
    path = write_tuning(tuned, out)
    tell(f"{summary(tuned)}.")
    tell(f"The recipe, the same for all strategies and charged to none: {path}")
    tell(f"{path.read_text(encoding='utf-8')}\nautodpq-study run --recipe {path} ...")
