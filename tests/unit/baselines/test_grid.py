from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.planted import PAIRS, SPACE

from autodpq.choices import DPQ, Choice, Full
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.testing import CANDIDATES, ToyExecutor, make_task
from autodpq.trial import Budget
from baselines import FullEmbedding, Grid, Random
from baselines.grid import global_plans


def test_grid_tries_every_pair_once_in_order_the_same_for_all_searched_fields() -> None:
    plans = global_plans(SPACE)
    assert len(plans) == 9 and [plan["user"] for plan in plans] == list(PAIRS)
    for plan in plans:
        assert plan["gender"] == Full()
        assert plan["user"] == plan["movie"] == plan["zip"]


def test_grid_searches_all_pairs_and_takes_the_best() -> None:
    executor = ToyExecutor()
    task = make_task(trials=None, executor=executor)
    plan = Grid().search(task)
    assert [trained["user"] for trained in executor.trained] == list(CANDIDATES)
    best = max(task.history, key=lambda trial: trial.valid_auc or 0.0)
    assert plan == best.plan


def test_grid_stops_where_the_budget_or_the_grid_ends() -> None:
    assert Grid().n_trials(make_task(trials=2)) == 2
    assert Grid().n_trials(make_task(trials=100)) == len(CANDIDATES)
    assert Grid().n_trials(make_task(trials=None)) == len(CANDIDATES)


def test_trials_are_expected_by_the_space_before_there_is_a_task() -> None:
    for trials, grid, random in ((None, len(PAIRS), 20), (2, 2, 2), (100, len(PAIRS), 100)):
        assert Grid().expected_trials(SPACE, Budget(trials)) == grid
        assert Random().expected_trials(SPACE, Budget(trials)) == random
        assert FullEmbedding().expected_trials(SPACE, Budget(trials)) == 0


def test_grid_leaves_out_pairs_that_not_every_field_may_take() -> None:
    space: dict[str, Sequence[Choice]] = {"user": (DPQ(8, 2), DPQ(16, 2), DPQ(4, 2)), "zip": (DPQ(4, 2), DPQ(8, 2))}
    assert global_plans(space) == [CompressionPlan({"user": pair, "zip": pair}) for pair in (DPQ(8, 2), DPQ(4, 2))]


def test_grid_gives_the_one_plan_of_a_grid_of_one_pair() -> None:
    task = make_task(trials=None, candidates=CANDIDATES[:1])
    assert Grid().search(task) == CompressionPlan({name: choices[0] for name, choices in task.space.items()})


def test_nothing_to_search_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task(trials=None, executor=ToyExecutor())
    monkeypatch.setattr(type(task), "space", dict.fromkeys(task.space, (Full(),)))
    with pytest.raises(AutoDPQError, match="no field has rare values at this threshold: there is nothing to search"):
        Grid().search(task)
