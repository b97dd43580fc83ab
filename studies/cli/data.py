"""The commands that look at data."""

from __future__ import annotations

from typing import Annotated

import typer

from studies.cli.options import (
    CacheDir,
    DataDir,
    Exclude,
    Fields,
    Label,
    Numeric,
    SplitColumn,
    Threshold,
    TimeColumn,
    loading,
)

data_app = typer.Typer(no_args_is_help=True, help="Look at data before anything is trained.")


@data_app.command()
def inspect(
    context: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help="A file, a folder of parquet files, a pattern, or a name (list datasets).")
    ],
    label: Label = "click",
    fields: Fields = None,
    exclude: Exclude = None,
    numeric: Numeric = None,
    split_column: SplitColumn = None,
    time_column: TimeColumn = None,
    threshold: Threshold = None,
    data_dir: DataDir = None,
    cache_dir: CacheDir = None,
) -> None:
    """Show fields, cardinalities, rare values, a suggested threshold, the split, and what plans would cost."""
    from studies.cli.inspection import inspect_data
    from studies.cli.inspection_table import inspection_table

    print(inspection_table(inspect_data(loading(context), threshold)).to_text(), end="")


@data_app.callback()
def _group() -> None:
    """Look at data before anything is trained."""
