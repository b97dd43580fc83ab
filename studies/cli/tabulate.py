"""The command that trains every plan of a space."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from studies.cli.options import COLUMNS, FOLDERS, takes
from studies.watch.console import say

DEFAULT_OUT = Path("autodpq-table")


@takes(
    "dataset", "models", "seeds", "candidates", "K", "D", "space", "bands", "threshold", "recipe", "init", "split",
    "resplit", "frequency_scope", "optimizer", "device", "compile", "executor", "jobs", "ray_address", "cpus_per_trial",
    "gpus_per_trial", "timeout", "log_level", *COLUMNS, *FOLDERS,
)  # fmt: skip
def tabulate(
    *,
    licence: Annotated[str, typer.Option(help="Under which the table may be used, a name or a text, as CC-BY-4.0.")],
    out: Annotated[Path, typer.Option(help="Folder; the same command again goes on.")] = DEFAULT_OUT,
    **options: Any,
) -> None:
    """Train every plan of a small space with several seeds: a table that run --replay searches without training."""
    from studies.tables.tabulate import tabulate

    console = Console(emoji=False)
    tell = partial(say, console)

    done = tabulate(options, out, licence, console, tell)
    if done.n_missing:
        tell(f"The time is up: {done.n_missing:,} trainings are missing; the same command goes on from there")
        raise typer.Exit(1)
    tell(f"The table: {done.path}\nautodpq-study run --replay {done.path} --strategies random,tpe --seeds 200 ...")
