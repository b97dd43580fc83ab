"""The lines below a table: what was run, how it was compared, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from reports.names import AUTODPQ, CONTROL, display_name
from reports.numbers.summary import Summary
from reports.numbers.tests import SIGNIFICANCE
from reports.results import Failure

if TYPE_CHECKING:
    import pandas as pd


def run_notes(records: pd.DataFrame, strategies: Sequence[str], failures: Sequence[Failure]) -> list[str]:
    """Recipe, seeds per strategy, failed trials and runs, and a warning where there is no control.

    Args:
        records: The rows of one dataset and model.
        strategies: The strategies that the table shows.
        failures: The failed runs of that dataset and model.
    """
    finished = [str(name) for name in records["strategy"]]
    seeds = ", ".join(
        f"{display_name(strategy)} {finished.count(strategy)}" for strategy in strategies if strategy in finished
    )
    recipe = str(records["recipe"].iloc[0])
    notes = [f"Recipe {recipe}; seeds per strategy: {seeds}."]
    if "(" in recipe:
        notes.append("The recipe's settings are the same for all strategies; finding them is charged to none.")
    if "True" in set(records["calibrated"]):
        notes.append("Probabilities are calibrated: a scale and a shift of the logits, fitted on validation rows.")
    for strategy in strategies:
        rows = records[records["strategy"] == strategy]
        failed = int(rows["failed_trials"].fillna(0).sum())
        if failed:
            notes.append(f"{display_name(strategy)}: {failed} of {int(rows['trials'].sum())} trials failed.")
    notes += [
        f"{display_name(failure.strategy)}, seed {failure.seed}, failed and is in no number: {failure.reason}."
        for failure in failures
        if failure.strategy in strategies
    ]
    if AUTODPQ in finished and CONTROL not in finished:
        notes.append(
            f"Warning: {display_name(CONTROL)} is missing. Without FE trained for as many epochs as AutoDPQ spends, a "
            "gain may come from longer training alone."
        )
    return notes


def comparison_notes(summaries: Sequence[Summary]) -> list[str]:
    """Which strategy is best and, for ours against the best baseline, both p-values and why there is no star."""
    notes = []
    for summary in summaries:
        if not summary.best:
            continue
        best = " and ".join(display_name(strategy) for strategy in summary.samples if strategy in summary.best)
        comparison = summary.comparison
        if comparison is None:
            notes.append(f"{summary.metric.title}: best {best}; {_why_no_comparison(summary)}.")
            continue
        star = f"no star: {comparison.reason}" if comparison.reason else "star"
        notes.append(
            f"{summary.metric.title}: best {best}, best baseline {display_name(comparison.baseline)}; "
            f"p {_p_text(comparison.p_two_sample)}, paired p {_p_text(comparison.p_paired)}; {star}."
        )
    return notes


def general_notes(
    records: pd.DataFrame, summaries: Sequence[Summary], *, has_paper: bool, is_weighted: bool
) -> list[str]:
    """How to read the table.

    Args:
        records: The rows that the table shows.
        summaries: Its columns.
        has_paper: Whether it shows values of the paper.
        is_weighted: Whether samples counted by weights of their own.
    """
    spread = "mean ± sample standard deviation over seeds; " if (records["seed"].nunique() > 1) else ""
    notes = [
        f"Test data; {spread}Space: embedding parameters as the paper counts them; Bytes: all that inference needs,"
        " packed."
    ]
    if is_weighted:
        notes.append("Samples count by their weights, in training and in AUC, Logloss and what else is measured.")
    if any(summary.comparison for summary in summaries):
        notes.append(
            "Bold: best AUC and Logloss. Underlined: best baseline (the best mean but for AutoDPQ's). Improvement: of "
            f"AutoDPQ over it. Star: AutoDPQ is better than it with p < {SIGNIFICANCE} in a two-sided two-sample "
            "t-test over seeds (equal variances); paired p: the t-test on differences by seed."
        )
    if any(summary.metric.key == "time_in_fe" for summary in summaries):
        notes.append("x FE: time in units of FE's training time for the same seed.")
    if has_paper:
        notes.append("Rows named paper: the values printed in the AutoDPQ paper (SIGIR 2023).")
    return notes


def merged_notes(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """The notes of several models, each once, with the models that it holds for unless these are all.

    Args:
        notes: Model to notes.
    """
    models_of: dict[str, list[str]] = {}
    for model, own in notes.items():
        for note in own:
            models_of.setdefault(note, []).append(model)
    return [note if len(models) == len(notes) else f"{', '.join(models)}: {note}" for note, models in models_of.items()]


def _why_no_comparison(summary: Summary) -> str:
    if not summary.samples.get(AUTODPQ):
        return "no comparison, for AutoDPQ has no finished run"
    return "no comparison, for no baseline has a finished run"


def _p_text(p_value: float) -> str:
    return "undefined" if math.isnan(p_value) else "< 0.0001" if p_value < 1e-4 else f"= {p_value:.2g}"
