"""Tables 1 and 2 of the paper, measured, with the printed values below the measured ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from autodpq.records.result import Floors
from reports import paper
from reports.names import AUTODPQ, display_name, in_order
from reports.numbers.floors import floors_of
from reports.numbers.summary import (
    AUC,
    BYTES,
    EPOCHS,
    LOGLOSS,
    SECONDS,
    SPACE,
    TIME_IN_FE,
    Summary,
    format_measured,
    format_number,
    summarize,
)
from reports.results import Failure, StudyResults
from reports.tables.floors import floor_notes, floor_records, floor_rows, floor_warnings
from reports.tables.notes import comparison_notes, general_notes, merged_notes, run_notes
from reports.tables.render import DASH, Cell, Grid, Table

if TYPE_CHECKING:
    import pandas as pd

_TABLE1_METRICS = (AUC, LOGLOSS, SPACE, BYTES, EPOCHS, SECONDS, TIME_IN_FE)
_TABLE2_METRICS = (AUC, LOGLOSS, SPACE, BYTES)
_TABLE2_STRATEGIES = ("others", "random", AUTODPQ)
_COLUMNS = (
    "dataset", "model", "metric", "strategy", "mean", "std", "seeds", "paper", "best", "best_baseline", "star",
    "improvement_percent", "p_two_sample", "p_paired",
)  # fmt: skip

PaperValue = Callable[[str, str, str, str], str | None]
Row = tuple[Cell, ...]


def table1(study: StudyResults) -> Table:
    """Table 1: every strategy of the study, on each data set with DeepFM (or else the first model).

    Args:
        study: The study.

    Returns:
        One grid per data set.
    """
    strategies = in_order(study.attempted())
    grids: list[Grid] = []
    tidy: list[Mapping[str, object]] = []
    for dataset in dict.fromkeys(name for name, _ in study.pairs()):
        models = [model for name, model in study.pairs() if name == dataset]
        model = "deepfm" if "deepfm" in models else models[0]
        records = study.records_of(dataset, model)
        summaries = [summarize(records, strategies, metric) for metric in _TABLE1_METRICS]
        failures = study.failures_of(dataset, model)
        runs = study.runs_of(dataset, model)
        floors, is_weighted = floors_of(runs), any(run.is_weighted for run in runs)
        above = floor_rows(floors, _TABLE1_METRICS)
        rows = above + _strategy_rows(dataset, model, strategies, summaries, paper.table1_value, failures)
        improvement = [*_improvement_row(summaries), *_printed_improvement_row(dataset, model, summaries)]
        has_paper = any(row[0].faint for row in rows)
        grids.append(
            Grid(
                f"Table 1: {dataset}, {model}",
                ("Strategy", *(metric.title for metric in _TABLE1_METRICS)),
                tuple(rows + improvement),
                frozenset(({len(above)} if above else set()) | ({len(rows)} if improvement else set())),
                (
                    *run_notes(records, strategies, failures),
                    *floor_warnings([run for run in study.runs if run.dataset == dataset], strategies),
                    *comparison_notes(summaries),
                    *general_notes(records, summaries, has_paper=has_paper, is_weighted=is_weighted),
                    *floor_notes(floors),
                ),
            )
        )
        tidy += _tidy_floors(dataset, model, floors)
        tidy += _tidy_rows(dataset, model, summaries, paper.table1_value)
    return Table(tuple(grids), _COLUMNS, tuple(tidy))


def table2(study: StudyResults) -> Table:
    """Table 2: Others, Random and AutoDPQ, as far as the study has them, on every model.

    Args:
        study: The study.

    Returns:
        One grid per data set.
    """
    present = in_order(study.attempted())
    strategies = [strategy for strategy in _TABLE2_STRATEGIES if strategy in present]
    datasets = list(dict.fromkeys(name for name, _ in study.pairs())) if strategies else []
    grids: list[Grid] = []
    tidy: list[Mapping[str, object]] = []
    for dataset in datasets:
        runs = [run for run in study.runs if run.dataset == dataset]
        floors, is_weighted = floors_of(runs), any(run.is_weighted for run in runs)
        rows: list[Row] = [(Cell(DASH), *row) for row in floor_rows(floors, _TABLE2_METRICS)]
        rules: set[int] = set()
        notes: dict[str, list[str]] = {}
        for model in (model for name, model in study.pairs() if name == dataset):
            records = study.records_of(dataset, model)
            summaries = [summarize(records, strategies, metric) for metric in _TABLE2_METRICS]
            failures = study.failures_of(dataset, model)
            block = _strategy_rows(dataset, model, strategies, summaries, paper.table2_value, failures)
            block += _improvement_row(summaries)
            rules |= {len(rows)} if rows else set()
            rows += [(Cell(model if i == 0 else ""), *row) for i, row in enumerate(block)]
            tidy += _tidy_floors(dataset, model, floors_of(study.runs_of(dataset, model)))
            tidy += _tidy_rows(dataset, model, summaries, paper.table2_value)
            notes[model] = [
                *run_notes(records, strategies, failures),
                *comparison_notes(summaries),
                *_unsaid_baselines(records, strategies, present, summaries),
            ]
        shown = study.records_of(dataset)
        has_paper = any(row[1].faint for row in rows)
        general = general_notes(shown, summaries, has_paper=has_paper, is_weighted=is_weighted)
        header = ("Model", "Strategy", *(metric.title for metric in _TABLE2_METRICS))
        below = (*merged_notes(notes), *general, *floor_notes(floors))
        grids.append(Grid(f"Table 2: {dataset}", header, tuple(rows), frozenset(rules), below, 2))
    return Table(tuple(grids), _COLUMNS, tuple(tidy), "No finished run of Others, Random or AutoDPQ: no Table 2.")


def _strategy_rows(
    dataset: str,
    model: str,
    strategies: Sequence[str],
    summaries: Sequence[Summary],
    printed: PaperValue,
    failures: Sequence[Failure],
) -> list[Row]:
    rows: list[Row] = []
    failed = {failure.strategy for failure in failures}
    for strategy in strategies:
        cells = [_cell(summary, strategy) for summary in summaries]
        if strategy in failed and not summaries[0].samples[strategy]:
            cells[0] = Cell("failed")
        rows.append((Cell(display_name(strategy)), *cells))
        values = [printed(dataset, model, summary.metric.key, strategy) for summary in summaries]
        if any(values):
            rows.append((Cell("  paper", faint=True), *(Cell(value or "", faint=True) for value in values)))
    return rows


def _cell(summary: Summary, strategy: str) -> Cell:
    mean = summary.mean(strategy)
    if math.isnan(mean):
        return Cell(DASH)
    star = strategy == AUTODPQ and summary.comparison is not None and summary.comparison.star
    text = format_measured(mean, summary.deviation(strategy), summary.metric.decimals)
    if summary.metric is TIME_IN_FE:  # the spread of the time stands one column to the left
        text = format_number(mean, summary.metric.decimals)
    return Cell(text, strategy in summary.best, strategy == summary.best_baseline, star)


def _improvement_row(summaries: Sequence[Summary]) -> list[Row]:
    if not any(summary.comparison for summary in summaries):
        return []
    measured = [f"{s.comparison.improvement:+.2f}%" if s.comparison else "" for s in summaries]
    return [(Cell("Improvement"), *map(Cell, measured))]


def _printed_improvement_row(dataset: str, model: str, summaries: Sequence[Summary]) -> list[Row]:
    if not any(summary.comparison for summary in summaries):
        return []
    printed = [paper.table1_improvement(dataset, model, summary.metric.key) for summary in summaries]
    cells = tuple(Cell(f"+{value}" if value else "", faint=True) for value in printed)
    return [(Cell("  paper", faint=True), *cells)] if any(printed) else []


def _unsaid_baselines(
    records: pd.DataFrame, strategies: Sequence[str], present: Sequence[str], summaries: Sequence[Summary]
) -> list[str]:
    """A better baseline that the paper's Table 2 leaves out, so that it does not go unsaid."""
    unsaid: dict[str, list[str]] = {}
    for summary in summaries:
        everything = summarize(records, present, summary.metric).comparison if summary.comparison else None
        if everything is not None and everything.baseline not in strategies:
            improvement = f"{summary.metric.title} {everything.improvement:+.2f}%"
            unsaid.setdefault(everything.baseline, []).append(improvement)
    return [
        f"best baseline of all, not shown here: {display_name(baseline)}; improvement over it: {', '.join(metrics)}."
        for baseline, metrics in unsaid.items()
    ]


def _tidy_floors(dataset: str, model: str, floors: Sequence[Floors]) -> list[Mapping[str, object]]:
    unmarked = {"best": False, "best_baseline": False, "star": False}
    return [{"dataset": dataset, "model": model, **record, **unmarked} for record in floor_records(floors)]


def _tidy_rows(
    dataset: str, model: str, summaries: Sequence[Summary], printed: PaperValue
) -> list[Mapping[str, object]]:
    rows: list[Mapping[str, object]] = []
    for summary in summaries:
        for strategy in summary.samples:
            comparison = summary.comparison if strategy == AUTODPQ else None
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "metric": summary.metric.key,
                    "strategy": strategy,
                    "mean": summary.mean(strategy),
                    "std": summary.deviation(strategy),
                    "seeds": len(summary.samples[strategy]),
                    "paper": printed(dataset, model, summary.metric.key, strategy),
                    "best": strategy in summary.best,
                    "best_baseline": strategy == summary.best_baseline,
                    "star": comparison is not None and comparison.star,
                    "improvement_percent": comparison and comparison.improvement,
                    "p_two_sample": comparison and comparison.p_two_sample,
                    "p_paired": comparison and comparison.p_paired,
                }
            )
    return rows
