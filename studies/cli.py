"""The command line ``autodpq-study``."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from autodpq._version import __version__
from autodpq.errors import AutoDPQError

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

DEFAULT_OUT = Path("autodpq-study")
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended

Dataset = Annotated[str, typer.Option(help="A data set by name (list datasets), or a CSV or parquet file.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the publisher's files; else $AUTODPQ_DATA.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="Folder of encoded data; else $AUTODPQ_CACHE, else ~/.cache/autodpq.")
]
Threshold = Annotated[int | None, typer.Option(help="Values that occur at least so often are frequent.")]
Label = Annotated[str, typer.Option(help="Label column of one's own file, 0 or 1.")]
Centroids = Annotated[str | None, typer.Option("--K", help="Numbers of centroids of the candidates, as 8,16,32.")]
Subspaces = Annotated[str | None, typer.Option("--D", help="Numbers of subspaces of the candidates, as 2,4,8.")]


class Listed(StrEnum):
    """What ``list`` can list."""

    strategies = "strategies"
    models = "models"
    datasets = "datasets"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in _names(text))
    except ValueError:
        numbers = ()
    if not numbers:
        raise AutoDPQError(f"{option}: {text!r} given, whole numbers as 8,16 are needed")
    return numbers


@app.command()
def run(
    strategies: Annotated[str, typer.Option(help="all, or names with commas between (list strategies).")] = "all",
    dataset: Dataset = "synthetic",
    models: Annotated[str, typer.Option(help="Names with commas between (list models).")] = "deepfm",
    seeds: Annotated[int, typer.Option(help="Number of seeds.")] = 3,
    recipe: Annotated[str, typer.Option(help="Training recipe: paper or strong.")] = "paper",
    trials: Annotated[int | None, typer.Option(help="Trials of each search; else 20, and grid tries all.")] = None,
    threshold: Threshold = None,
    k: Centroids = None,
    d: Subspaces = None,
    init: Annotated[str, typer.Option(help="Train plans from the pretrained table, or from scratch.")] = "pretrained",
    split: Annotated[str | None, typer.Option(help="random, time, column or auto; else the data set's way.")] = None,
    resplit: Annotated[bool, typer.Option("--resplit", help="A split of its own for every seed.")] = False,
    frequency_scope: Annotated[str, typer.Option(help="Count values over all rows, or over train rows.")] = "all",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Processes that train trials side by side.")] = 1,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    label: Label = "click",
    split_column: Annotated[str | None, typer.Option(help="Column of one's own file: train, valid, test.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of one's own file that says when.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the study; the same command again does what is missing.")] = (
        DEFAULT_OUT
    ),
) -> None:
    """Run a study and write its report: every strategy, model and seed that is not done yet."""
    from reports import load_study, table1, write_report
    from studies.config import ALL_STRATEGIES, check_config
    from studies.progress import Progress
    from studies.runner import run_study

    values: dict[str, Any] = {
        "dataset": dataset,
        "strategies": ALL_STRATEGIES if strategies == "all" else _names(strategies),
        "models": _names(models),
        "seeds": seeds,
        "recipe": recipe,
        "trials": trials,
        "threshold": threshold,
        "K": _numbers("--K", k),
        "D": _numbers("--D", d),
        "init": init,
        "split": split,
        "resplit": resplit,
        "frequency_scope": frequency_scope,
        "device": device,
        "jobs": jobs,
        "data_dir": None if data_dir is None else str(data_dir),
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "label": label,
        "split_column": split_column,
        "time_column": time_column,
    }
    config = check_config(values)
    console = Console()
    with Progress(console) as progress:
        run_study(config, out, progress)
    files = write_report(out)
    console.print(table1(load_study(out)).to_text(), markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"\n{len(files)} files in {out / 'report'}; start with README.md there", highlight=False, soft_wrap=True
    )


@app.command()
def report(study: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Write the report of a study anew from its records."""
    from reports import load_study, table1, write_report

    files = write_report(study)
    console = Console()
    console.print(table1(load_study(study)).to_text(), markup=False, highlight=False, soft_wrap=True)
    console.print(f"\n{len(files)} files in {study / 'report'}", highlight=False, soft_wrap=True)


@app.command("list")
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: strategies, models or data sets."""
    from studies.listing import list_lines

    console = Console()
    for line in list_lines(what.value):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def audit(
    dataset: Dataset = "synthetic",
    threshold: Threshold = None,
    k: Centroids = None,
    d: Subspaces = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
    label: Label = "click",
) -> None:
    """Print what FE, Others and every uniform (K, D) cost, beside the paper's Space."""
    from autodpq.data import dataset_spec, load_dataset
    from reports import audit_text

    spec = dataset_spec(dataset)
    loaded = load_dataset(dataset, data_dir=data_dir, cache_dir=cache_dir, label=label)
    fields = loaded.fields(spec.threshold if threshold is None else threshold)
    centroids, subspaces = _numbers("--K", k) or spec.K, _numbers("--D", d) or spec.D
    print(audit_text(loaded.name, fields, centroids, subspaces, spec.embedding_dim))


@app.command()
def status(study: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Say which runs of a study are done, and how far the others are."""
    from studies.status import status_lines

    for line in status_lines(study):
        print(line)


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
    stderr = Console(stderr=True)
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
    sys.exit(code if isinstance(code, int) else 0)


def _fail(stderr: Console, message: str) -> NoReturn:
    stderr.print(f"[bold red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
