"""Mean ranks of strategies, and by how much they must differ (a critical-difference diagram)."""

from __future__ import annotations

import math

from autodpq.records.replay import BestWithin
from reports.figures.chart import Axis, Chart, Point, Series
from reports.figures.style import looks
from reports.figures.ticks import linear_ticks
from reports.names import display_name
from reports.numbers.ranks import rank_strategies
from reports.numbers.regret import Replayed


def ranks_chart(replayed: Replayed, best: BestWithin) -> Chart | None:
    """Each strategy's mean rank by test regret, in a bar of one critical difference's length (Demsar, JMLR 2006).

    Args:
        replayed: The replay.
        best: Of the budget that is shown.

    Returns:
        The chart; None where Friedman's test has nothing to compare.
    """
    by_strategy = replayed.within(best)
    ranks = rank_strategies(by_strategy, "test")
    if ranks is None or math.isnan(ranks.critical):
        return None
    names = sorted(ranks.mean, key=lambda name: -ranks.mean[name])
    half = ranks.critical / 2
    series = [
        Series(
            name,
            "mean",
            (
                Point(
                    ranks.mean[name],
                    height,
                    f"{display_name(name)}\nrank {ranks.mean[name]:.2f}",
                    x_range=(ranks.mean[name] - half, ranks.mean[name] + half),
                ),
            ),
        )
        for height, name in enumerate(names)
    ]
    left, right = min(ranks.mean.values()) - half, max(ranks.mean.values()) + half
    room = 0.05 * (right - left)
    return Chart(
        "ranks",
        "Mean rank by test regret",
        replayed.title(best),
        Axis("Mean rank, 1 is best", left - room, right + room, linear_ticks(left - room, right + room)),
        Axis("", -0.6, len(names) - 0.4, tuple((float(y), display_name(name)) for y, name in enumerate(names))),
        tuple(series),
        looks([*by_strategy]),
        f"Over {ranks.seeds} search seeds; Friedman's test: p = {ranks.p_value:.2g}. Bars are as long as the critical "
        f"difference, {ranks.critical:.2f} (Nemenyi's test): strategies whose bars do not meet are told apart at 0.05.",
    )
