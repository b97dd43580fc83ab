from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autodpq.errors import AutoDPQError
from autodpq.search.knapsack import best_within, cheapest, drawn_within, lower_hull, near_within

problems = st.lists(
    st.lists(st.tuples(st.integers(0, 60), st.floats(0, 10)), min_size=1, max_size=4), min_size=1, max_size=4
)


def parted(problem: list[list[tuple[int, float]]]) -> tuple[list[list[int]], list[list[float]]]:
    return [[cost for cost, _ in row] for row in problem], [[loss for _, loss in row] for row in problem]


def total(rows: list[list[float]], chosen: list[int]) -> float:
    return sum(row[option] for row, option in zip(rows, chosen, strict=True))


@given(problems, st.integers(0, 260))
def test_the_best_plan_is_that_of_all_plans(problem: list[list[tuple[int, float]]], limit: int) -> None:
    costs, losses = parted(problem)
    plans = [list(plan) for plan in product(*(range(len(row)) for row in costs))]
    within = [plan for plan in plans if total(costs, plan) <= limit]
    if not within:
        with pytest.raises(AutoDPQError, match="bytes are too few"):
            best_within(costs, losses, limit)
        return
    found = best_within(costs, losses, limit)
    assert total(costs, found) <= limit
    assert total(losses, found) == pytest.approx(min(total(losses, plan) for plan in within))


def test_large_costs_are_rounded_up_so_that_no_plan_is_above_the_limit() -> None:
    rng = np.random.default_rng(0)
    costs = rng.integers(1_000, 9_000_000, (60, 12)).tolist()
    losses = rng.random((60, 12)).tolist()
    least = cheapest(costs)
    for limit in (least, least + 1, least + 10_000_000, 10**12):
        chosen = best_within(costs, losses, limit)
        assert total(costs, chosen) <= limit
        assert total(costs, drawn_within(costs, limit, rng)) <= limit
    assert total(losses, chosen) == pytest.approx(sum(map(min, losses)))


@given(problems, st.integers(0, 260), st.integers(0, 2**32 - 1), st.data())
def test_a_plan_keeps_as_much_of_itself_as_there_is_room_for(
    problem: list[list[tuple[int, float]]], limit: int, seed: int, data: st.DataObject
) -> None:
    costs, _ = parted(problem)
    asked = [data.draw(st.integers(0, len(row) - 1)) for row in costs]
    rng = np.random.default_rng(seed)
    if cheapest(costs) > limit:
        with pytest.raises(AutoDPQError, match="bytes are too few"):
            near_within(costs, asked, limit, rng)
        return
    found = near_within(costs, asked, limit, rng)
    room = limit - total(costs, found)
    assert room >= 0
    if total(costs, asked) <= limit:
        assert found == asked
    for row, option, wanted in zip(costs, found, asked, strict=True):
        assert row[option] <= row[wanted]
        assert not any(row[option] < cost <= min(row[wanted], row[option] + room) for cost in row)


def test_plans_are_drawn_evenly_from_those_that_fit() -> None:
    costs = [[0, 3, 5], [1, 2], [0, 4]]
    within = [plan for plan in product(range(3), range(2), range(2)) if total(costs, list(plan)) <= 7]
    assert 3 < len(within) < 12
    rng = np.random.default_rng(1)
    n = 400 * len(within)
    counts = Counter(tuple(drawn_within(costs, 7, rng)) for _ in range(n))
    assert set(counts) == set(within)
    # Four standard deviations of a count of mean 400.
    assert all(abs(count - 400) < 80 for count in counts.values())


def test_more_plans_than_a_float_counts_are_drawn_from() -> None:
    costs = [[0, 1]] * 2000
    drawn = drawn_within(costs, 5000, np.random.default_rng(2))
    assert 850 < sum(drawn) < 1150
    assert sum(drawn_within(costs, 100, np.random.default_rng(2))) in range(90, 101)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 10)), min_size=1, max_size=8))
def test_the_hull_holds_what_any_price_would_choose(options: list[tuple[int, float]]) -> None:
    costs, losses = [cost for cost, _ in options], [loss for _, loss in options]
    hull = lower_hull(costs, losses)
    assert [costs[option] for option in hull] == sorted({costs[option] for option in hull})
    for price in (0.0, 1e-3, 0.03, 0.2, 1.0, 10.0):
        least = min(loss + price * cost for cost, loss in options)
        assert min(losses[option] + price * costs[option] for option in hull) == pytest.approx(least)
