"""Test AUC by how often the rarest value of a sample occurs: one line per strategy, the samples below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reports.figures.chart import Axis, Chart, Column, Point, Series
from reports.figures.style import study_looks
from reports.figures.ticks import compact, linear_ticks, padded
from reports.names import display_name, in_order
from reports.numbers.tests import deviation, mean
from reports.results import RunResult, StudyResults

_SMALLEST_SPAN = 0.01
_DODGE = 0.7  # of a bucket's width, shared by the strategies


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Occurrences from ``least`` to ``most``; the mean number of test samples over runs, 0 for a gap."""

    least: int
    most: int
    samples: float


def frequency_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Test AUC by how often a sample's rarest value occurs; None where no run has it."""
    runs = [run for run in study.runs_of(dataset, model) if run.frequency]
    if not runs:
        return None
    buckets = _buckets(runs)
    strategies = in_order(run.strategy for run in runs)
    series = []
    for place, strategy in enumerate(strategies):
        values = _values([run for run in runs if run.strategy == strategy])
        shift = 0.5 + _DODGE * ((place + 0.5) / len(strategies) - 0.5)
        series.append(Series(strategy, "line", _points(buckets, values, strategy, shift), display_name(strategy)))
    note = "Between two ticks lie the test samples whose rarest value occurs so often; grey: how many they are."
    if any(point.y_range for own in series for point in own.points):
        note += " Bars: standard deviation over seeds."
    return Chart(
        "frequency",
        "Test AUC by frequency of the rarest value",
        f"{dataset}, {model}",
        _occurrences_axis(buckets),
        _auc_axis([entry.auc for run in runs for entry in run.frequency if not math.isnan(entry.auc)]),
        tuple(series),
        study_looks(study),
        note,
        _columns(buckets),
    )


def _occurrences_axis(buckets: Sequence[_Bucket]) -> Axis:
    edges = (*(bucket.least for bucket in buckets), buckets[-1].most + 1)
    ticks = tuple((float(place), compact(edge)) for place, edge in enumerate(edges))
    return Axis("Occurrences of the sample's rarest value", 0, len(buckets), ticks)


def _auc_axis(aucs: Sequence[float]) -> Axis:
    low, high = padded(min(aucs), max(aucs), 0.08, _SMALLEST_SPAN) if aucs else (0.0, 1.0)
    low -= 0.26 * (high - low)  # room for the columns
    return Axis("Test AUC", low, high, linear_ticks(low, high, most=7))


def _columns(buckets: Sequence[_Bucket]) -> tuple[Column, ...]:
    most = max(bucket.samples for bucket in buckets) or 1.0
    return tuple(
        Column(place + 0.08, place + 0.92, bucket.samples / most, compact(bucket.samples), _column_tip(bucket))
        for place, bucket in enumerate(buckets)
    )


def _column_tip(bucket: _Bucket) -> str:
    return f"{_range(bucket)}\n" + (f"{bucket.samples:,.0f} test samples" if bucket.samples else "no sample")


def _buckets(runs: Sequence[RunResult]) -> list[_Bucket]:
    """The buckets of all runs, rarest first, and the gaps between them."""
    most: dict[int, int] = {}
    samples: dict[int, list[int]] = {}
    for run in runs:
        for entry in run.frequency:
            most[entry.least] = max(entry.most, most.get(entry.least, 0))
            samples.setdefault(entry.least, []).append(entry.samples)
    found: list[_Bucket] = []
    for least in sorted(most):
        if found and found[-1].most + 1 < least:
            found.append(_Bucket(found[-1].most + 1, least - 1, 0.0))
        found.append(_Bucket(least, most[least], mean(samples[least])))
    return found


def _values(runs: Sequence[RunResult]) -> dict[int, list[float]]:
    """A bucket's least occurrences to the AUC of each seed; without those where one class is missing."""
    values: dict[int, list[float]] = {}
    for run in runs:
        for entry in run.frequency:
            if not math.isnan(entry.auc):
                values.setdefault(entry.least, []).append(entry.auc)
    return values


def _points(
    buckets: Sequence[_Bucket], values: Mapping[int, Sequence[float]], strategy: str, shift: float
) -> tuple[Point, ...]:
    points = []
    for place, bucket in enumerate(buckets):
        aucs = values.get(bucket.least, ())
        if not aucs:
            continue
        y, spread = mean(aucs), deviation(aucs)
        several = len(aucs) > 1
        tip = (
            f"{display_name(strategy)}{f', mean of {len(aucs)} seeds' if several else ''}\n"
            f"Test AUC {y:.4f}{f' ± {spread:.4f}' if several else ''}\n{_column_tip(bucket)}"
        )
        points.append(Point(place + shift, y, tip, y_range=(y - spread, y + spread) if several else None))
    return tuple(points)


def _range(bucket: _Bucket) -> str:
    between = f"{bucket.least:,}" + (f" to {bucket.most:,}" if bucket.most > bucket.least else "")
    return f"rarest value: {between} occurrence{'s' if bucket.most != 1 else ''}"
