"""Test AUC by how often the rarest value of a sample occurs: one line per strategy, the samples below."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from reports.names import display_name
from reports.numbers.tests import deviation, mean
from reports.page.drawing import BOTTOM, HEIGHT, Frame, element, mark, number, padded
from reports.results import RunResult

_SMALLEST_SPAN = 0.01
_DODGE = 0.7  # of a bucket's width, shared by the strategies
_COLUMNS = 26  # height of the highest


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Occurrences from ``least`` to ``most``; the mean number of test samples over runs, 0 for a gap."""

    least: int
    most: int
    samples: float


def by_frequency(runs: Sequence[RunResult], look: Mapping[str, tuple[str, str]]) -> tuple[list[Element], str]:
    """Draws it.

    Args:
        runs: Runs that were measured by frequency, of one dataset and model.
        look: Strategy to marker and class of the colour, in the order of the legend.

    Returns:
        What is within the drawing, and how to read it.
    """
    buckets = _buckets(runs)
    values = {strategy: _values([run for run in runs if run.strategy == strategy]) for strategy in look}
    ends = [v for own in values.values() for aucs in own.values() for v in aucs]
    low, high = padded(min(ends), max(ends), 0.08, _SMALLEST_SPAN) if ends else (0.0, 1.0)
    low -= 0.26 * (high - low)  # room for the columns
    frame = Frame(0, len(buckets), low, high)
    edges = [(float(index), compact(bucket.least)) for index, bucket in enumerate(buckets)]
    drawn = frame.draw([*edges, (float(len(buckets)), compact(buckets[-1].most + 1))],
                       "Occurrences of the sample's rarest value", "Test AUC")  # fmt: skip
    most = max(bucket.samples for bucket in buckets) or 1.0
    for index, bucket in enumerate(buckets):
        height = _COLUMNS * bucket.samples / most
        x, right, bottom = frame.x(index + 0.08), frame.x(index + 0.92), HEIGHT - BOTTOM
        tip = (
            f"{_range(bucket)}\n{bucket.samples:,.0f} test samples"
            if bucket.samples
            else f"{_range(bucket)}\nno sample"
        )
        drawn.append(element("rect", x=x, y=bottom - height, width=right - x, height=height, class_="mark samples",
                             aria_label=tip))  # fmt: skip
        count = compact(bucket.samples)
        drawn.append(element("text", count, x=(x + right) / 2, y=bottom - height - 4, class_="middle count"))
    several = False
    for place, (strategy, (shape, color)) in enumerate(look.items()):
        shift = 0.5 + _DODGE * ((place + 0.5) / len(look) - 0.5)
        drawn.append(_line(frame, buckets, values[strategy], strategy, shape, color, shift))
        several = several or any(len(aucs) > 1 for aucs in values[strategy].values())
    note = "Between two ticks lie the test samples whose rarest value occurs so often; grey: how many they are."
    return drawn, f"{note} Bars: standard deviation over seeds." if several else note


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


def _line(
    frame: Frame, buckets: Sequence[_Bucket], values: Mapping[int, Sequence[float]], strategy: str, shape: str,
    color: str, shift: float,
) -> Element:  # fmt: skip
    line: list[str] = []
    bars: list[Element] = []
    marks: list[Element] = []
    for index, bucket in enumerate(buckets):
        aucs = values.get(bucket.least, ())
        if not aucs:
            continue
        x, y, spread = frame.x(index + shift), mean(aucs), deviation(aucs)
        seeds = f", mean of {len(aucs)} seeds" if len(aucs) > 1 else ""
        around = f" ± {spread:.4f}" if len(aucs) > 1 else ""
        tip = (
            f"{display_name(strategy)}{seeds}\nTest AUC {y:.4f}{around}\n{_range(bucket)}\n"
            f"{bucket.samples:,.0f} test samples"
        )
        if len(aucs) > 1:
            ends = (frame.y(min(y + spread, frame.y_high)), frame.y(max(y - spread, frame.y_low)))
            bars.append(element("line", x1=x, x2=x, y1=ends[0], y2=ends[1]))
        line.append(f"{number(x)} {number(frame.y(y))}")
        marks.append(mark(shape, x, frame.y(y), 4.2, class_="mark", aria_label=tip))
    path = element("path", d="M" + "L".join(line), class_="steps thin") if line else element("g")
    return element("g", path, *bars, *marks, class_=f"bars {color}", data_strategy=color)


def _range(bucket: _Bucket) -> str:
    between = f"{bucket.least:,}" + (f" to {bucket.most:,}" if bucket.most > bucket.least else "")
    return f"rarest value: {between} occurrence{'s' if bucket.most != 1 else ''}"


def compact(count: float) -> str:
    """A count in few letters, such as ``30k``."""
    for factor, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= factor:
            return f"{count / factor:.3g}{unit}"
    return f"{count:.0f}"
