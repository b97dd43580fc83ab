from __future__ import annotations

import pytest
from support.made_searches import BEST, replay_of, search

from reports.figures.plots import draw_chart
from reports.figures.ranks import ranks_chart

REGRETS = {"random": (0.3, 0.2, 0.3), "tpe": (0.1, 0.3, 0.1), "grid": (0.2, 0.4, 0.2)}


def test_bars_are_as_long_as_the_critical_difference_and_the_best_stands_above() -> None:
    runs = [search(seed, [value], strategy=name) for name, own in REGRETS.items() for seed, value in enumerate(own)]
    chart = ranks_chart(replay_of(runs), BEST)
    assert chart is not None
    assert [name for _, name in chart.y.ticks] == ["Grid", "Random", "TPE"]
    for series, (height, _) in zip(chart.series, chart.y.ticks, strict=True):
        (point,) = series.points
        assert point.y == height and point.x_range is not None
        low, high = point.x_range
        assert high - low == pytest.approx(2.343 * (3 * 4 / (6 * 3)) ** 0.5, abs=1e-3)
        assert (low + high) / 2 == pytest.approx(point.x) and chart.x.low < low < high < chart.x.high
    assert draw_chart(chart).axes[0].get_title() == "own, deepfm"


def test_two_strategies_or_one_seed_have_none() -> None:
    assert ranks_chart(replay_of([search(0, [0.1]), search(0, [0.2], strategy="tpe")]), BEST) is None
    assert ranks_chart(replay_of([search(0, [0.1], strategy=name) for name in REGRETS]), BEST) is None
