"""The command line ``autodpq-study``."""

from __future__ import annotations

import atexit
import gc
import io
import signal
import sys
import traceback
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from autodpq._version import __version__
from autodpq.errors import AutoDPQError, in_words
from studies.cli.data import data_app
from studies.cli.models import audit, compare, export, predict
from studies.cli.options import is_given, takes
from studies.cli.shrink import shrink
from studies.cli.tabulate import tabulate
from studies.cli.tune import tune
from studies.cli.update import patch, update
from studies.watch.console import say

if TYPE_CHECKING:
    from studies.study import Study
    from studies.tables.replay import Replay

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False)

DEFAULT_OUT = Path("autodpq-study")
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended


class Listed(StrEnum):
    """What ``list`` can list."""

    strategies = "strategies"
    models = "models"
    datasets = "datasets"
    recipes = "recipes"
    tables = "tables"


@app.command()
@takes()
def run(
    context: typer.Context,
    *,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of these options and of \\[options.STRATEGY]; the command line wins.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the study; the same command again does what is missing.")
    ] = DEFAULT_OUT,
    replay: Annotated[
        str | None,
        typer.Option(
            help="A table that strategies search instead of training, as tabulate writes it, or a name (list tables); "
            "all that is not given is the table's."
        ),
    ] = None,
    **options: Any,
) -> None:
    """Run a study and write its report: every strategy, model and seed that is not done yet."""
    from studies.config import read_config
    from studies.study import run_and_report

    values = {} if config is None else read_config(config)
    if replay is not None:
        given = {name: value for name, value in options.items() if is_given(context, name)}
        _replay(replay, out if is_given(context, "out") else None, {**values, **given})
        return
    values = {**options, **{name: value for name, value in values.items() if not is_given(context, name)}}
    console = Console(emoji=False)
    study = run_and_report(values, out, console)
    _print_report(console, study)
    if study.missing:
        count = len(study.missing)
        missing = f"{count} of the runs {'is' if count == 1 else 'are'} missing"
        console.print(f"The time is up: {missing}; the same command goes on from there", soft_wrap=True)
        raise typer.Exit(1)
    if study.failed:
        console.print(f"{study.failed} of {len(study.records)} runs failed; the notes below the table say why")
        raise typer.Exit(1)


def _replay(table: str, out: Path | None, given: dict[str, Any]) -> None:
    from studies.tables.replay import DEFAULT_OUT, replay_and_report

    console = Console(emoji=False)
    replay = replay_and_report(table, out or DEFAULT_OUT, given, console)
    _print_replay(console, replay)
    if replay.failed:
        console.print(f"{replay.failed} of {len(replay.runs)} searches failed")
        raise typer.Exit(1)


def _print_replay(console: Console, replay: Replay) -> None:
    fronts = replay.fronts()
    tables = [replay.regret().to_text(), *([fronts.to_text()] if fronts.grids else [])]
    for line in [*tables, *replay.words(), f"\nThe report: {replay.report}"]:
        say(console, line)


@app.command()
def report(study: Annotated[Path, typer.Argument(help="Folder of a study, or of a replay.")]) -> None:
    """Write the report of a study anew from its records."""
    from reports.numbers.regret import is_replay
    from studies.study import write_report

    if is_replay(study):
        from studies.tables.replay import write_replay_report

        _print_replay(Console(emoji=False), write_replay_report(study))
        return
    _print_report(Console(emoji=False), write_report(study))


def _print_report(console: Console, study: Study) -> None:
    """Prints the first tables, the verdicts, and what to do next."""
    from studies.folder.models import offer

    budgets = study.budgets()
    lines = [budgets.to_text()] if budgets.grids else []
    lines += [study.table1().to_text(), *study.verdicts(), f"\nThe report: {study.report}"]
    for line in filter(None, [*lines, offer(study.folder, study.records)]):
        say(console, line)


@app.command("list")
def list_(what: Annotated[Listed, typer.Argument(help="What to list.")]) -> None:
    """List what can be named: strategies, models, data sets, the settings of recipes, or tables of plans."""
    from studies.cli.listing import list_lines

    console = Console(emoji=False)
    for line in list_lines(what.value, console.width if console.is_terminal else None):
        say(console, line)


@app.command()
def status(study: Annotated[Path, typer.Argument(help="Folder of a study.")]) -> None:
    """Say which runs of a study are done, and how far the others are."""
    from studies.folder.status import status_lines

    for line in status_lines(study):
        print(line)


app.add_typer(data_app, name="data")
for _command in (shrink, tune, tabulate, audit, export, predict, compare, update, patch):
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
    # Python ends by a search for cycles in all that torch holds, which takes a second and frees what ends anyway.
    atexit.register(gc.freeze)
    # Tables hold signs, and data sets names, that not every terminal has: a question mark there ends nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    stderr = Console(stderr=True, emoji=False)
    for argument in sys.argv[1:]:
        if not argument.isascii() and argument != argument.encode("utf-8", "replace").decode():
            _fail(stderr, f"{argument!r} is not UTF-8, as names in files are: rename it, or set LC_ALL=C.UTF-8")
    try:
        # Typer's own handling would draw a box around usage errors.
        code = app(args=sys.argv[1:] or ["--help"], standalone_mode=False)
    except AutoDPQError as error:
        if "--log-level=debug" in sys.argv or ("--log-level", "debug") in pairwise(sys.argv):
            stderr.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
        _fail(stderr, str(error))
    except Exception as error:
        # Which click it is, and where its classes are, differs between typer's versions.
        if type(error).__name__ == "Abort":
            code = INTERRUPTED
        elif hasattr(error, "format_message"):
            _fail(stderr, in_words(_with_command(" ".join(str(error.format_message()).split()))))
        else:
            raise
    if code == INTERRUPTED:
        stderr.print("Stopped. Finished runs and trials are kept; the same command goes on from there.", soft_wrap=True)
    # What is left is Python's own end, of which a second Ctrl-C would make a traceback.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    sys.exit(code if isinstance(code, int) else 0)


def _with_command(message: str) -> str:
    """A usage error; where the command that is not known is one of a group, with its whole name."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        for below in getattr(command, "commands", {}):
            if message == f"No such command '{below}'.":
                return f"No such command '{below}'. Did you mean '{name} {below}'?"
    return message


def _fail(stderr: Console, message: str) -> NoReturn:
    stderr.print(f"[bold red]Error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(2)


if __name__ == "__main__":
    main()
