"""The page's charts as inline SVG: AUC against bytes, Figure 3, AUC by frequency."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from reports import paper
from reports.figures.figures import format_bytes
from reports.figures.style import looks
from reports.names import display_name, in_order
from reports.numbers.curves import SMALLEST_SPAN, MeanCurve, auc_range, strategy_curves
from reports.numbers.tests import deviation, mean
from reports.page.drawing import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Frame,
    element,
    linear_ticks,
    log_ticks,
    mark,
    markup,
    number,
    padded,
)  # fmt: skip
from reports.page.frequency import by_frequency
from reports.results import StudyResults

_NEAR = 4.0  # points of a curve that are nearer to each other have one value to show, the last of them


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing and what stands around it.

    Attributes:
        kind: A word for it, within an identifier.
        title: What is drawn.
        svg: The drawing. What can be pointed at has its values, line by line, as ``aria-label``.
        strategies: Those that the legend names.
        note: How to read it.
    """

    kind: str
    title: str
    svg: str
    strategies: tuple[str, ...]
    note: str


def auc_bytes_chart(study: StudyResults, dataset: str, model: str) -> Chart:
    """Test AUC by bytes: each run, and the mean with standard deviations of a strategy with several."""
    records = study.records
    records = records[(records["dataset"] == dataset) & (records["model"] == model)]
    columns = (records[name].tolist() for name in _POINT)
    points = [dict(zip(_POINT, row, strict=True)) for row in zip(*columns, strict=True)]
    points = [point for point in points if not math.isnan(point["bytes"] * point["test_auc"]) and point["bytes"] > 0]
    sizes, aucs = ([point[name] for point in points] for name in ("bytes", "test_auc"))
    if not points:
        return Chart("bytes", "Test AUC by bytes", "", (), "No run has both numbers.")
    edge = max((max(sizes) / min(sizes)) ** 0.08, 1.02)
    low, high = padded(min(aucs), max(aucs), 0.1, SMALLEST_SPAN)
    frame = Frame(min(sizes) / edge, max(sizes) * edge, low, high, log=True)
    strategies = in_order(point["strategy"] for point in points)
    behind: list[Element] = []
    front: list[Element] = []
    for strategy in strategies:
        own = [point for point in points if point["strategy"] == strategy]
        shape, color = _look(study, strategy)
        for point in own:
            tip = _tip(f"{display_name(strategy)}, seed {point['seed']}", {name: [point[name]] for name in _POINT[2:]})
            small = {"class_": f"mark run {color}"} if len(own) > 1 else {"class_": f"mark mean {color}"}
            drawn = mark(shape, frame.x(point["bytes"]), frame.y(point["test_auc"]), 4 if len(own) > 1 else 6.5,
                         aria_label=tip, data_strategy=color, **small)  # fmt: skip
            (behind if len(own) > 1 else front).append(drawn)
        if len(own) > 1:
            values = {name: [point[name] for point in own] for name in _POINT[2:]}
            front.append(_mean_mark(frame, shape, color, values, f"{display_name(strategy)}, mean of {len(own)} seeds"))
    axes = frame.draw(log_ticks(frame.x_low, frame.x_high, format_bytes, 6), "Bytes of the packed model (log scale)",
                      "Test AUC")  # fmt: skip
    several = len(points) > len(strategies)
    note = "Large: mean over seeds ± standard deviation; small: each run." if several else "One point per run."
    return Chart("bytes", "Test AUC by bytes", _svg("Test AUC by bytes", [*axes, *behind, *front]),
                 tuple(strategies), note)  # fmt: skip


_POINT = ("strategy", "seed", "test_auc", "test_logloss", "bytes", "parameters")
_SAID = {"test_auc": ("Test AUC", 4), "test_logloss": ("Logloss", 4), "bytes": ("Bytes", 0),
         "parameters": ("Parameters", 0)}  # fmt: skip


def _tip(first: str, values: Mapping[str, Sequence[float]]) -> str:
    lines = [first]
    for name, given in values.items():
        title, decimals = _SAID[name]
        known = [value for value in given if not math.isnan(value)]
        spread = f" ± {deviation(known):,.{decimals}f}" if len(known) > 1 else ""
        lines += [f"{title} {mean(known):,.{decimals}f}{spread}"] if known else []
    return "\n".join(lines)


def _mean_mark(frame: Frame, shape: str, color: str, values: Mapping[str, Sequence[float]], first: str) -> Element:
    x, y = mean(values["bytes"]), mean(values["test_auc"])
    dx, dy = deviation(values["bytes"]), deviation(values["test_auc"])
    bars = [
        element("line", x1=frame.x(max(x - dx, frame.x_low)), x2=frame.x(min(x + dx, frame.x_high)), y1=frame.y(y),
                y2=frame.y(y)),
        element("line", x1=frame.x(x), x2=frame.x(x), y1=frame.y(max(y - dy, frame.y_low)),
                y2=frame.y(min(y + dy, frame.y_high))),
    ]  # fmt: skip
    drawn = mark(shape, frame.x(x), frame.y(y), 6.5, class_="mark mean", aria_label=_tip(first, values))
    return element("g", *bars, drawn, class_=f"bars {color}", data_strategy=color)


def figure3_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Test AUC of the incumbent by time in units of FE's training time; None where no run has a curve."""
    runs = study.runs_of(dataset, model)
    curves = strategy_curves(runs)
    if not curves:
        return None
    printed = paper.figure3_curves(dataset, model)
    frame, cropped = _figure3_frame(curves, printed)
    seeds = {strategy: len({run.seed for run in runs if run.strategy == strategy}) for strategy in curves}
    clip = f"clip-{study.pairs().index((dataset, model))}"
    inside = element("rect", x=LEFT, y=TOP, width=WIDTH - LEFT - RIGHT, height=HEIGHT - TOP - BOTTOM)
    drawn = [element("clipPath", inside, id=clip)]
    drawn += frame.draw(linear_ticks(frame.x_low, frame.x_high), "ln(time / training time of FE)", "Test AUC so far")
    by_name = {display_name(strategy): _look(study, strategy)[1] for strategy in in_order(study.records["strategy"])}
    for name, points in printed.items():
        x, y = zip(*points, strict=True)
        tips = [(px, py, f"{name}, paper\nTest AUC {py:.4f}\nln(time / FE) {px:.2f}") for px, py in points]
        color = by_name.get(name, "muted")
        drawn.append(_stepped(frame, x, y, f"paper {color}", clip, tips, "", color))
    for strategy, curve in curves.items():
        drawn.append(_curve(frame, curve, strategy, _look(study, strategy), clip, seeds[strategy]))
    notes = ["Mean over seeds, least to greatest shaded." if max(seeds.values()) > 1 else "One seed."]
    absent = [name for name in printed if name not in by_name]
    grey = f" (grey, and not in this study: {', '.join(absent)})" if absent else ""
    notes += [f"Thin and dashed: the paper's{grey}."] if printed else []
    notes += ["What lies below the frame is cut off: first epochs would press all else into a line."] if cropped else []
    return Chart("figure3", "Test AUC by time (Figure 3)", _svg("Test AUC by time", drawn), tuple(curves),
                 " ".join(notes))  # fmt: skip


def _figure3_frame(
    curves: Mapping[str, MeanCurve], printed: Mapping[str, Sequence[tuple[float, float]]]
) -> tuple[Frame, bool]:
    """Where strategies end and how they get there, as in the other Figure 3; whether curves begin below it."""
    low, high = auc_range(curves.values(), printed)
    shown = [[float(x) for x, y in zip(curve.x, curve.mean, strict=True) if y >= low] for curve in curves.values()]
    shown += [[x for x, _ in points] for points in printed.values()]
    left, right = min(min(x) for x in shown), max(max(x) for x in shown)
    width = max(right - left, 0.5)
    cropped = any(curve.low[0] < low for curve in curves.values())
    return Frame(left - 0.04 * width, right + 0.08 * width, low, high), cropped


def _curve(frame: Frame, curve: MeanCurve, strategy: str, look: tuple[str, str], clip: str, seeds: int) -> Element:
    shape, color = look
    tips = []
    for index, (x, y, low, high) in enumerate(zip(curve.x, curve.mean, curve.low, curve.high, strict=True)):
        last = index + 1 == len(curve.x)
        if y < frame.y_low or (not last and frame.x(curve.x[index + 1]) - frame.x(x) < _NEAR):
            continue
        lines = [display_name(strategy) + (f", mean of {seeds} seeds" if seeds > 1 else ", one seed")]
        lines += [f"Test AUC {y:.4f}" + (f" ({low:.4f} to {high:.4f})" if seeds > 1 else "")]
        lines += [f"ln(time / FE) {x:.2f}: {math.exp(x):,.2f} x FE's time"]
        tips.append((float(x), float(y), "\n".join(lines)))
    x, mean_y, low_y, high_y = (values.tolist() for values in (curve.x, curve.mean, curve.low, curve.high))
    drawn = _stepped(frame, x, mean_y, f"curve {color}", clip, tips, shape, color)
    if seeds > 1:
        around = [*_steps(frame, x, low_y), *reversed(_steps(frame, x, high_y))]
        drawn.insert(0, element("path", d=_path(around), class_="band", clip_path=f"url(#{clip})"))
    return drawn


def _stepped(
    frame: Frame, x: Sequence[float], y: Sequence[float], name: str, clip: str,
    tips: Sequence[tuple[float, float, str]], shape: str, color: str,
) -> Element:  # fmt: skip
    """A step function with a marker here and there, and values to point at."""
    drawn = element("g", class_=name, data_strategy=color)
    drawn.append(element("path", d=_path(_steps(frame, x, y)), class_="steps", clip_path=f"url(#{clip})"))
    marked = -math.inf
    for px, py, tip in tips:
        spread = bool(shape) and frame.x(px) - marked > (WIDTH - LEFT - RIGHT) / 12
        marked = frame.x(px) if spread else marked
        drawn.append(mark(shape if spread else "o", frame.x(px), frame.y(py), 4.5 if spread else 3.5,
                          class_="mark" if spread else "mark quiet", aria_label=tip))  # fmt: skip
    return drawn


def _steps(frame: Frame, x: Sequence[float], y: Sequence[float]) -> list[tuple[float, float]]:
    """The corners of a step function up to the right edge."""
    ends = [*x[1:], frame.x_high]
    return [(frame.x(at), frame.y(value)) for start, end, value in zip(x, ends, y, strict=True) for at in (start, end)]


def _path(points: Sequence[tuple[float, float]]) -> str:
    kept = [point for point, _ in itertools.groupby((number(x), number(y)) for x, y in points)]
    return "M" + "L".join(f"{x} {y}" for x, y in kept)


def _look(study: StudyResults, strategy: str) -> tuple[str, str]:
    """Marker, and class of the colour."""
    strategies = in_order(study.records["strategy"])
    return looks(strategies)[strategy][1], f"s{strategies.index(strategy)}"


def _svg(title: str, drawn: Sequence[Element]) -> str:
    return markup(element("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", class_="chart", role="group",
                          aria_label=title))  # fmt: skip


def frequency_chart(study: StudyResults, dataset: str, model: str) -> Chart | None:
    """Test AUC by how often a sample's rarest value occurs; None where no run has it."""
    runs = [run for run in study.runs_of(dataset, model) if run.frequency]
    if not runs:
        return None
    strategies = in_order(run.strategy for run in runs)
    drawn, note = by_frequency(runs, {strategy: _look(study, strategy) for strategy in strategies})
    title = "Test AUC by frequency of the rarest value"
    return Chart("frequency", title, _svg(title, drawn), tuple(strategies), note)
