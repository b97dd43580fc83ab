"""A table of nine plans, for tests of what makes it and what searches it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from support.small_study import Run, small_study

from studies.tables.replay import Replay, replay_and_report
from studies.tables.tabulate import Tabulated, tabulate

OPTIONS: Mapping[str, Any] = {
    "K": None,
    "D": None,
    "candidates": ("full,others,dpq(4,2)",),
    "recipe": "paper(max_epochs=2)",
    "threshold": 10,
    "seeds": 2,
}


class Small:
    """Some hundred rows in a folder, and what is made of them.

    Attributes:
        folder: The folder.
        study: Runs a study of strategies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study: Run = small_study(folder)

    def tabulate(
        self, name: str = "table", told: Callable[[str], None] = lambda line: None, **changes: Any
    ) -> Tabulated:
        """Makes a table of the rows."""
        known = {
            "dataset": str(self.folder / "own.csv"),
            "split_column": "part",
            "cache_dir": str(self.folder / "cache"),
        }
        values = {**known, **OPTIONS, **changes}
        return tabulate(values, self.folder / name, "CC0-1.0", Console(file=io.StringIO()), told)

    def replay(self, strategies: str, table: Path | None = None, out: str = "replay", **given: Any) -> Replay:
        """Lets strategies, by name, search the table."""
        path = table or self.folder / "table" / "table.parquet"
        known = {"strategies": tuple(strategies.split(" "))}
        return replay_and_report(path, self.folder / out, {**known, **given}, Console(file=io.StringIO()))
