from __future__ import annotations

from support.made_searches import BEST, replay_of, search

from reports.figures.attainment import attainment_chart

WITHIN = [BEST.model_copy(update={"budget": budget, "test_auc": auc}) for budget, auc in ((400, 0.8), (90, 0.65))]


def test_steps_lie_below_the_front_of_the_table() -> None:
    runs = [
        search(seed, [regret + 0.01 * seed], budget=budget, bytes=budget - 10)
        for seed in range(4)
        for budget, regret in ((400, 0.02), (90, 0.03))
    ]
    chart = attainment_chart(replay_of(runs, WITHIN))
    assert chart is not None
    (series,) = chart.series
    assert [point.x for point in series.points] == [80, 390]
    for point in series.points:
        assert point.y_range is not None and point.y_range[0] < point.y < point.y_range[1]
    assert [point.x for point in chart.ideal] == [100, 400, 400, 420]
    assert chart.x.log and chart.x.low < 80 and chart.x.high > 400


def test_one_budget_makes_no_front() -> None:
    assert attainment_chart(replay_of([search(0, [0.1])])) is None
