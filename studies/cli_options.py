"""Options that several commands of the command line take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autodpq.errors import AutoDPQError

Dataset = Annotated[
    str, typer.Option(help="A name (list datasets), a CSV or parquet file, module:NAME or file.py:NAME.")
]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the publisher's files; else $AUTODPQ_DATA.")]
CacheDir = Annotated[
    Path | None, typer.Option(help="Folder of encoded data; else $AUTODPQ_CACHE, else ~/.cache/autodpq.")
]
Threshold = Annotated[int | None, typer.Option(help="Values that occur at least so often are frequent.")]
Label = Annotated[str, typer.Option(help="Label column of one's own file, 0 or 1.")]
Centroids = Annotated[str | None, typer.Option("--K", help="Numbers of centroids of the candidates, as 8,16,32.")]
Subspaces = Annotated[str | None, typer.Option("--D", help="Numbers of subspaces of the candidates, as 2,4,8.")]


def names(text: str) -> tuple[str, ...]:
    """Names between commas that are outside of parentheses."""
    from autodpq.options import split_names

    return tuple(split_names(text))


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
