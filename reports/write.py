"""Writes the report of a study into its folder ``report``."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autodpq.errors import AutoDPQError
from autodpq.files import write_whole
from reports.figures.attainment import attainment_chart
from reports.figures.figures import auc_bytes_figure, figure3, plan_chart, reliability_figure
from reports.figures.plots import draw_chart
from reports.figures.ranks import ranks_chart
from reports.figures.regret import By, regret_chart
from reports.figures.style import save_figure
from reports.load import load_study
from reports.numbers.comparisons import ModelComparisons, compare_strategies
from reports.numbers.regret import Replayed, Rows
from reports.page.page import study_page
from reports.results import StudyResults
from reports.tables.attainment import fronts_table
from reports.tables.budgets import budgets_table
from reports.tables.calibration import calibration_table
from reports.tables.headroom import headroom_table
from reports.tables.paper_tables import table1, table2
from reports.tables.regret import regret_table, regret_words
from reports.tables.render import Table, escape_markdown
from reports.tables.sentences import verdicts
from reports.tables.statistics import statistics_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FIGURES: tuple[tuple[str, str, Callable[[StudyResults, str, str], Figure | None]], ...] = (
    ("figure3", "Test AUC by time", figure3),
    ("auc-bytes", "Test AUC by bytes", auc_bytes_figure),
    ("reliability", "Click rate by prediction", reliability_figure),
    ("plans", "Choices per field", plan_chart),
)
_REGRETS: tuple[tuple[Rows, By], ...] = (
    ("valid", "trials"),
    ("test", "trials"),
    ("valid", "seconds"),
    ("test", "seconds"),
)


def write_report(study: Path | StudyResults, comparisons: Sequence[ModelComparisons] | None = None) -> list[Path]:
    """Writes tables, figures, index.html and a README.md that shows them into ``<study>/report/``.

    Args:
        study: A study folder with at least one finished run, or its results.
        comparisons: Its comparisons, where they have been computed.

    Returns:
        The files, in the order in which they were written.

    Raises:
        AutoDPQError: The study cannot be read (see :func:`reports.load.load_study`), a file of predictions is damaged,
            or a file cannot be written.
    """
    results = study if isinstance(study, StudyResults) else load_study(study)
    folder = _report_folder(results.folder)
    entries = compare_strategies(results) if comparisons is None else comparisons
    by_budget = budgets_table(results, entries)
    tables = {
        **({"budgets": by_budget} if by_budget.grids else {}),
        "table1": table1(results),
        "table2": table2(results),
        "statistics": statistics_table(results, entries),
        "calibration": calibration_table(results),
        "headroom": headroom_table(results),
    }
    written = [path for name, table in tables.items() for path in _write_table(folder / name, table)]
    written.append(write_whole(folder / "index.html", study_page(results, tables, entries)))
    pictures: list[str] = []
    for dataset, model in results.pairs():
        for name, caption, draw in _FIGURES:
            figure = draw(results, dataset, model)
            if figure is not None:
                paths = save_figure(figure, folder / f"{name}-{_slug(dataset)}-{_slug(model)}")
                alternative = escape_markdown(f"{caption}: {dataset}, {model}")
                pictures.append(f"![{alternative}]({paths[0].name})")
                written += paths
    written.append(write_whole(folder / "README.md", _readme(results, tables, verdicts(results, entries), pictures)))
    return written


def write_replay_report(replayed: Replayed) -> list[Path]:
    """Writes the regret of replayed searches, as a table, figures and a README.md, into ``<folder>/report/``.

    Args:
        replayed: The replay.

    Returns:
        The files, in the order in which they were written.

    Raises:
        AutoDPQError: A file cannot be written.
    """
    folder = _report_folder(replayed.folder)
    regrets, fronts = regret_table(replayed), fronts_table(replayed)
    tables = {"regret": regrets, **({"fronts": fronts} if fronts.grids else {})}
    written = [path for name, table in tables.items() for path in _write_table(folder / name, table)]
    charts = {"": [attainment_chart(replayed)]}
    for best in replayed.about.best:
        within = "" if best.budget is None else f"-{best.budget}"
        own = [regret_chart(replayed, best, rows, by) for rows, by in _REGRETS]
        charts[within] = [*charts.get(within, []), *own, ranks_chart(replayed, best)]
    pictures = []
    for within, drawn in charts.items():
        for chart in filter(None, drawn):
            paths = save_figure(draw_chart(chart), folder / f"{chart.kind}{within}")
            pictures.append(f"![{escape_markdown(f'{chart.title}: {chart.where}')}]({paths[0].name})")
            written += paths
    about = replayed.about
    card = {"Table": about.table, "Recipe": about.recipe, "Licence of the table": about.licence}
    parts = [
        f"# Replay: {escape_markdown(f'{about.dataset}, {about.model}')}",
        "\n".join(f"- {title}: {escape_markdown(text)}" for title, text in card.items()),
        "## In words",
        "\n".join(f"- {escape_markdown(sentence)}" for sentence in regret_words(replayed)),
        *(table.to_markdown().strip() for table in tables.values()),
        *pictures,
    ]
    return [*written, write_whole(folder / "README.md", "\n\n".join(parts) + "\n")]


def _report_folder(folder: Path) -> Path:
    path = folder / "report"
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise AutoDPQError(f"{path}: cannot be made ({error.strerror})") from None
    return path


def _write_table(stem: Path, table: Table) -> list[Path]:
    forms = {"md": table.to_markdown(), "tex": table.to_latex(), "csv": table.to_csv()}
    return [write_whole(stem.with_name(f"{stem.name}.{ending}"), text) for ending, text in forms.items()]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "-", name).strip("-.") or "unnamed"


def _readme(results: StudyResults, tables: dict[str, Table], words: Sequence[str], pictures: list[str]) -> str:
    records = results.records
    card = [
        f"- {title}: {', '.join(sorted({escape_markdown(str(value)) for value in records[column]}))}"
        for title, column in (
            ("Recipe", "recipe"),
            ("Device", "device"),
            ("Machine", "machine"),
            ("autodpq", "version"),
        )
    ]
    seeds = ", ".join(str(seed) for seed in sorted(set(records["seed"].tolist())))
    parts = [
        f"# Study {escape_markdown(results.name)}",
        "\n".join([f"- Finished runs: {len(records)}; seeds: {seeds}", *card]),
        *(["## In words", "\n".join(f"- {escape_markdown(sentence)}" for sentence in words)] if words else []),
        "## Tables",
        *(table.to_markdown().strip() for table in tables.values()),
        "Each table is also here as LaTeX and CSV (`table1.tex`, `table1.csv`, ...).",
        *(["## Figures", *pictures] if pictures else []),
    ]
    return "\n\n".join(parts) + "\n"
