"""Whether probabilities come true: click rate by mean prediction, one line per strategy, beside the diagonal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autodpq.metrics import N_BINS, Bin
from reports.figures.chart import Axis, Chart, Point, Series
from reports.figures.style import study_looks
from reports.figures.ticks import linear_ticks, log_ticks
from reports.names import display_name, in_order
from reports.numbers.reliability import pooled_bins
from reports.numbers.tests import mean
from reports.results import RunResult, StudyResults

_CROWDED = 0.3  # where half of the points lie below this share of the highest, a logarithmic axis parts them
_DECADES = 4  # that such an axis has at most
_STEPS = 80  # of the band
_INSIDE = 1.96  # standard deviations around a mean that hold 95 %


def reliability_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Click rate by mean prediction of equally many test samples each; None where no run has it."""
    runs = [run for run in study.runs_of(dataset, model) if run.reliability]
    if not runs:
        return None
    by_strategy = {strategy: [run for run in runs if run.strategy == strategy] for strategy in in_order(_names(runs))}
    bins = {strategy: pooled_bins(own) for strategy, own in by_strategy.items()}
    samples = mean([sum(own.bin.tells_as for own in run.reliability) for run in runs]) / N_BINS
    each = f"test samples ({samples:,.0f})"
    if any(run.is_weighted for run in runs):
        each = f"test samples' weight (that tells as much as {samples:,.0f} samples of one weight)"
    x, y = _axes(bins)
    note = (
        f"A point for each twentieth of the {each}, from the lowest predictions to the highest; "
        "equal predictions share one. On the diagonal as many click as was predicted; of perfect probabilities, 95% of "
        "the points lie in the band."
    )
    if max(map(len, by_strategy.values())) > 1:
        note += " Seeds are pooled."
    if any(run.calibration for run in runs):
        note += " Calibrated on validation rows."
    return Chart(
        "reliability",
        "Click rate by prediction",
        f"{dataset}, {model}",
        x,
        y,
        tuple(
            Series(strategy, "line", _points(own, strategy, x, len(by_strategy[strategy])), display_name(strategy))
            for strategy, own in bins.items()
        ),
        study_looks(study),
        note,
        ideal=_ideal(x, samples),
    )


def _names(runs: Sequence[RunResult]) -> list[str]:
    return [run.strategy for run in runs]


def _axes(bins: Mapping[str, Sequence[Bin]]) -> tuple[Axis, Axis]:
    """Both the same; logarithmic where most predictions are small beside the highest."""
    predicted = sorted(own.mean_prediction for strategy in bins.values() for own in strategy)
    values = [*predicted, *(own.click_rate for strategy in bins.values() for own in strategy)]
    low, high = min(values), max(values)
    above = [value for value in values if value > 0]
    is_log = bool(above) and predicted[len(predicted) // 2] < _CROWDED * high
    if is_log:
        low, high = max(min(above), high * 10.0**-_DECADES) / 1.25, min(high * 1.25, 1.0)
        ticks = log_ticks(low, high, lambda value: f"{value:g}")
    else:
        room = 0.05 * max(high - low, 0.02)
        low, high = max(low - room, 0.0), min(high + room, 1.0)
        ticks = linear_ticks(low, high, most=8)
    scale = " (log scale)" if is_log else ""
    return Axis(f"Mean prediction{scale}", low, high, ticks, is_log), Axis(
        f"Click rate{scale}", low, high, ticks, is_log
    )


def _points(bins: Sequence[Bin], strategy: str, axis: Axis, seeds: int) -> tuple[Point, ...]:
    points = []
    for own in bins:
        tip = (
            f"{display_name(strategy)}{f', {seeds} seeds' if seeds > 1 else ''}\n"
            f"Mean prediction {own.mean_prediction:.4g}\nClick rate {own.click_rate:.4g}\n{own.samples:,} test samples"
        )
        points.append(Point(max(own.mean_prediction, axis.low), max(own.click_rate, axis.low), tip))
    return tuple(points)


def _ideal(axis: Axis, samples: float) -> tuple[Point, ...]:
    """The diagonal, and around it what chance makes of so many samples that click as predicted."""
    points = []
    for step in range(_STEPS + 1):
        share = step / _STEPS
        x = axis.low + share * (axis.high - axis.low)
        if axis.log:
            x = axis.low * (axis.high / axis.low) ** share
        spread = _INSIDE * math.sqrt(x * (1 - x) / samples)
        points.append(Point(x, x, y_range=(max(x - spread, axis.low), min(x + spread, axis.high))))
    return tuple(points)
