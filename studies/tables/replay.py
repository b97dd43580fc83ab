"""Replays from Python: :func:`replay` is ``autodpq-study run --replay``, :class:`Replay` is what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from autodpq.errors import AutoDPQError
from autodpq.records.folder import entries
from autodpq.records.replay import BestWithin
from reports.figures.attainment import attainment_chart
from reports.figures.plots import draw_chart
from reports.figures.ranks import ranks_chart
from reports.figures.regret import regret_chart
from reports.numbers.regret import Replayed, load_replay
from reports.tables.attainment import fronts_table
from reports.tables.regret import regret_table, regret_words
from reports.tables.render import Table
from reports.write import write_replay_report as write_report
from studies.watch.console import python_console, say

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

DEFAULT_OUT = Path("autodpq-replay")


class Replay:
    """A replay's folder: its searches, their regret and its figures.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @cached_property
    def results(self) -> Replayed:
        """All that reports are made of.

        Raises:
            AutoDPQError: The folder holds no replay, or it is damaged.
        """
        return load_replay(self.folder)

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per search, with the columns of :class:`autodpq.records.replay.ReplayedRun`."""
        import pandas as pd

        return pd.DataFrame([entries(run) for run in self.results.runs])

    @property
    def failed(self) -> int:
        """How many searches came to nothing."""
        return sum(run.error is not None for run in self.results.runs)

    @property
    def report(self) -> Path:
        """The report."""
        return self.folder / "report" / "README.md"

    def regret(self) -> Table:
        """What the plans of each strategy are worth beside the best of the table."""
        return regret_table(self.results)

    def fronts(self) -> Table:
        """What the plans of each strategy within all budgets dominate; empty with fewer than two budgets."""
        return fronts_table(self.results)

    def words(self) -> tuple[str, ...]:
        """The same in words."""
        return regret_words(self.results)

    def figure(
        self,
        rows: Literal["valid", "test"] = "test",
        by: Literal["trials", "seconds"] = "trials",
        budget: int | None = None,
    ) -> Figure:
        """Regret by trials or by simulated seconds.

        Args:
            rows: Of which rows.
            by: What it is drawn against.
            budget: Bytes, of a replay that was asked for some.

        Raises:
            AutoDPQError: There was no such budget, or no strategy tries plans.
        """
        chart = regret_chart(self.results, self._best(budget), rows, by)
        if chart is None:
            raise AutoDPQError(f"{self.folder}: no strategy tries plans, so that there is nothing to draw")
        return draw_chart(chart)

    def ranks(self, budget: int | None = None) -> Figure:
        """Mean ranks of strategies by test regret, and the critical difference.

        Args:
            budget: Bytes, of a replay that was asked for some.

        Raises:
            AutoDPQError: There was no such budget, or there are fewer than three strategies or two seeds.
        """
        chart = ranks_chart(self.results, self._best(budget))
        if chart is None:
            raise AutoDPQError(f"{self.folder}: ranks need three strategies, two search seeds, and a difference")
        return draw_chart(chart)

    def attainment(self) -> Figure:
        """What searches attain within all budgets, beside the table's best front.

        Raises:
            AutoDPQError: Fewer than two budgets were searched.
        """
        chart = attainment_chart(self.results)
        if chart is None:
            raise AutoDPQError(f"{self.folder}: a front needs two budgets")
        return draw_chart(chart)

    def _best(self, budget: int | None) -> BestWithin:
        best = next((best for best in self.results.about.best if best.budget == budget), None)
        if best is None:
            known = [str(best.budget) for best in self.results.about.best if best.budget is not None]
            raise AutoDPQError(f"budget: {budget} given; {self.folder} has {', '.join(known) or 'none'}")
        return best

    def __repr__(self) -> str:
        return f"Replay({str(self.folder)!r})"

    def _repr_markdown_(self) -> str:
        return self.regret().to_markdown()


def replay(table: str | Path, *, out: str | Path = DEFAULT_OUT, show_progress: bool = True, **options: Any) -> Replay:
    """Lets strategies search a table of plans and writes the report, as ``autodpq-study run --replay`` does.

    Args:
        table: The table: a file, as ``autodpq-study tabulate`` writes it, or the name of one that comes with the
            package (``autodpq-study list tables``).
        out: Folder of the replay.
        show_progress: Tell on standard output how far it is.
        **options: The command line's; those of the data, the recipe and the space are the table's, and need not be
            given: ``strategies=["random", "tpe"], seeds=200``.

    Returns:
        The replay.

    Raises:
        AutoDPQError: The table is damaged, an option asks for something else than it is of, or a strategy asks for a
            plan that is not in it. A search that fails is none: it is in ``runs``.
    """
    return replay_and_report(table, Path(out), options, python_console(show_progress))


def replay_and_report(table: str | Path, out: Path, given: Mapping[str, Any], console: Console) -> Replay:
    """Replays and writes the report.

    Args:
        table: The table: a file, or the name of one that comes with the package.
        out: The replay's folder.
        given: The options of a study that are given.
        console: Where progress is told.

    Raises:
        AutoDPQError: As :func:`replay`.
    """
    from studies.tables.searches import search_table

    search_table(table, out, given, console, partial(say, console))
    return write_replay_report(out)


def write_replay_report(folder: Path) -> Replay:
    """Writes the report of a replay from what it left.

    Raises:
        AutoDPQError: The folder holds no replay, it is damaged, or a file cannot be written.
    """
    written = Replay(folder)
    write_report(written.results)
    return written
