"""Test AUC by bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from reports.figures.chart import Axis, Chart, Point, Range, Series
from reports.figures.levels import floor_levels
from reports.figures.style import study_looks
from reports.figures.ticks import format_bytes, linear_ticks, log_ticks, padded
from reports.names import display_name, in_order, without_budget
from reports.numbers.curves import SMALLEST_SPAN
from reports.numbers.tests import deviation, mean
from reports.results import StudyResults

_SAID = {"test_auc": ("Test AUC", 4), "test_logloss": ("Logloss", 4), "bytes": ("Bytes", 0),
         "parameters": ("Parameters", 0)}  # fmt: skip

_LARGEST, _SMALLEST = 1.2, 0.6
"""The largest marker in units of the usual one, and the smallest in units of the largest."""
_GAP = 4
"""A strategy that lies further below the next better one than so many times the AUCs above it differ is not drawn."""

Values = Mapping[str, Sequence[float]]


def auc_bytes_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Each run, and the mean with standard deviations of a strategy with several; None where no run has both."""
    records = study.records_of(dataset, model)
    records = records[records["bytes"] > 0].dropna(subset=["test_auc"])
    strategies = in_order(records["strategy"])
    if not strategies:
        return None
    middle = {name: mean(records[records["strategy"] == name]["test_auc"].tolist()) for name in strategies}
    far = _far_below(middle)
    said = "".join(f" {display_name(name)} {middle[name]:.4f}: below the frame." for name in strategies if name in far)
    strategies = [name for name in strategies if name not in far]
    records = records[records["strategy"].isin(strategies)]
    alone_in_order = list(dict.fromkeys(map(without_budget, strategies)))
    # What is drawn later, and may lie above, is smaller: both are seen.
    shrinking = _SMALLEST ** (1 / max(1, len(alone_in_order) - 1))
    runs: list[Series] = []
    means: list[Series] = []
    for strategy in strategies:
        own = records[records["strategy"] == strategy]
        values: Values = {name: own[name].tolist() for name in _SAID}
        name = display_name(strategy)
        points = tuple(
            _point({key: [given[place]] for key, given in values.items()}, f"{name}, seed {seed}")
            for place, seed in enumerate(own["seed"].tolist())
        )
        if len(points) > 1:
            runs.append(Series(strategy, "run", points))
            points = (_point(values, f"{name}, mean of {len(points)} seeds"),)
        alone = without_budget(strategy)
        named = any(without_budget(series.strategy) == alone for series in means)
        size = _LARGEST * shrinking ** alone_in_order.index(alone)
        means.append(Series(strategy, "mean", points, "" if named else display_name(alone), size))
    ends = [end for series in (*runs, *means) for point in series.points for end in (point.y_range or (point.y,))]
    seeds = {len(series.points) for series in runs}
    several = f"{seeds.pop()} seeds" if len(seeds) == 1 else "the seeds"
    note = f"Large: mean of {several} ± standard deviation; small: each run." if runs else "One point per run."
    span = max(max(ends) - min(ends), SMALLEST_SPAN)
    levels, below = floor_levels(study.runs_of(dataset, model), min(ends) - span)
    ends += [level.y for level in levels]
    return Chart(
        "bytes",
        "Test AUC by bytes",
        f"{dataset}, {model}",
        _bytes_axis(records["bytes"].tolist()),
        _auc_axis(min(ends), max(ends)),
        (*runs, *means),
        study_looks(study),
        note + said + below,
        levels=levels,
    )


def _far_below(means: Mapping[str, float]) -> set[str]:
    """The strategies that would press all others into a line: those below a gap that dwarfs what is above it."""
    falling = sorted(means, key=lambda name: -means[name])
    for place in range(2, len(falling)):
        above = means[falling[0]] - means[falling[place - 1]]
        if means[falling[place - 1]] - means[falling[place]] > _GAP * max(above, SMALLEST_SPAN):
            return set(falling[place:])
    return set()


def _point(values: Values, first: str) -> Point:
    x, y = (values[name] for name in ("bytes", "test_auc"))
    lines = [first]
    for name, (title, decimals) in _SAID.items():
        known = [value for value in values[name] if not math.isnan(value)]
        spread = f" ± {deviation(known):,.{decimals}f}" if len(known) > 1 else ""
        lines += [f"{title} {mean(known):,.{decimals}f}{spread}"] if known else []
    return Point(mean(x), mean(y), "\n".join(lines), x_range=_around(x), y_range=_around(y))


def _around(values: Sequence[float]) -> Range | None:
    """The mean less and plus a standard deviation."""
    if len(values) < 2:
        return None
    return mean(values) - deviation(values), mean(values) + deviation(values)


def _auc_axis(low: float, high: float) -> Axis:
    low, high = padded(low, high, 0.1, SMALLEST_SPAN)
    return Axis("Test AUC", low, high, linear_ticks(low, high, most=7))


def _bytes_axis(sizes: Sequence[float]) -> Axis:
    edge = max((max(sizes) / min(sizes)) ** 0.08, 1.02)
    low, high = min(sizes) / edge, max(sizes) * edge
    return Axis("Bytes of the packed model (log scale)", low, high, log_ticks(low, high, format_bytes), log=True)
