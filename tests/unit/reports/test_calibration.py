"""How well probabilities come true: the table, the figure and the cards."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from support.fake_studies import make_bins, write_study
from support.html_page import Page, page_of

from autodpq.errors import AutoDPQError
from autodpq.metrics import Bin, chance_error
from reports import StudyResults, calibration_table, load_study, reliability_figure, table1
from reports.figures.chart import Chart
from reports.figures.reliability import reliability_chart
from reports.numbers.reliability import pooled_bins
from reports.page.charts import chart_svg

FITTED = {"scale": 0.8, "shift": -0.25, "note": None}
PAIR = ("movielens1m", "deepfm")


def study_of(folder: Path, change: Callable[[dict[str, Any]], object] = dict, **values: Any) -> StudyResults:
    """A study of a few runs whose results are changed."""
    write_study(folder, **{"strategies": ["fe", "grid"], "seeds": [0, 1], "models": ["deepfm"], **values})
    for path in folder.glob("runs/*/result.json"):
        result = json.loads(path.read_text())
        change(result)
        path.write_text(json.dumps(result))
    return load_study(folder)


def calibrated(result: dict[str, Any]) -> None:
    result["calibration"] = FITTED
    result["record"]["calibrated"] = True


def test_the_table_says_level_error_and_entropy(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    table = calibration_table(study)
    (grid,) = table.grids
    assert grid.title == "Calibration: movielens1m, deepfm"
    assert grid.header == ("Strategy", "Predicted", "Click rate", "ECE", "Logloss", "NE")
    records = study.records[study.records["strategy"] == "grid"]
    row, tidy = grid.rows[1], table.records[1]
    assert tidy["strategy"] == "grid" and tidy["seeds"] == 2 and row[0].text == "Grid"
    for place, key in enumerate(("mean_prediction", "click_rate", "ece"), 1):
        expected = records[f"test_{key}"].mean()
        assert tidy[f"{key}_mean"] == pytest.approx(expected)
        assert row[place].text.split(" ± ")[0] == f"{expected:.4f}"
    assert row[5].text == "0.7505 ± 0.0007"
    assert tidy["ece_by_chance"] == pytest.approx(chance_error(make_bins(0.26)))
    assert f"of perfect probabilities about {chance_error(make_bins(0.28)):.4f}" in " ".join(grid.notes)
    assert "alibrated:" not in " ".join(grid.notes) and "calibrated" not in table1(study).to_text()


def test_what_was_fitted_and_what_was_in_its_way_is_said(tmp_path: Path) -> None:
    def held(result: dict[str, Any]) -> None:
        calibrated(result)
        if (result["record"]["strategy"], result["record"]["seed"]) == ("grid", 1):
            result["calibration"] = {**FITTED, "scale": 0.9, "note": "the scale is held"}

    study = study_of(tmp_path, held)
    (grid,) = calibration_table(study).grids
    assert grid.header[-2:] == ("Scale", "Shift")
    assert [cell.text for cell in grid.rows[1][-2:]] == ["0.85 ± 0.07", "-0.25"]
    assert grid.notes[-1] == "Grid, seed 1: the scale is held."
    assert "fitted on validation rows" in grid.notes[-2]
    text = calibration_table(study).to_text()
    assert "…" not in text and "  0.85±0.07  -0.25\n" in text
    assert "Probabilities are calibrated" in " ".join(table1(study).grids[0].notes)
    page = Page(page_of(tmp_path))
    said = [page.text(node) for node in page.all("details", class_="card")]
    assert all("Calibrated on validation rows" in card for card in said)
    assert sum("scale 0.9, shift -0.25 (the scale is held)" in card for card in said) == 1


def test_earlier_runs_beside_later_ones_have_dashes(tmp_path: Path) -> None:
    later = ("test_click_rate", "test_mean_prediction", "test_ece", "test_normalized_entropy")

    def earlier(result: dict[str, Any]) -> None:
        if result["record"]["strategy"] == "grid":
            del result["reliability"]
            for name in later:
                del result["record"][name]

    study = study_of(tmp_path, earlier)
    (grid,) = calibration_table(study).grids
    assert [cell.text for cell in grid.rows[1][1:4]] == ["—"] * 3 and grid.rows[1][4].text != "—"
    chart = reliability_chart(study, *PAIR)
    assert chart is not None and [series.strategy for series in chart.series] == ["fe"]


def test_calibrated_runs_beside_others_are_refused(tmp_path: Path) -> None:
    def one(result: dict[str, Any]) -> None:
        if result["record"]["strategy"] == "grid":
            calibrated(result)

    with pytest.raises(AutoDPQError, match="has runs that are calibrated and others that are not"):
        study_of(tmp_path, one)


def test_bins_of_one_run_stay_and_those_of_several_are_joined(tmp_path: Path) -> None:
    runs = [run for run in study_of(tmp_path).runs if run.strategy == "fe"]
    alone = pooled_bins(runs[:1])
    assert [asdict(own) for own in alone] == [
        {
            **own.model_dump(),
            "mean_prediction": pytest.approx(own.mean_prediction),
            "click_rate": pytest.approx(own.click_rate),
        }
        for own in runs[0].reliability
    ]
    both = pooled_bins(runs)
    assert len(both) == 20 and sum(own.samples for own in both) == 2 * 100021
    assert both[3].mean_prediction == pytest.approx(make_bins(0.28)[3].mean_prediction)
    assert both[3].click_rate == pytest.approx(1.025 * both[3].mean_prediction)


def chart_of(folder: Path, bins: tuple[Bin, ...]) -> Chart:
    def change(result: dict[str, Any]) -> None:
        result["reliability"] = [asdict(own) for own in bins]

    chart = reliability_chart(study_of(folder, change, seeds=[0]), *PAIR)
    assert chart is not None
    return chart


def test_points_lie_at_prediction_and_click_rate_beside_the_diagonal(tmp_path: Path) -> None:
    bins = make_bins(0.3)
    chart = chart_of(tmp_path, bins)
    assert not chart.x.log and (chart.x.low, chart.x.high, chart.x.ticks) == (chart.y.low, chart.y.high, chart.y.ticks)
    assert [(point.x, point.y) for point in chart.series[0].points] == [
        (pytest.approx(own.mean_prediction), pytest.approx(own.click_rate)) for own in bins
    ]
    assert chart.series[0].points[0].tip == "FE\nMean prediction 0.3\nClick rate 0.306\n5,002 test samples"
    assert "(5,001)" in chart.note and "Seeds" not in chart.note
    assert all(point.x == point.y for point in chart.ideal)
    middle = min(chart.ideal, key=lambda point: abs(point.x - 0.5))
    assert middle.y_range == pytest.approx(
        (middle.x - 1.96 * (0.25 / 5001) ** 0.5, middle.x + 1.96 * (0.25 / 5001) ** 0.5), abs=1e-4
    )


def test_small_click_rates_are_parted_by_logarithms(tmp_path: Path) -> None:
    bins = tuple(Bin(5000, 1e-4 * 1.5**number, 0.0 if number == 0 else 1e-4 * 1.4**number) for number in range(20))
    chart = chart_of(tmp_path, bins)
    assert chart.x.log and chart.y.log and "log scale" in chart.x.label and len(chart.x.ticks) >= 3
    first = chart.series[0].points[0]
    assert first.y == chart.y.low and "Click rate 0\n" in first.tip, "no clicks lie on the edge, and say so"
    svg = chart_svg(chart, "a")
    assert "nan" not in svg and 'class="ideal"' in svg
    shapes = re.findall(r'<polygon points="([^"]*)" class="mark', svg)
    middles = [float(shape.split()[0].split(",")[0]) for shape in shapes[:20]]
    gaps = [after - before for before, after in itertools.pairwise(middles)]
    assert max(gaps) - min(gaps) < 0.3, "equal ratios are equal ways"


def test_a_constant_is_one_point(tmp_path: Path) -> None:
    chart = chart_of(tmp_path, (Bin(100021, 0.02, 0.021),))
    assert [len(series.points) for series in chart.series] == [1, 1] and chart.x.low < 0.02 < chart.x.high


def test_matplotlib_draws_the_diagonal_and_a_line_per_strategy(tmp_path: Path) -> None:
    figure = reliability_figure(study_of(tmp_path), *PAIR)
    assert figure is not None
    (axes,) = figure.axes
    assert axes.get_xlim() == axes.get_ylim()
    diagonal, *lines = axes.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) and diagonal.get_linestyle() == "--"
    assert [line.get_color() for line in lines] == ["#000000", "#009E73"]
    assert [len(line.get_xdata()) for line in lines] == [20, 20]
