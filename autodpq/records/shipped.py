"""The tables of plans that come with the package."""

from __future__ import annotations

import os
from pathlib import Path

from autodpq.errors import AutoDPQError, nearest
from autodpq.records.table import PlanTable, read_table

_FOLDER = Path(__file__).with_name("tables")


def shipped_tables() -> dict[str, Path]:
    """The tables that are there, by name."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.parquet"))}


def find_table(table: str | os.PathLike[str]) -> Path:
    """The file of a table.

    Args:
        table: A file, or the name of a table that comes with the package.

    Raises:
        AutoDPQError: There is neither.
    """
    path, known = Path(table), shipped_tables()
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    if str(table) not in known:
        raise AutoDPQError(
            f"{table}: there is no such file, and no such table comes with the package{nearest(str(table), known)}"
        )
    return known[str(table)]


def open_table(table: str | os.PathLike[str]) -> PlanTable:
    """Reads a table of plans and checks that it is whole.

    Args:
        table: A file, as ``autodpq-study tabulate`` writes it, or the name of a table that comes with the package
            (``autodpq-study list tables``).

    Raises:
        AutoDPQError: There is no such table, or it was cut short or altered, is of another format, or lacks plans.
    """
    return read_table(find_table(table), str(table))
