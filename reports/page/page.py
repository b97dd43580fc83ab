"""A study as one page of HTML: no other file, no network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from reports.figures.chart import Chart
from reports.figures.figure3 import figure3_chart
from reports.figures.frequency import frequency_chart
from reports.figures.plans import Plans, study_plans
from reports.figures.reliability import reliability_chart
from reports.figures.sizes import auc_bytes_chart
from reports.figures.style import study_looks
from reports.names import display_name, in_order, short_bytes, without_budget
from reports.numbers.best import best_by_budget
from reports.numbers.comparisons import ModelComparisons, compare_strategies
from reports.numbers.floors import floors_of
from reports.page.cards import cards, take_away
from reports.page.charts import chart_svg
from reports.page.drawing import element, mark, markup
from reports.page.heat import plan_rows
from reports.page.palette import HEAT_STEPS, colour_rules
from reports.results import StudyResults
from reports.tables.floors import floors_text
from reports.tables.render import Cell, Grid, Table
from reports.tables.sentences import against_fe_sentence, comparison_sentence

if TYPE_CHECKING:
    from jinja2 import Template

_ORDER = ("budgets", "table1", "statistics", "table2", "calibration", "headroom")
_DECIDING = "bytes"  # the kind of chart that says what to take
_IMPROVEMENT = "Improvement"  # what the tables call the row that is no strategy
_CHARTS: tuple[Callable[[StudyResults, str, str], Chart | None], ...] = (
    auc_bytes_chart,
    figure3_chart,
    frequency_chart,
    reliability_chart,
)
_FACTS = (("Recipe", "recipe"), ("Device", "device"), ("Machine", "machine"), ("autodpq", "version"))


@dataclass(frozen=True, slots=True)
class Row:
    """A table's row.

    Attributes:
        cells: Its cells; what a reader sees blank because it is as above is filled in, so that rows can be sorted.
        repeated: How many cells, from the left, are filled in so.
        kind: ``follows`` for a row that stays with the one above it, ``pinned`` for one that stays at the end.
    """

    cells: tuple[Cell, ...]
    repeated: int
    kind: str


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs to one data set and model.

    Attributes:
        title: Of the data set, model and budget.
        comparisons: Its comparisons.
        data: The data set and the model.
        taken: The models to take away: a sentence and a command for each budget.
        deciding: AUC by bytes, drawn, where there is a model to take away.
        charts: The others, with each its drawing.
        plans: What was chosen.
    """

    title: str
    comparisons: ModelComparisons
    data: str
    taken: tuple[tuple[str, str], ...]
    deciding: tuple[tuple[Chart, str], ...]
    charts: tuple[tuple[Chart, str], ...]
    plans: Plans | None


def study_page(
    study: StudyResults, tables: Mapping[str, Table], comparisons: Sequence[ModelComparisons] | None = None
) -> str:
    """The page.

    Args:
        study: The study.
        tables: The name of its files beside the page (without ending) to table.
        comparisons: Its comparisons, where they have been computed.

    Returns:
        HTML, the same text for the same study each time.

    Raises:
        AutoDPQError: A file of a run is damaged, or predictions do not fit each other.
    """
    entries = compare_strategies(study) if comparisons is None else comparisons
    looks = study_looks(study)
    style = colour_rules(list(looks)) + "\n" + _own("style.css")
    script = _own("script.js")
    return _template().render(
        study=study,
        facts=_facts(study),
        warnings=_warnings(tables.values()),
        groups=[
            _group(study, entry, number, pictures=(entry.dataset, entry.model) not in pairs_of(entries[:number]))
            for number, entry in enumerate(entries)
        ],
        several=len(entries) > 1,
        pairs=len(study.pairs()),
        tables=dict(
            sorted(tables.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER))
        ),
        rows=bodies,
        cards=cards(study),
        keys=_keys(looks),
        plan_rows=plan_rows,
        display_name=display_name,
        comparison_sentence=comparison_sentence,
        against_fe_sentence=against_fe_sentence,
        heat_steps=range(HEAT_STEPS),
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


def _own(name: str) -> str:
    return files("reports.page").joinpath(name).read_text(encoding="utf-8")


def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("reports.page", "")
    environment = Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    environment.filters["breakable"] = breakable
    return environment.get_template("template.html")


def breakable(text: str) -> str:
    """Escaped text that a narrow column may break after a bracket, a comma or the like."""
    from markupsafe import Markup, escape

    parts = re.split(r"(?<=[_(,=/:])", text)
    return Markup("<wbr>").join(escape(part) for part in parts if part)


def _digest(text: str) -> str:
    """How a content security policy names the one style or script that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _facts(study: StudyResults) -> list[tuple[str, str]]:
    records = study.records
    pairs = study.pairs()
    several = {
        "Dataset": dict.fromkeys(dataset for dataset, _ in pairs),
        "Model": dict.fromkeys(model for _, model in pairs),
        "Strategies": [display_name(name) for name in in_order(study.attempted())],
        "Seeds": sorted(set(records["seed"].tolist())),
    }
    facts = [(title, ", ".join(map(str, values))) for title, values in several.items()]
    facts += [(title, ", ".join(sorted(set(map(str, records[column]))))) for title, column in _FACTS]
    runs = f"{len(records):,} finished" + (f", {len(study.failures):,} failed" if study.failures else "")
    return [*facts, ("Runs", runs), *_floors(study)]


def _floors(study: StudyResults) -> list[tuple[str, str]]:
    """The floors of each data set that has some."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in study.pairs()))
    found = {dataset: floors_of([run for run in study.runs if run.dataset == dataset]) for dataset in datasets}
    several = len(datasets) > 1
    return [
        (f"Floors on {dataset}" if several else "Floors", floors_text(floors))
        for dataset, floors in found.items()
        if floors
    ]


def _warnings(tables: Sequence[Table] | Any) -> list[str]:
    notes = (note for table in tables for grid in table.grids for note in grid.notes)
    return list(dict.fromkeys(note for note in notes if "Warning: " in note))


def pairs_of(entries: Sequence[ModelComparisons]) -> set[tuple[str, str]]:
    """The data sets and models of comparisons."""
    return {(entry.dataset, entry.model) for entry in entries}


def _group(study: StudyResults, comparisons: ModelComparisons, number: int, *, pictures: bool) -> Group:
    """What is told of a data set, model and budget; the pictures of all budgets stand with the first."""
    dataset, model = comparisons.dataset, comparisons.model
    if not pictures:
        return Group(comparisons.title, comparisons, "", (), (), (), None)
    found = (describe(study, dataset, model) for describe in _CHARTS)
    charts = tuple((chart, chart_svg(chart, f"{chart.kind}-{number}")) for chart in found if chart is not None)
    models, plans = taken(study, dataset, model), study_plans(study, dataset, model)
    deciding = [drawn for drawn in charts if models and drawn[0].kind == _DECIDING]
    others = [drawn for drawn in charts if drawn not in deciding]
    return Group(comparisons.title, comparisons, f"{dataset}, {model}", models, tuple(deciding), tuple(others), plans)


def taken(study: StudyResults, dataset: str, model: str) -> tuple[tuple[str, str], ...]:
    """The models that one would take away: within each budget, or of all, a sentence and the command."""
    records = study.records_of(dataset, model)
    lines = []
    for budget, best in best_by_budget(study, dataset, model):
        before = "Of the compressed models" if budget is None else f"Within {short_bytes(budget)}"
        full = records[(records["strategy"] == "fe") & (records["seed"] == best["seed"])]
        beside = "".join(
            f"; FE's is {auc:.4f} at {short_bytes(size)}"
            for auc, size in zip(full["test_auc"], full["bytes"], strict=True)
        )
        lines.append(
            (
                f"{before}, {display_name(without_budget(best['strategy']))}, seed {best['seed']}, has the best "
                f"validation AUC: test AUC {best['test_auc']:.4f} at {short_bytes(best['bytes'])}{beside}.",
                take_away(study.folder / "runs" / best["run"]),
            )
        )
    return tuple(lines)


def _keys(looks: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """A legend's marker of each strategy."""
    return {
        strategy: markup(
            element(
                "svg", mark(marker, 0.0, 0.0, 6.0), viewBox="-8 -8 16 16", class_=f"key s{index}", aria_hidden="true"
            )
        )
        for index, (strategy, (_, marker)) in enumerate(looks.items())
    }


def bodies(grid: Grid) -> list[list[Row]]:
    """A grid's rows in the groups within which a reader may sort them."""
    groups: list[list[Row]] = [[]]
    above: tuple[Cell, ...] = ()
    for index, cells in enumerate(grid.rows):
        if index in grid.rules:
            groups.append([])
        repeated = 0
        while repeated < grid.text_columns - 1 and above and not cells[repeated].text.strip():
            repeated += 1
        cells = (*above[:repeated], *cells[repeated:])
        name = cells[grid.text_columns - 1]
        kind = "follows" if name.faint else "pinned" if name.text == _IMPROVEMENT else ""
        groups[-1].append(Row(cells, repeated, kind))
        above = cells
    return [group for group in groups if group]
