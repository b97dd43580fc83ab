from __future__ import annotations

import pytest
from support.made_searches import BEST, idle, replay_of, search

from reports.figures.regret import regret_chart
from reports.numbers.regret import Replayed


@pytest.fixture
def replayed() -> Replayed:
    """Two searches with trials, two without."""
    runs = [search(seed, (0.4, 0.2 * seed), (3.0, 5.0)) for seed in range(2)]
    return replay_of([*runs, *(idle(seed, 0.05, 7.0 + seed) for seed in range(2))])


def test_steps_are_the_mean_of_searches_at_whole_trials(replayed: Replayed) -> None:
    chart = regret_chart(replayed, BEST, "valid", "trials")
    assert chart is not None
    (series,) = chart.series
    assert [(point.x, point.y) for point in series.points] == [(1, 0.4), (2, pytest.approx(0.1))]
    assert all(low <= point.y <= high for point in series.points for low, high in [point.y_range or (1, 0)])
    assert chart.x.ticks and all(value.is_integer() for value, _ in chart.x.ticks)
    assert chart.y.low < 0 < chart.y.high and min(value for value, _ in chart.y.ticks) == 0


def test_what_tries_nothing_is_a_point_where_it_ends(replayed: Replayed) -> None:
    chart = regret_chart(replayed, BEST, "test", "seconds")
    assert chart is not None
    by_form = {series.form: series for series in chart.series}
    (point,) = by_form["mean"].points
    assert (point.x, point.y, by_form["mean"].label) == (7.5, 0.05, "AutoDPQ")
    assert [point.x for point in by_form["steps"].points] == [3.0, 5.0]
    assert {series.label for series in chart.legend} == {"Random", "AutoDPQ"}


def test_what_is_far_above_all_others_is_said_and_not_drawn(replayed: Replayed) -> None:
    far = [search(seed, (0.49,), strategy="grid") for seed in range(2)]
    near = [search(seed, (0.1, 0.05), strategy="random") for seed in range(2)]
    chart = regret_chart(replay_of([*far, *near]), BEST, "test", "trials")
    assert chart is not None and [series.strategy for series in chart.series] == ["random"]
    assert chart.note.endswith("Grid 0.4900: above the frame.") and chart.y.high < 0.2


def test_there_is_no_chart_without_trials(replayed: Replayed) -> None:
    idle = Replayed(replayed.folder, replayed.about, replayed.runs[2:])
    assert regret_chart(idle, BEST, "test", "seconds") is None
