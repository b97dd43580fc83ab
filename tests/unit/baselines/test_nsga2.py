"""NSGA-II's generations, and what is taken from its Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.samplers import NSGAIISampler
from optuna.study import Study
from optuna.trial import TrialState
from support.planted import PAIRS, PlantedExecutor, made_trial, plans_tried, planted_task, searched

from autodpq.plan import CompressionPlan
from autodpq.trial import Trial
from baselines import NSGA2, Random
from baselines.optuna_engine import knee, pareto_front


def rises_with_size(number: int, plan: CompressionPlan) -> list[float]:
    """Larger pairs are better, those of ``zip`` most."""
    weights = {"user": 1, "movie": 2, "zip": 4}
    return [0.7 + 0.001 * sum(weight * PAIRS.index(plan[name]) for name, weight in weights.items())]  # type: ignore[arg-type]


def generations(study: Study) -> list[int]:
    """The generation of every trial, as Optuna counts them."""
    return [trial.system_attrs[NSGAIISampler._get_generation_key()] for trial in study.trials]


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> list[Study]:
    """The Optuna studies that searches make."""
    made: list[Study] = []
    create = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", lambda **options: made.append(create(**options)) or made[-1])
    return made


@pytest.mark.parametrize(
    ("population_size", "trials", "batches"), [(5, 20, [5] * 4), (8, 20, [8, 8, 4]), (50, 20, [20])]
)
def test_batches_are_generations_and_the_last_is_cut_to_the_budget(
    studies: list[Study], population_size: int, trials: int, batches: list[int]
) -> None:
    executor = PlantedExecutor()
    searched(NSGA2(population_size=population_size), executor, trials=trials)
    assert executor.wanted == batches
    assert generations(studies[0]) == [number for number, size in enumerate(batches) for _ in range(size)]


def test_failed_trials_are_made_up_for_within_their_generation(studies: list[Study]) -> None:
    executor = PlantedExecutor(fails={0, 3, 7})
    searched(NSGA2(), executor, trials=22)
    assert executor.wanted == [5, 2, 5, 1, 5, 4]
    complete = [trial.state is TrialState.COMPLETE for trial in studies[0].trials]
    assert Counter(np.array(generations(studies[0]))[complete].tolist()) == {0: 5, 1: 5, 2: 5, 3: 4}


def test_first_generation_is_drawn_as_random_search_draws() -> None:
    plans = plans_tried(NSGA2(population_size=7), 3, 14)
    assert plans[:7] == plans_tried(Random(), 3, 7) and plans[7:] != plans_tried(Random(), 3, 14)[7:]


def test_later_generations_get_smaller_where_accuracy_is_all_the_same() -> None:
    for seed in range(3):
        sizes, by_chance = (
            np.mean(
                [
                    trial.ledger.bytes
                    for trial in searched(engine, PlantedExecutor(lambda *_: [0.8]), seed=seed, trials=60)
                ][40:]
            )
            for engine in (NSGA2(population_size=10), Random())
        )
        assert sizes < 0.9 * by_chance


def covered(history: Sequence[Trial], most_bytes: int) -> float:
    """The hypervolume: the area of AUCs above 0.7 and bytes below the most that some trial beats."""
    front = pareto_front(history)
    ends = [trial.ledger.bytes for trial in front[1:]] + [most_bytes]
    return sum(
        ((trial.valid_auc or 0.0) - 0.7) * (end - trial.ledger.bytes) for trial, end in zip(front, ends, strict=True)
    )


def test_front_is_pushed_farther_than_by_random_search() -> None:
    areas = []
    for seed in range(4):
        executor = PlantedExecutor(rises_with_size)
        genetic, random = (
            searched(engine, executor, seed=seed, trials=60) for engine in (NSGA2(population_size=10), Random())
        )
        most = max(trial.ledger.bytes for trial in (*genetic, *random)) + 1
        areas.append((covered(genetic, most), covered(random, most)))
    assert np.mean([genetic for genetic, _ in areas]) > 1.02 * np.mean([random for _, random in areas])


@pytest.mark.parametrize("max_bytes", [8_000, 11_000, 10**9])
def test_best_within_a_budget_is_taken(max_bytes: int) -> None:
    task = planted_task(PlantedExecutor(rises_with_size), trials=30, max_bytes=max_bytes)
    plan = NSGA2().search(task)
    assert all(trial.ledger.bytes <= max_bytes for trial in task.history)
    [taken, *_] = [trial for trial in task.history if trial.plan == plan]
    assert taken.valid_auc == max(trial.valid_auc or 0.0 for trial in task.history)


def test_knee_of_the_front_is_taken_without_a_limit() -> None:
    task = planted_task(PlantedExecutor(rises_with_size), trials=30)
    plan = NSGA2().search(task)
    front = pareto_front(task.history)
    assert plan == knee(front).plan and len(front) > 3
    assert knee(front) not in (front[0], front[-1])


def trials_of(*points: tuple[float | None, int]) -> list[Trial]:
    return [made_trial(number, auc, size) for number, (auc, size) in enumerate(points)]


def test_front_leaves_out_the_dominated_the_equal_and_the_failed() -> None:
    history = trials_of((0.8, 50), (None, 1), (0.7, 20), (0.8, 40), (0.75, 40), (0.7, 20), (0.9, 90), (0.6, 30))
    assert [trial.number for trial in pareto_front(history)] == [2, 3, 6]
    assert pareto_front([]) == []


@pytest.mark.parametrize(
    ("points", "number"),
    [
        ([(0.70, 100)], 0),
        ([(0.70, 100), (0.71, 900)], 1),  # two points have no knee: the best AUC
        ([(0.70, 100), (0.78, 200), (0.80, 900)], 1),
        ([(0.70, 100), (0.76, 200), (0.79, 300), (0.80, 900)], 2),
        ([(0.70, 100), (0.75, 500), (0.80, 900)], 2),  # a straight line
        ([(0.70, 100), (0.71, 700), (0.80, 900)], 2),  # a dent
    ],
)
def test_knee_is_where_more_bytes_cease_to_pay(points: list[tuple[float, int]], number: int) -> None:
    assert knee(trials_of(*points)).number == number


histories = st.lists(
    st.tuples(st.none() | st.integers(0, 64).map(lambda n: n / 64), st.integers(1, 40)), min_size=1, max_size=25
).map(lambda points: trials_of(*points))


def dominates(one: Trial, other: Trial) -> bool:
    better = (one.valid_auc or 0.0) > (other.valid_auc or 0.0) or one.ledger.bytes < other.ledger.bytes
    return better and (one.valid_auc or 0.0) >= (other.valid_auc or 0.0) and one.ledger.bytes <= other.ledger.bytes


@given(histories)
def test_front_is_what_nothing_dominates(history: list[Trial]) -> None:
    complete = [trial for trial in history if trial.valid_auc is not None]
    front = pareto_front(history)
    undominated = [trial for trial in complete if not any(dominates(other, trial) for other in complete)]
    points = {(trial.valid_auc, trial.ledger.bytes) for trial in undominated}
    assert [(trial.valid_auc, trial.ledger.bytes) for trial in front] == sorted(points, key=lambda point: point[1])
    for kept in front:
        equals = [trial for trial in undominated if trial.ledger.bytes == kept.ledger.bytes]
        assert kept is equals[0], "the first of equals"


@given(histories)
def test_knee_is_farthest_from_the_line_between_the_ends(history: list[Trial]) -> None:
    front = pareto_front(history)
    if len(front) < 3:
        assert not front or knee(front) is front[-1]
        return

    def above(trial: Trial) -> float:
        """Twice the area of the triangle with the ends, exact in integers; positive towards the better corner."""
        (x0, y0), (x1, y1), (x, y) = (
            (end.ledger.bytes, round(64 * (end.valid_auc or 0.0))) for end in (front[0], front[-1], trial)
        )
        return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)

    farthest = max(above(trial) for trial in front)
    taken = knee(front)
    assert taken in front and above(taken) == farthest
    assert farthest > 0 or taken is front[-1]


@given(histories, st.integers(2, 5))
def test_knee_does_not_depend_on_the_units(history: list[Trial], factor: int) -> None:
    front = pareto_front(history)
    scaled = [
        made_trial(trial.number, 0.25 + (trial.valid_auc or 0.0) / 2, 7 + 2**factor * trial.ledger.bytes)
        for trial in front
    ]
    assert not front or knee(scaled).number == knee(front).number
