"""The command line ``autodpq-study``."""

from __future__ import annotations

import atexit
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from autodpq._version import __version__
from autodpq.errors import AutoDPQError
from studies.cli.data import data_app
from studies.cli.models import audit, export, predict
from studies.cli.options import (
    CacheDir,
    Centroids,
    DataDir,
    Dataset,
    Exclude,
    Fields,
    Label,
    Numeric,
    SplitColumn,
    Subspaces,
    Threshold,
    TimeColumn,
    candidates,
    data,
    is_given,
    loading,
    machine,
    names,
    numbers,
    output,
    training,
)

if TYPE_CHECKING:
    from studies.study import Study

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

DEFAULT_OUT = Path("autodpq-study")
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended


class Listed(StrEnum):
    """What ``list`` can list."""

    strategies = "strategies"
    models = "models"
    datasets = "datasets"


@app.command()
def run(
    context: typer.Context,
    strategies: Annotated[
        str,
        typer.Option(
            help="Names (list strategies), module:Class or file.py:Class, each with options as name(option=value), "
            "commas between; all are the paper's."
        ),
    ] = "all",
    dataset: Dataset = "synthetic",
    models: Annotated[
        str, typer.Option(help="Names (list models), module:Class or file.py:Class, with commas.")
    ] = "deepfm",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    recipe: Annotated[str, training(help="Training recipe: paper or strong.")] = "paper",
    trials: Annotated[int | None, typer.Option(help="Trials of each search; else 20, and grid tries all.")] = None,
    trial_timeout: Annotated[
        float | None, typer.Option(help="Seconds of training after which a trial counts as failed; else no limit.")
    ] = None,
    threshold: Threshold = None,
    k: Centroids = None,
    d: Subspaces = None,
    init: Annotated[str, training(help="Train plans from the pretrained table, or from scratch.")] = "pretrained",
    split: Annotated[str | None, data(help="random, time, column or auto; else the data set's way.")] = None,
    resplit: Annotated[bool, data(help="A split of its own for every seed.")] = False,
    frequency_scope: Annotated[str, candidates(help="Count values over all rows, or over train rows.")] = "all",
    optimizer: Annotated[
        str, training(help="adam, lazy-adam (the batch's rows of the tables alone), or auto: by the tables' size.")
    ] = "auto",
    device: Annotated[str, machine(help="auto, cpu or cuda.")] = "auto",
    compile: Annotated[str, machine(help="Compile training steps: on, off, or auto, where it pays.")] = "auto",
    executor: Annotated[str, machine(help="Train trials on this machine (local) or on a Ray cluster (ray).")] = "local",
    jobs: Annotated[int, machine(help="Processes of this machine that train trials side by side.")] = 1,
    ray_address: Annotated[str, machine(help="The Ray cluster, as host:port; auto finds one here.")] = "auto",
    cpus_per_trial: Annotated[float, machine(help="Cores that a trial takes on the Ray cluster.")] = 1,
    gpus_per_trial: Annotated[float, machine(help="GPUs that a trial takes on the Ray cluster.")] = 0,
    mirror: Annotated[
        str | None, output(help="Optuna storage (sqlite:///FILE, postgresql://..., FILE.log) to copy trials to.")
    ] = None,
    tensorboard: Annotated[bool, output(help="Write scalars for TensorBoard into OUT/tensorboard.")] = False,
    log_level: Annotated[
        str, output(help="debug tells every epoch and trial, info every run, warning what goes wrong.")
    ] = "info",
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    label: Label = "click",
    fields: Fields = None,
    exclude: Exclude = None,
    numeric: Numeric = None,
    split_column: SplitColumn = None,
    time_column: TimeColumn = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of these options and of \\[options.STRATEGY]; the command line wins.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the study; the same command again does what is missing.")
    ] = DEFAULT_OUT,
) -> None:
    """Run a study and write its report: every strategy, model and seed that is not done yet."""
    from studies.config import read_config
    from studies.study import run_and_report

    values: dict[str, Any] = {
        **loading(context),
        "strategies": names(strategies),
        "models": names(models),
        "seeds": seeds,
        "recipe": recipe,
        "trials": trials,
        "trial_timeout": trial_timeout,
        "threshold": threshold,
        "K": numbers("--K", k),
        "D": numbers("--D", d),
        "init": init,
        "split": split,
        "resplit": resplit,
        "frequency_scope": frequency_scope,
        "optimizer": optimizer,
        "device": device,
        "compile": compile,
        "executor": executor,
        "jobs": jobs,
        "ray_address": ray_address,
        "cpus_per_trial": cpus_per_trial,
        "gpus_per_trial": gpus_per_trial,
        "mirror": mirror,
        "tensorboard": tensorboard,
        "log_level": log_level,
    }
    if config is not None:
        given = {name for name in values if is_given(context, name)}
        values = {**values, **{name: value for name, value in read_config(config).items() if name not in given}}
    console = Console(emoji=False)
    study = run_and_report(values, out, console)
    _print_report(console, study)
    if study.failed:
        console.print(f"{study.failed} of {len(study.records)} runs failed; the notes below the table say why")
        raise typer.Exit(1)


@app.command()
def report(study: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Write the report of a study anew from its records."""
    from studies.study import write_report

    _print_report(Console(emoji=False), write_report(study))


def _print_report(console: Console, study: Study) -> None:
    """Prints the first table, the verdicts, and what to do next."""
    from studies.folder.models import offer

    lines = [study.table1().to_text(), *study.verdicts(), f"\nThe report: {study.report}"]
    for line in filter(None, [*lines, offer(study.folder, study.records)]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: strategies, models or data sets."""
    from studies.cli.listing import list_lines

    console = Console(emoji=False)
    for line in list_lines(what.value, console.width if console.is_terminal else None):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def status(study: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Say which runs of a study are done, and how far the others are."""
    from studies.folder.status import status_lines

    for line in status_lines(study):
        print(line)


app.add_typer(data_app, name="data")
for _command in (audit, export, predict):
    app.command()(_command)


def _version(value: bool) -> None:
    if value:
        print(f"autodpq {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Choose how to compress the embedding tables of click-through models, and prove that the choice was right."""


def main() -> None:
    """Entry point: an error that a person can mend is one line, and exit code 2."""
    stderr = Console(stderr=True, emoji=False)
    try:
        # Typer's own handling would draw a box around usage errors.
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except AutoDPQError as error:
        _fail(stderr, str(error))
    except Exception as error:
        # Which click it is, and where its classes are, differs between typer's versions.
        if type(error).__name__ == "Abort":
            code = INTERRUPTED
        elif hasattr(error, "format_message"):
            _fail(stderr, " ".join(str(error.format_message()).split()))
        else:
            raise
    if code == INTERRUPTED:
        stderr.print("Stopped. Finished runs and trials are kept; the same command goes on from there.", soft_wrap=True)
    # What is left is Python's own end, of which a second Ctrl-C would make a traceback.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(stderr: Console, message: str) -> NoReturn:
    stderr.print(f"[bold red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
