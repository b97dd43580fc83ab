"""What the page is made of: charts, plans, cards, colours."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support.fake_studies import MOVIELENS, STRATEGIES, write_study
from support.html_page import Page, page_of

from autodpq.errors import AutoDPQError
from autodpq.plan import Field
from reports import StudyResults, load_study
from reports.figures.chart import Axis
from reports.figures.figure3 import figure3_chart
from reports.figures.frequency import frequency_chart
from reports.figures.plans import study_plans
from reports.figures.reliability import reliability_chart
from reports.figures.sizes import auc_bytes_chart
from reports.figures.style import looks
from reports.figures.ticks import compact, linear_ticks, log_ticks
from reports.numbers import bootstrap
from reports.page.cards import phases, settings
from reports.page.charts import _path, chart_svg
from reports.page.drawing import Frame, number
from reports.page.heat import plan_rows
from reports.page.palette import DARK, LIGHT, PHASES, contrast, heat_colours, strategy_colours


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    return load_study(write_study(tmp_path_factory.mktemp("study")))


def test_runs_without_curves_frequencies_and_rare_values(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe"], seeds=[0], models=["dcn"], fields=[Field("user", 5, 5)])
    (path,) = folder.glob("runs/*/result.json")
    result = json.loads(path.read_text())
    later = ("frequency", "reliability")
    path.write_text(json.dumps({**{k: v for k, v in result.items() if k not in later}, "curve": []}))
    study = load_study(folder)
    assert figure3_chart(study, "movielens1m", "dcn") is frequency_chart(study, "movielens1m", "dcn") is None
    assert reliability_chart(study, "movielens1m", "dcn") is None
    assert study_plans(study, "movielens1m", "dcn") is None
    assert [node["attributes"]["id"] for node in Page(page_of(folder)).all("figure")] == ["bytes-0"]


def test_buckets_with_gaps_and_one_class(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["fe"], seeds=[0, 1], models=["dcn"])
    for path in folder.glob("runs/*/result.json"):
        buckets = [
            {"least": 0, "most": 0, "samples": 3, "auc": None},
            {"least": 10, "most": 31, "samples": 12_345, "auc": 0.7},
        ]
        path.write_text(json.dumps({**json.loads(path.read_text()), "frequency": buckets}))
    chart = frequency_chart(load_study(folder), "movielens1m", "dcn")
    assert chart is not None
    tips = re.findall('aria-label="([^"]*)"', chart_svg(chart, "a"))[1:]
    assert [tip.replace("&#10;", "|") for tip in tips] == [
        "rarest value: 0 occurrences|3 test samples",
        "rarest value: 1 to 9 occurrences|no sample",
        "rarest value: 10 to 31 occurrences|12,345 test samples",
        "FE, mean of 2 seeds|Test AUC 0.7000 ± 0.0000|rarest value: 10 to 31 occurrences|12,345 test samples",
    ]


def test_plans_say_what_each_seed_chose(study: StudyResults) -> None:
    plans = study_plans(study, "movielens1m", "pnn")
    assert plans is not None and plans.uniform == ("gender", "age", "occupation")
    rows = plan_rows(plans)
    assert [row.field for row in rows] == [field.name for field in MOVIELENS if field.tail]
    place = [panel.strategy for panel in plans.panels].index("autodpq")
    for row in rows:
        cell = row.cells[place]
        assert cell is not None and sum(count for _, count in cell.choices) == cell.runs == 3
        chosen = [entry.choice for run in study.runs_of("movielens1m", "pnn") if run.strategy == "autodpq"
                  for entry in run.fields if entry.field.name == row.field]  # fmt: skip
        assert {f"{choice.K},{choice.D}" for choice in chosen} == {label for label, _ in cell.choices}  # type: ignore[union-attr]


def test_marks_lie_within_the_drawing(study: StudyResults) -> None:
    for draw in (auc_bytes_chart, figure3_chart, frequency_chart, reliability_chart):
        for model in ("deepfm", "pnn"):
            chart = draw(study, "movielens1m", model)
            assert chart is not None
            svg = chart_svg(chart, "a")
            shapes = re.findall(r'class="mark[^>]*', svg)
            assert shapes and "nan" not in svg and "inf" not in svg.replace("info", "")
            for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall('points="([^"]*)"', svg))):
                assert 40 < float(x) < 440 and 10 < float(y) < 300


def test_settings_leave_nothing_out() -> None:
    config = {"data": {"name": "a", "deep": {"er": [1, None, True]}}, "seed": 0, "options": {}, "machine": "box",
              "versions": {"torch": "2"}, "device": {"odd": 1}, "else": {"x": False}}  # fmt: skip
    found = dict(settings(config))
    assert found["Data"] == (("name", "a"), ("deep.er", "1, —, yes"))
    assert found["Run"] == (("seed", "0"),) and found["else"] == (("x", "no"),)
    assert found["Machine"] == (("machine", "box"), ("device.odd", "1")) and found["Versions"] == (("torch", "2"),)


def test_phases_fill_the_bar() -> None:
    record = {"seconds": 10.0, "seconds_pretrain": 2.0, "seconds_search": 0.0, "seconds_retrain": 3.0}
    assert [(phase.name, phase.start, phase.share) for phase in phases(record)] == [
        ("pretrain", 0.0, 20.0), ("retrain", 20.0, 30.0), ("other", 50.0, 50.0)
    ]  # fmt: skip
    assert phases({name: float("nan") for name in record}) == ()


TRIAL = {"number": 0, "plan": '{"user":"dpq(8,2)","age":"full"}', "state": "complete", "valid_auc": 0.7,
         "valid_logloss": 0.5, "parameters": 99, "bytes": 1234, "epochs": 3, "seconds": {"search": 1.25},
         "error": None}  # fmt: skip


def test_trials_are_the_best_and_the_failed(tmp_path: Path) -> None:
    folder = write_study(tmp_path, strategies=["random"], seeds=[0], models=["dcn"])
    (run,) = (folder / "runs").iterdir()
    lines = [{**TRIAL, "number": number_, "valid_auc": 0.7 + number_ / 1000} for number_ in range(14)]
    lines.append(
        {**TRIAL, "number": 14, "state": "failed", "valid_auc": None, "valid_logloss": None, "error": "too <big>"}
    )
    (run / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page(page_of(folder))
    shown = page.table(page.all("table", page.all("details", class_="card")[0])[1])[1:]
    assert [row[0] for row in shown] == [str(number_) for number_ in range(13, 3, -1)] + ["14"]
    assert shown[0] == ["13", "0.7130", "0.5000", "1,234", "3", "1.2", "user 8,2"]
    assert shown[-1][-1] == "failed: too <big>"
    assert "11 of 15" in page.text(page.all("details", class_="card")[0])


@pytest.mark.parametrize("line", ["{", "[]", '{"state":"complete"}', json.dumps({**TRIAL, "plan": "{"}), "9" * 5000])
def test_damaged_trials_are_one_line_that_names_them(tmp_path: Path, line: str) -> None:
    folder = write_study(tmp_path, strategies=["random"], seeds=[0], models=["dcn"])
    (run,) = (folder / "runs").iterdir()
    (run / "trials.jsonl").write_text(json.dumps(TRIAL) + "\n" + line + "\n")
    with pytest.raises(AutoDPQError) as caught:
        page_of(folder)
    assert str(caught.value).startswith(f"{run / 'trials.jsonl'}, line 2: ") and "\n" not in str(caught.value)


@pytest.fixture
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("LEAST_RESAMPLES", "MOST_RESAMPLES"):
        monkeypatch.setattr(bootstrap, limit, 10)


@pytest.mark.usefixtures("_few_resamples")
def test_a_study_stays_a_page(study: StudyResults) -> None:
    assert len(study.runs) == 54
    assert len(page_of(study.folder).encode()) < 570_000


@pytest.mark.slow
@pytest.mark.usefixtures("_few_resamples")
def test_a_large_study_stays_a_page(tmp_path: Path) -> None:
    everything = [*STRATEGIES, "tpe", "nsga2", "random-ray", "asha"]
    folder = write_study(tmp_path, strategies=everything, seeds=range(10))
    text = page_of(folder)
    assert len(Page(text).all("details", class_="card")) == 300
    assert len(text.encode()) < 3_000_000
    shutil.rmtree(folder)


def test_paths_are_their_corners() -> None:
    """As a browser draws them: with every point they are the same line."""
    up_and_back = [(0.0, 0.0), (0.0, 5.0), (0.0, 9.0), (0.0, 7.0), (4.0, 7.0), (6.0, 7.0), (6.0, 7.04), (8.0, 8.0)]
    assert _path(up_and_back) == "M0 0V9V7H6L8 8"
    assert _path([(1.0, 2.0)]) == "M1 2"


@pytest.mark.parametrize("dark", [False, True])
def test_colours_can_be_read(dark: bool) -> None:
    theme = DARK if dark else LIGHT
    for ground in ("background", "surface"):
        assert all(contrast(theme[name], theme[ground]) >= 4.5 for name in ("text", "muted", "accent"))
    assert (
        contrast(theme["warning"], theme["warning-surface"]) >= 4.5 <= contrast(theme["text"], theme["warning-surface"])
    )
    assert all(contrast(theme["text"], color) >= 4.5 for color in heat_colours(dark=dark))
    assert all(contrast(colors[dark], theme["background"]) >= 3 for colors in PHASES.values())
    everything = ["fe", "fe-continued", "others", "grid", "random", "tpe", "nsga2", "random-ray", "asha", "autodpq"]
    everything += [f"autodpq(search_epochs={count})" for count in range(12)]
    colors = strategy_colours(everything, dark=dark)
    assert all(contrast(color, theme["background"]) >= 3 for color in colors)
    assert len(set(looks(everything).values())) == len(everything)
    assert len(set(colors[:20])) == 20


def test_contrast_as_defined() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#777777", "#ffffff") == pytest.approx(
        4.478, abs=1e-3
    )


def test_ticks_are_round() -> None:
    assert [label for _, label in linear_ticks(0.7801, 0.7883)] == ["0.782", "0.784", "0.786", "0.788"]
    assert [label for _, label in linear_ticks(-1.2, 4.1)] == ["-1", "0", "1", "2", "3", "4"]
    assert [label for _, label in linear_ticks(0.0, 0.01, most=4)] == [
        "0.0000",
        "0.0025",
        "0.0050",
        "0.0075",
        "0.0100",
    ][:5]
    assert [value for value, _ in log_ticks(60_000, 300_000, str)] == pytest.approx([70e3, 1e5, 15e4, 2e5, 3e5])
    assert [value for value, _ in log_ticks(1, 1e9, str)] == [1.0, 100.0, 1e4, 1e6, 1e8]
    assert 2 <= len(log_ticks(700_000, 707_000, str)) <= 6
    assert [compact(count) for count in (0, 999, 1000, 12_345, 3_000_000)] == ["0", "999", "1k", "12.3k", "3M"]
    assert [number(value) for value in (1.0, 1.25, -0.01, 0.06)] == ["1", "1.2", "0", "0.1"]


def test_logarithmic_places() -> None:
    frame = Frame(Axis("x", 10, 1000, (), log=True), Axis("y", 0, 1, ()))
    assert frame.x(100) == pytest.approx((frame.x(10) + frame.x(1000)) / 2)
    assert frame.y(0) > frame.y(1)
