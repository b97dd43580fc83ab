from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import chisquare

from autodpq.errors import AutoDPQError
from autodpq.plan import DPQ, Choice, CompressionPlan, Full
from autodpq.testing import CANDIDATES, ToyExecutor, make_task
from baselines import Grid, Random

PAIRS = tuple(DPQ(k, d) for k in (8, 16, 32) for d in (2, 4, 8))
SPACE: dict[str, Sequence[Choice]] = {"user": PAIRS, "gender": (Full(),), "movie": PAIRS, "zip": PAIRS}


def ask_random(number: int, seed: int = 0, space: dict[str, Sequence[Choice]] = SPACE) -> CompressionPlan:
    return Random().ask(number, space, np.random.default_rng([seed, number]), ())


def test_grid_tries_every_pair_once_in_order_the_same_for_all_searched_fields() -> None:
    rng = np.random.default_rng(0)
    plans = [Grid().ask(number, SPACE, rng, ()) for number in range(9)]
    assert [plan["user"] for plan in plans] == list(PAIRS)
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


def test_grid_leaves_out_pairs_that_not_every_field_may_take() -> None:
    space: dict[str, Sequence[Choice]] = {"user": (DPQ(8, 2), DPQ(16, 2), DPQ(4, 2)), "zip": (DPQ(4, 2), DPQ(8, 2))}
    rng = np.random.default_rng(0)
    plans = [Grid().ask(number, space, rng, ()) for number in range(2)]
    assert plans == [CompressionPlan({"user": pair, "zip": pair}) for pair in (DPQ(8, 2), DPQ(4, 2))]


def test_grid_gives_the_one_plan_of_a_grid_of_one_pair() -> None:
    task = make_task(trials=None)
    task.space = {name: choices[:1] for name, choices in task.space.items()}
    assert Grid().search(task) == CompressionPlan({name: choices[0] for name, choices in task.space.items()})


def test_random_draws_one_candidate_per_field() -> None:
    for number in range(20):
        plan = ask_random(number)
        assert list(plan) == list(SPACE)
        assert all(plan[name] in choices for name, choices in SPACE.items())


def test_random_differs_by_trial_by_field_and_by_seed() -> None:
    plans = [ask_random(number) for number in range(40)]
    assert len(set(plans)) > 35
    assert any(plan["user"] != plan["movie"] for plan in plans)
    assert plans != [ask_random(number, seed=1) for number in range(40)]


def test_random_draws_the_same_by_seed_and_number_whatever_came_before() -> None:
    forwards = [ask_random(number, seed=3) for number in range(10)]
    backwards = [ask_random(number, seed=3) for number in reversed(range(10))]
    assert forwards == backwards[::-1]


def test_random_draws_uniformly_and_fields_independently() -> None:
    plans = [ask_random(number) for number in range(900)]
    for name in ("user", "movie", "zip"):
        counts = Counter(plan[name] for plan in plans)
        assert set(counts) == set(PAIRS)
        assert chisquare([counts[pair] for pair in PAIRS]).pvalue > 1e-4
    joint = Counter((PAIRS.index(p["user"]), PAIRS.index(p["movie"])) for p in plans if isinstance(p["user"], DPQ))
    assert chisquare([joint[i, j] for i in range(9) for j in range(9)]).pvalue > 1e-4


@pytest.mark.parametrize(("trials", "expected"), [(None, 20), (1, 1), (30, 30)])
def test_random_takes_its_trials_from_the_budget(trials: int | None, expected: int) -> None:
    assert Random().n_trials(make_task(trials=trials)) == expected


def test_all_trials_failed_is_an_error_that_says_why() -> None:
    with pytest.raises(AutoDPQError, match="no trial is complete: RuntimeError: made to fail"):
        Random().search(make_task(trials=1, executor=ToyExecutor(fails_at=0)))


def test_black_boxes_are_charged_for_pretraining_and_for_their_trials() -> None:
    task = make_task()
    Random().search(task)
    assert task.epochs["pretrain"] > 0 and task.seconds["pretrain"] > 0
    assert task.epochs["search"] == sum(trial.epochs for trial in task.history) > 0
    assert task.epochs["retrain"] == 0 and task.handed_over is None
