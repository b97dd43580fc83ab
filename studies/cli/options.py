"""Options that several commands of the command line take."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from autodpq.errors import AutoDPQError

# The groups of options in the help; what a command is about stands before them.
candidates = partial(typer.Option, rich_help_panel="Rare values and candidates")
data = partial(typer.Option, rich_help_panel="Data")
training = partial(typer.Option, rich_help_panel="Training")
machine = partial(typer.Option, rich_help_panel="Machine")
output = partial(typer.Option, rich_help_panel="Output")

Dataset = Annotated[
    str,
    data(
        help="A name (list datasets); a CSV, CSV.gz, parquet or Arrow file, a folder of parquet files or a pattern as "
        "'clicks/*.parquet'; module:NAME or file.py:NAME."
    ),
]
DataDir = Annotated[Path | None, data(help="Folder of the publisher's files; else $AUTODPQ_DATA.")]
CacheDir = Annotated[Path | None, data(help="Folder of encoded data; else $AUTODPQ_CACHE, else ~/.cache/autodpq.")]
Threshold = Annotated[int | None, candidates(help="Values that occur at least so often are frequent.")]
Label = Annotated[str, data(help="Label column of one's own data, 0 or 1.")]
Fields = Annotated[str | None, data(help="Fields to use, with commas; else all but the label, the split and the time.")]
Exclude = Annotated[str | None, data(help="Fields to leave out, with commas; instead of --fields.")]
Numeric = Annotated[
    str | None,
    data(
        help="Columns of one's own data to be binned by quantiles though their numbers are whole, with commas; decimal "
        "numbers always are."
    ),
]
SplitColumn = Annotated[str | None, data(help="Column of one's own data: train, valid, test.")]
TimeColumn = Annotated[str | None, data(help="Column of one's own data that says when: the newest rows test.")]
Centroids = Annotated[str | None, candidates("--K", help="Numbers of centroids of the candidates, as 8,16,32.")]
Subspaces = Annotated[str | None, candidates("--D", help="Numbers of subspaces of the candidates, as 2,4,8.")]


def names(text: str) -> tuple[str, ...]:
    """Names between commas that are outside of parentheses."""
    from autodpq.plugins.options import split_names

    return tuple(split_names(text))


def columns(option: str, text: str | None) -> tuple[str, ...] | None:
    """Names of columns between commas; None where the option is not given.

    Raises:
        AutoDPQError: There is no name.
    """
    if text is None:
        return None
    found = tuple(text.strip() for text in next(csv.reader([text], skipinitialspace=True), []))
    if not all(found) or not found:
        raise AutoDPQError(f"{option}: {text!r} given, names of columns as user,item are needed")
    return found


def loading(context: typer.Context) -> dict[str, Any]:
    """The options of a command that say where rows come from, as :data:`studies.prepared.LOADING` names them.

    Raises:
        AutoDPQError: Names of columns are not such.
    """
    given = context.params
    return {
        **{option: given[option] for option in ("dataset", "label", "split_column", "time_column")},
        **{option: given[option] and str(given[option]) for option in ("data_dir", "cache_dir")},
        **{option: columns(f"--{option}", given[option]) for option in ("fields", "exclude", "numeric")},
    }


def is_given(context: typer.Context, option: str) -> bool:
    """Whether the command line gives an option."""
    source = context.get_parameter_source(option.lower())
    return source is not None and source.name == "COMMANDLINE"


def numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    """Whole numbers between commas.

    Raises:
        AutoDPQError: The text is something else.
    """
    if text is None:
        return None
    try:
        found = tuple(int(part) for part in names(text))
    except ValueError:
        found = ()
    if not found:
        raise AutoDPQError(f"{option}: {text!r} given, whole numbers as 8,16 are needed")
    return found
