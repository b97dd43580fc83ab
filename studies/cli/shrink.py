"""The command that finds the smallest model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from studies.cli.options import COLUMNS, FOLDERS, takes
from studies.watch.console import say

DEFAULT_OUT = Path("autodpq-shrink")
N_STEPS = 6


@takes(
    "recipe", "pretrained", "bands", "candidates", "split", "frequency_scope", "optimizer", "device", *COLUMNS, *FOLDERS
)
def shrink(
    dataset: Annotated[str, typer.Argument(help="A table of clicks, or a data set by its name.")],
    *,
    max_loss: Annotated[float, typer.Option(min=0, help="How much AUC the model may lose on validation rows.")] = 0.001,
    model: Annotated[
        str, typer.Option(help="The model: a name (list models), module:Class or file.py:Class.")
    ] = "deepfm",
    strategy: Annotated[str, typer.Option(help="What searches within a budget (list strategies).")] = "sensitivity",
    steps: Annotated[int, typer.Option(min=1, help="Budgets to try at most.")] = N_STEPS,
    out: Annotated[Path, typer.Option(help="Folder; the same command again goes on.")] = DEFAULT_OUT,
    **options: Any,
) -> None:
    """Find the smallest model whose validation AUC is not more than so much below that of full embeddings."""
    from studies.folder.models import export_run
    from studies.shrink import shrink, shrunk_lines
    from studies.study import write_report

    console = Console(emoji=False)
    tell = partial(say, console)

    values = {**options, "dataset": dataset, "models": (model,), "strategies": (strategy,)}
    shrunk = shrink(values, out, max_loss, steps, console, tell)
    study = write_report(out)
    tell(study.budgets().to_text())
    for line in shrunk_lines(shrunk, max_loss):
        tell(line)
    tell(f"The report: {study.report}")
    if shrunk.best is None:
        raise typer.Exit(1)
    path = out / "model.safetensors"
    run = out / "runs" / shrunk.best.run
    export_run(run, path, head_dtype="float32", hashed_vocabulary=False, onnx=None, data_dir=None, cache_dir=None)
    tell(f"The model: {path}")
