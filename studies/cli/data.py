"""The commands that look at data."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from studies.cli.options import COLUMNS, FOLDERS, takes

data_app = typer.Typer(no_args_is_help=True, help="Look at data before anything is trained.")


@data_app.command()
@takes(*COLUMNS, "threshold", "bands", *FOLDERS)
def inspect(
    dataset: Annotated[str, typer.Argument(help="A file, a folder of files, a pattern, or a name (list datasets).")],
    *,
    threshold: int | None,
    bands: Literal["auto"] | tuple[int, ...],
    **loading: Any,
) -> None:
    """Show fields, cardinalities, rare values, a suggested threshold, the split, what plans would cost, and bands."""
    from studies.cli.inspection import inspect_data
    from studies.cli.inspection_table import inspection_table

    print(inspection_table(inspect_data({"dataset": dataset, **loading}, threshold, bands)).to_text(), end="")


@data_app.callback()
def _group() -> None:
    """Look at data before anything is trained."""
