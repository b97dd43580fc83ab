"""What the figures show, and the files of a report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fake_studies import FLOORS, HIGH_FLOORS, MOVIELENS, STRATEGIES, edit_records, write_study
from support.little import blank_pictures

from autodpq.choices import DPQ, Full, Others
from autodpq.costs import ledger
from autodpq.plan import Field, uniform_plan
from reports import StudyResults, auc_bytes_figure, figure3, load_study, plan_chart, write_report
from reports.figures import plans
from reports.figures.figure3 import figure3_chart
from reports.figures.plans import rare_bits_per_value
from reports.figures.sizes import auc_bytes_chart
from reports.figures.style import looks, save_figure
from reports.figures.ticks import format_bytes
from reports.names import choice_label
from reports.numbers.curves import MeanCurve, auc_range, mean_curve, run_curve
from reports.page.charts import chart_svg
from reports.page.heat import plan_rows
from reports.results import FieldResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[StudyResults, str, str], "Figure | None"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load_study(write_study(tmp_path_factory.mktemp("study"), models=["deepfm"]))


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    folder = tmp_path_factory.mktemp("single")
    return load_study(write_study(folder, strategies=["fe"], seeds=[4], models=["pnn"]))


def test_run_curve_is_in_units_of_fe(study: StudyResults) -> None:
    run = study.runs[0]
    x, y = run_curve(run)
    assert x == pytest.approx([math.log(point.seconds / run.fe_seconds) for point in run.curve])
    assert y == pytest.approx([point.test_auc for point in run.curve])


def test_mean_curve_by_hand() -> None:
    first = (np.array([0.0, 2.0]), np.array([0.7, 0.8]))
    second = (np.array([1.0, 3.0]), np.array([0.6, 0.9]))
    curve = mean_curve([first, second, (np.array([]), np.array([]))])
    assert curve is not None
    assert curve.x.tolist() == [1.0, 2.0, 3.0]
    assert curve.mean == pytest.approx([0.65, 0.7, 0.85])
    assert curve.low == pytest.approx([0.6, 0.6, 0.8])
    assert curve.high == pytest.approx([0.7, 0.8, 0.9])
    assert mean_curve([]) is None


def test_figure3_shows_where_curves_end_and_what_is_higher() -> None:
    x, y = np.array([0.0, 1.0, 2.0]), np.array([0.7, 0.82, 0.81])
    falling = MeanCurve(x, y, y - 0.001, y + 0.001)
    # From 0.809, where it ends, to 0.821, its peak: half of that below, 15 % above; its first epoch is cut off.
    assert auc_range([falling], {}) == pytest.approx((0.809 - 0.006, 0.821 + 0.0018))
    assert auc_range([falling], {"Grid": [(0.5, 0.833)]}) == pytest.approx((0.809 - 0.012, 0.833 + 0.0036))
    flat = MeanCurve(x[:1], y[1:2], y[1:2], y[1:2])
    assert auc_range([flat], {}) == pytest.approx((0.819, 0.8203))


steps = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.5, 1)), min_size=1, max_size=6, unique_by=lambda p: p[0])


@given(st.lists(steps, min_size=1, max_size=4))
def test_mean_curve_lies_between_its_seeds(curves: list[list[tuple[float, float]]]) -> None:
    arrays = [(np.array(sorted(x for x, _ in c)), np.array([y for _, y in sorted(c)])) for c in curves]
    curve = mean_curve(arrays)
    assert curve is not None
    assert np.all(np.diff(curve.x) > 0)
    assert np.all(curve.low <= curve.mean + 1e-12) and np.all(curve.mean <= curve.high + 1e-12)
    assert curve.x[0] == max(x[0] for x, _ in arrays)
    assert curve.mean[-1] == pytest.approx(np.mean([y[-1] for _, y in arrays]))


def test_figure3_axes(study: StudyResults) -> None:
    figure = figure3(study, "movielens1m", "deepfm")
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_xlabel() == "ln(time / training time of FE)"
    assert axes.get_title() == "movielens1m, deepfm"
    thick = [line for line in axes.lines if line.get_linewidth() == 2]
    thin = [line for line in axes.lines if line.get_linewidth() < 1]
    assert [line.get_label() for line in thick] == ["FE", "FE-continued", "Others", "Grid", "Random", "AutoDPQ"]
    assert len(thin) == 5
    assert len({line.get_color() for line in thick}) == 6
    assert len({str(line.get_marker()) for line in thick}) == 6
    assert len(axes.collections) == 6
    right = axes.get_xlim()[1]
    for line in (*thick, *thin):
        assert line.get_xdata()[-1] == right
    starts = [run_curve(run)[0][0] for run in study.runs if run.strategy == "autodpq"]
    assert thick[-1].get_xdata()[0] == max(starts)
    low, high = axes.get_ylim()
    assert 0.8 < low < 0.8079 and 0.8175 < high < 0.82
    (legend,) = figure.legends
    assert "thin: paper" in legend.get_title().get_text()
    assert "3 seeds" in legend.get_title().get_text()


def test_figure3_without_the_paper(single: StudyResults) -> None:
    figure = figure3(single, "movielens1m", "pnn")
    assert figure is not None
    (line,) = figure.axes[0].lines
    assert line.get_label() == "FE"
    assert figure.legends[0].get_title().get_text().startswith("One seed. What lies below the frame is cut off")


def test_auc_bytes_axes(study: StudyResults) -> None:
    figure = auc_bytes_figure(study, "movielens1m", "deepfm")
    assert figure is not None
    axes = figure.axes[0]
    assert axes.get_xscale() == "log"
    assert "Bytes" in axes.get_xlabel() and axes.get_ylabel() == "Test AUC"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "FE", "FE-continued", "Others", "Grid", "Random", "AutoDPQ",
    ]  # fmt: skip
    assert len(axes.containers) == 6
    rows = study.records[study.records["strategy"] == "autodpq"]
    centre = axes.containers[-1].lines[0]
    assert centre.get_xdata()[0] == pytest.approx(rows["bytes"].mean())
    assert centre.get_ydata()[0] == pytest.approx(rows["test_auc"].mean())
    figure.canvas.draw()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert len(labels) >= 3 and all(label.endswith("kB") for label in labels)


def test_the_additive_model_is_a_line_where_it_presses_nothing_into_one(tmp_path: Path) -> None:
    for place, (auc, is_drawn) in enumerate(((0.8168, True), (0.8225, True), (0.79, False))):
        (tmp_path / str(place)).mkdir()
        floors = {**FLOORS, "additive": {"auc": auc, "logloss": 0.5}}
        own = load_study(write_study(tmp_path / str(place), models=["deepfm"], dataset="yelp", floors=floors))
        for chart in (auc_bytes_chart(own, "yelp", "deepfm"), figure3_chart(own, "yelp", "deepfm")):
            assert chart is not None
            assert [(level.y, level.label) for level in chart.levels] == [(auc, f"Additive {auc:.4f}")] * is_drawn
            assert chart.note.endswith(f"Additive {auc:.4f}: below the frame.") is not is_drawn
            assert not is_drawn or chart.y.low < auc < chart.y.high
            assert chart.y.low > 0.81  # where strategies differ can still be seen
            assert ('class="level"' in chart_svg(chart, "name")) is is_drawn
        figure = auc_bytes_figure(own, "yelp", "deepfm")
        assert figure is not None
        dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
        named = [text.get_text() for text in figure.legends[0].get_texts()]
        assert [line.get_ydata()[0] for line in dashed] == [auc] * is_drawn
        assert ("Additive 0.8" in " ".join(named)) is is_drawn


def test_the_papers_figure_3_has_no_line_of_a_floor(tmp_path: Path) -> None:
    chart = figure3_chart(load_study(write_study(tmp_path, floors=HIGH_FLOORS)), "movielens1m", "deepfm")
    assert chart is not None and chart.levels == () and "Additive" not in chart.note


def test_auc_bytes_of_a_single_run(single: StudyResults) -> None:
    figure = auc_bytes_figure(single, "movielens1m", "pnn")
    assert figure is not None
    low, high = figure.axes[0].get_ylim()
    assert 0 < high - low < 0.01
    assert len(figure.axes[0].containers) == 1


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (7e5, "700 kB"), (1.25e6, "1.25 MB"), (6e8, "600 MB")])
def test_format_bytes(size: float, text: str) -> None:
    assert format_bytes(size) == text


def test_plan_chart_tiles(study: StudyResults) -> None:
    figure = plan_chart(study, "movielens1m", "deepfm")
    assert figure is not None
    panels, scale = figure.axes[:-1], figure.axes[-1]
    assert [axes.get_title() for axes in panels] == ["FE", "FE-continued", "Others", "Grid", "Random", "AutoDPQ"]
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["user", "movie", "zip", "genres", "year"]
    assert [label.get_text() for label in panels[0].get_xticklabels()] == ["0", "1", "2"]
    assert {text.get_text() for text in panels[0].texts} == {"full"}
    assert {text.get_text() for text in panels[2].texts} == {"others"}
    assert {text.get_text() for text in panels[3].texts} == {"8,8"}
    assert len(panels[5].texts) == 15
    assert scale.get_ylabel() == "bits stored per value"


def test_no_plan_chart_without_rare_values(tmp_path: Path) -> None:
    folder = write_study(tmp_path, fields=[Field("a", 5, 5)], strategies=["fe"], seeds=[0], models=["deepfm"])
    assert plan_chart(load_study(folder), "movielens1m", "deepfm") is None
    with blank_pictures():
        written = {path.name for path in write_report(folder)}
    assert "figure3-movielens1m-deepfm.png" in written and not any(name.startswith("plans") for name in written)


@pytest.mark.parametrize(
    ("choice", "bits"),
    [(Full(), 32 * 16), (Others(), 32 * 16 / 1303), (DPQ(8, 4), 4 * 3 + 32 * 8 * 16 / 1303)],
)
def test_rare_bits(choice: Full | Others | DPQ, bits: float) -> None:
    (cost,) = ledger(MOVIELENS[:1], uniform_plan(MOVIELENS[:1], choice), 16).bands
    assert rare_bits_per_value(FieldResult(MOVIELENS[0], choice, cost.parameters, cost.bits, 16)) == pytest.approx(bits)


def test_looks_are_fixed_and_distinct() -> None:
    everything = looks([*STRATEGIES, "mine", "yours"])
    assert len({color for color, _ in everything.values()}) == len({marker for _, marker in everything.values()}) == 8
    assert looks(["autodpq"])["autodpq"] == everything["autodpq"]


@pytest.mark.parametrize(
    "draw", [figure3, *(pytest.param(draw, marks=pytest.mark.slow) for draw in (auc_bytes_figure, plan_chart))]
)
def test_pictures_are_the_same_each_time(single: StudyResults, tmp_path: Path, draw: Draw) -> None:
    for name in ("a", "b"):
        figure = draw(single, "movielens1m", "pnn")
        assert figure is not None
        save_figure(figure, tmp_path / name)
    for path in sorted(tmp_path.glob("a.*")):
        assert path.read_bytes() == path.with_name(f"b{path.suffix}").read_bytes()
        assert b"<dc:date>" not in path.read_bytes()


def test_write_report_writes_all_files(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe", "my plug/in $1"], seeds=[0], models=["deepfm"], dataset="a/b c")
    paths = write_report(folder)
    names = {path.name for path in paths}
    kinds = ("figure3", "auc-bytes", "reliability", "plans")
    figures = {f"{kind}-a-b-c-deepfm.{e}" for kind in kinds for e in ("png", "svg")}
    names_of_tables = ("table1", "table2", "statistics", "calibration", "headroom")
    tables = {f"{table}.{e}" for table in names_of_tables for e in ("md", "tex", "csv")}
    assert names == figures | tables | {"README.md", "index.html"}
    assert {path.name for path in (folder / "report").iterdir()} == names
    assert all(path.stat().st_size for path in paths)
    readme = (folder / "report" / "README.md").read_text(encoding="utf-8")
    for name in figures:
        assert (f"({name})" in readme) == name.endswith("png")
    assert "### Table 1: a/b c, deepfm" in readme


def test_a_run_without_a_curve_is_no_error(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe"], seeds=[0], models=["deepfm"])
    (result,) = folder.glob("runs/*/result.json")
    data = json.loads(result.read_text(encoding="utf-8"))
    data["curve"] = []
    result.write_text(json.dumps(data), encoding="utf-8")
    assert figure3(load_study(folder), "movielens1m", "deepfm") is None
    with blank_pictures():
        written = {path.name for path in write_report(folder)}
    assert "plans-movielens1m-deepfm.png" in written and not any(name.startswith("figure3") for name in written)


def test_what_is_drawn_lies_from_back_to_front_and_the_legend_is_in_order(tmp_path: Path) -> None:
    strategies = ["fe", "autodpq", "zeta", "grid"]
    study = load_study(write_study(tmp_path, strategies=strategies, seeds=[0, 1], models=["deepfm"]))
    chart = figure3_chart(study, "movielens1m", "deepfm")
    assert chart is not None
    drawn = [(series.strategy, series.form) for series in chart.series]
    assert drawn[:5] == [(name, "paper") for name in ("fe", "others", "grid", "random", "autodpq")]
    assert drawn[5:] == [(name, "steps") for name in ("fe", "grid", "zeta", "autodpq")]
    # The paper's line has a name of its own only where the study has none of that colour.
    names = ["FE", "Grid", "AutoDPQ", "zeta", "Others, paper", "Random, paper"]
    assert [series.label for series in chart.legend] == names
    figure = figure3(study, "movielens1m", "deepfm")
    assert figure is not None and [text.get_text() for text in figure.legends[0].get_texts()] == names
    assert "Others, paper" in chart_svg(chart, "a")


def test_curves_say_what_they_are_where_they_can_be_seen(study: StudyResults) -> None:
    chart = figure3_chart(study, "movielens1m", "deepfm")
    assert chart is not None
    (curve,) = [series for series in chart.series if (series.strategy, series.form) == ("grid", "steps")]
    width = chart.x.high - chart.x.low
    assert not any(point.tip or point.marked for point in curve.points if point.y < chart.y.low)
    assert all(point.tip for point in curve.points if point.marked)
    marked = [point.x for point in curve.points if point.marked]
    assert len(marked) > 1 and min(np.diff(marked)) > width / 12
    assert all(point.y_range and point.y_range[0] <= point.y <= point.y_range[1] for point in curve.points)


def test_both_drawings_show_the_same_points(study: StudyResults) -> None:
    chart, figure = (draw(study, "movielens1m", "deepfm") for draw in (auc_bytes_chart, auc_bytes_figure))
    assert chart is not None and figure is not None
    means = [series for series in chart.series if series.form == "mean"]
    centres = [container.lines[0].get_xydata()[0].tolist() for container in figure.axes[0].containers]
    assert centres == [[point.x, point.y] for series in means for point in series.points]
    assert figure.axes[0].get_xlim() == (chart.x.low, chart.x.high)
    tips = re.findall('aria-label="([^"]*)"', chart_svg(chart, "a"))[1:]
    described = [point.tip for series in chart.series for point in series.points]
    assert [tip.replace("&#10;", "\n") for tip in tips] == described and len(described) == 6 * 3 + 6


@pytest.mark.parametrize(("lowest", "is_drawn"), [(0.70, False), (0.811, True)])
def test_what_would_press_all_others_into_a_line_is_said_and_not_drawn(
    tmp_path: Path, lowest: float, is_drawn: bool
) -> None:
    folder = write_study(tmp_path, models=["deepfm"])

    def change(record: dict[str, object]) -> None:
        if record["strategy"] == "others":
            record["test_auc"] = lowest

    edit_records(folder, change)
    chart = auc_bytes_chart(load_study(folder), "movielens1m", "deepfm")
    assert chart is not None
    drawn = [series.strategy for series in chart.series if series.form == "mean"]
    assert ("others" in drawn) == is_drawn and len(drawn) == 5 + is_drawn
    assert (f"Others {lowest:.4f}: below the frame." in chart.note) != is_drawn
    assert (chart.y.low < lowest) == is_drawn


LONG = "a-kind-of-ones-own(depth=3,width=4)"


def test_choices_of_any_kind_are_shown_by_their_text(study: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {"8,8": "hashed(200)", "full": LONG}
    monkeypatch.setattr(plans, "choice_label", lambda choice: shown.get(choice_label(choice), choice_label(choice)))
    figure = plan_chart(study, "movielens1m", "deepfm")
    assert figure is not None
    full, hashed = figure.axes[0], figure.axes[3]
    assert {text.get_text() for text in full.texts} == {f"{LONG[:19]}…"}
    assert {text.get_text() for text in hashed.texts} == {"hashed(200)"}
    figure.canvas.draw()
    for axes in figure.axes[:-1]:
        tile = axes.get_window_extent().width / 3
        assert all(text.get_window_extent().width < tile for text in axes.texts)
    described = plans.study_plans(study, "movielens1m", "deepfm")
    assert described is not None
    cells = [cell for row in plan_rows(described) for cell in row.cells if cell]
    assert {label for cell in cells for label, _ in cell.choices} >= {"hashed(200)", LONG, "others"}


def test_titles_of_panels_do_not_overlap(tmp_path: Path) -> None:
    strategies = ["fe", "autodpq", "autodpq(search_epochs=2)", "autodpq(search_epochs=12,K=8)"]
    study = load_study(write_study(tmp_path, strategies=strategies, seeds=[0], models=["deepfm"]))
    figure = plan_chart(study, "movielens1m", "deepfm")
    assert figure is not None
    figure.canvas.draw()
    titles = [title.get_window_extent() for axes in figure.axes for title in (axes.title, axes._left_title)
              if title.get_text()]  # fmt: skip
    assert len(titles) == 4
    assert not any(a.overlaps(b) for index, a in enumerate(titles) for b in titles[:index])
    assert all(figure.bbox.x0 <= title.x0 and title.x1 <= figure.bbox.x1 for title in titles)
