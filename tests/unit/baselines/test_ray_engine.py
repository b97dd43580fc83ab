from __future__ import annotations

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from support.planted import (
    PAIRS,
    SPACE,
    STOPS,
    PlantedExecutor,
    SideBySideExecutor,
    numbers_of,
    plans_tried,
    planted_task,
    resumed_as_uninterrupted,
    searched,
)

from autodpq.choices import Choice, Full
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.plugins.options import construct
from autodpq.search.strategy import STRATEGIES
from autodpq.testing import MemoryJournal

pytest.importorskip("ray.tune")

from baselines.ray_engine import ASHA, RandomRay

Table = Sequence[Sequence[float]]


def by_number(table: Table) -> Callable[[int, CompressionPlan], Sequence[float]]:
    return lambda number, plan: table[number]


def random_table(trials: int, epochs: int, seed: int = 0) -> Table:
    return np.random.default_rng(seed).uniform(0.6, 0.9, (trials, epochs)).round(3).tolist()


def lengths(table: Table, asha: ASHA, *, side_by_side: bool = False, max_epochs: int | None = None) -> list[int]:
    """How many epochs each trial was trained."""
    executor = (SideBySideExecutor if side_by_side else PlantedExecutor)(by_number(table))
    history = searched(asha, executor, trials=len(table), max_epochs=max_epochs or max(map(len, table)))
    for trial, curve in zip(history, table, strict=True):
        assert trial.state == ("complete" if trial.epochs == len(curve) else "pruned")
    return [trial.epochs for trial in history]


def halving(table: Table, factor: int, grace: int) -> list[int]:
    """Successive halving's rule, written anew: how many epochs each trial is trained.

    A trial whose best AUC so far is below the quantile of those that came to the rung before ends there.
    """
    lengths, rungs = [], {}
    for curve in table:
        length = len(curve)
        rung = grace
        while rung < len(curve):
            best = max(curve[:rung])
            before = list(rungs.setdefault(rung, []))
            rungs[rung].append(best)
            # NumPy's quantile, not one by hand: where an AUC equals it, the last digit of the rounding decides.
            if before and best < np.percentile(before, (1 - 1 / factor) * 100):
                length = rung
                break
            rung *= factor
        lengths.append(length)
    return lengths


tables = st.integers(2, 12).flatmap(
    lambda epochs: st.lists(
        st.lists(st.integers(0, 30).map(lambda n: 0.5 + n / 64), min_size=epochs, max_size=epochs),
        min_size=1,
        max_size=12,
    )
)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [RandomRay(), ASHA()], ids=["random-ray", "asha"])
def test_plans_are_drawn_uniformly_and_fields_independently(strategy: RandomRay) -> None:
    plans = plans_tried(strategy, 0, 900)
    for name in ("user", "movie", "zip"):
        counts = Counter(plan[name] for plan in plans)
        assert set(counts) == set(PAIRS)
        assert chisquare([counts[pair] for pair in PAIRS]).pvalue > 1e-4
    joint = Counter(numbers_of(plan)[:2] for plan in plans)
    assert chisquare([joint[f"{i}{j}"] for i in range(9) for j in range(9)]).pvalue > 1e-4


def test_plans_cover_the_space_and_depend_on_seed_and_number_alone() -> None:
    plans = plans_tried(RandomRay(), 1, 24)
    assert all(list(plan) == list(SPACE) and plan["gender"] == Full() for plan in plans)
    assert plans[:9] == plans_tried(RandomRay(), 1, 9) and plans != plans_tried(RandomRay(), 2, 24)
    assert len(set(plans)) > 20


def test_nothing_to_choose_is_no_error() -> None:
    space: dict[str, Sequence[Choice]] = {"user": PAIRS[:1], "gender": (Full(),)}
    plan = CompressionPlan({"user": PAIRS[0], "gender": Full()})
    assert [trial.plan for trial in searched(RandomRay(), trials=2, space=space)] == [plan] * 2


def test_asha_tries_the_plans_of_random_search_by_ray_and_takes_the_best_complete_one() -> None:
    executor = PlantedExecutor(by_number(random_table(20, 16)))
    task = planted_task(executor, trials=None)
    plan = ASHA().search(task)
    assert [trial.plan for trial in task.history] == plans_tried(RandomRay(), 0, 20)
    complete = [trial for trial in task.history if trial.state == "complete"]
    assert plan == max(complete, key=lambda trial: trial.valid_auc or 0.0).plan
    assert executor.batches == [20] and 0 < len(complete) < 20
    saved = 20 * 16 - sum(trial.epochs for trial in task.history)
    assert task.epochs["search"] == 20 * 16 - saved < 160


def test_rungs_by_hand() -> None:
    # Median of those before, at epochs 1, 2 and 4.
    table = [
        [0.70, 0.71, 0.72, 0.73, 0.74, 0.75],
        [0.60, 0.90, 0.90, 0.90, 0.90, 0.90],  # 0.60 < 0.70
        [0.70, 0.60, 0.60, 0.72, 0.90, 0.90],  # best so far 0.70 < 0.71
        [0.80, 0.20, 0.20, 0.20, 0.20, 0.20],  # best so far 0.80 at every rung
        [0.70, 0.70, 0.78, 0.74, 0.60, 0.60],  # 0.70 < 0.71, the median of 0.70, 0.71, 0.80
    ]
    assert lengths(table, ASHA(reduction_factor=2)) == [6, 1, 2, 6, 2]
    assert lengths(table, ASHA(reduction_factor=2, grace_period=2)) == [6, 6, 2, 4, 2]
    assert lengths(table, ASHA(reduction_factor=2, grace_period=5)) == [6, 6, 6, 5, 5]


@given(tables, st.integers(2, 4), st.integers(1, 3), st.booleans())
def test_decisions_are_those_of_successive_halving(table: Table, factor: int, grace: int, side_by_side: bool) -> None:
    grace = min(grace, len(table[0]) - 1)
    asha = ASHA(reduction_factor=factor, grace_period=grace)
    assert lengths(table, asha, side_by_side=side_by_side) == halving(table, factor, grace)


@given(tables, st.floats(1.05, 6), st.integers(1, 3), st.data())
def test_decisions_do_not_depend_on_what_runs_side_by_side(
    table: Table, factor: float, grace: int, data: st.DataObject
) -> None:
    max_epochs = len(table[0])
    ends = data.draw(st.lists(st.integers(1, max_epochs), min_size=len(table), max_size=len(table)))
    stopped_early = [curve[:end] for curve, end in zip(table, ends, strict=True)]
    asha = ASHA(reduction_factor=factor, grace_period=min(grace, max_epochs - 1))
    one_by_one = lengths(stopped_early, asha, max_epochs=max_epochs)
    assert one_by_one == lengths(stopped_early, asha, side_by_side=True, max_epochs=max_epochs)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.floats(1.1, 5))
def test_interrupted_search_asks_and_answers_as_if_it_had_not_been(seed: int, factor: float) -> None:
    table = random_table(12, 9, seed)
    whole = searched(ASHA(reduction_factor=factor), PlantedExecutor(by_number(table)), trials=12, max_epochs=9)
    for stop in (1, 5, 11):
        journal = MemoryJournal()
        with pytest.raises(KeyboardInterrupt):
            interrupted = PlantedExecutor(by_number(table), stops_at=stop)
            searched(ASHA(reduction_factor=factor), interrupted, trials=12, max_epochs=9, journal=journal)
        resumed = PlantedExecutor(by_number(table))
        again = searched(ASHA(reduction_factor=factor), resumed, trials=12, max_epochs=9, journal=journal)
        assert again == whole
        assert resumed.batches == [12 - stop]


@STOPS
@pytest.mark.parametrize("strategy", [RandomRay(), ASHA()], ids=["random-ray", "asha"])
def test_interruption_at_any_trial_changes_nothing(strategy: RandomRay, every: int) -> None:
    table = random_table(20, 16)
    resumed_as_uninterrupted(strategy, lambda stop: PlantedExecutor(by_number(table), stops_at=stop), every)


@pytest.mark.parametrize("executor", [PlantedExecutor, SideBySideExecutor])
def test_failed_trial_counts_at_the_rungs_that_it_came_to(executor: type[PlantedExecutor]) -> None:
    table = [[0.8, 0.9], [0.8, 0.8, 0.8, 0.8], [0.8, 0.9, 0.9, 0.9]]
    asha = ASHA(reduction_factor=2)
    history = searched(asha, executor(by_number(table), fails={0}), trials=3, max_epochs=4)
    assert [trial.state for trial in history] == ["failed", "pruned", "complete"]
    assert [trial.epochs for trial in history] == [2, 2, 4]


@STOPS
def test_search_interrupted_after_a_failed_trial_goes_on_as_if_it_had_not_been(every: int) -> None:
    table = [[0.8, 0.9], [0.8, 0.8, 0.8, 0.8], *random_table(18, 4)]
    resumed_as_uninterrupted(
        ASHA(reduction_factor=2), lambda stop: PlantedExecutor(by_number(table), fails={0, 7}, stops_at=stop), every
    )


def test_numpys_global_generator_makes_no_difference() -> None:
    table, found = random_table(20, 16), []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002 (the one that Ray draws from)
        found.append(searched(ASHA(), PlantedExecutor(by_number(table))))
    assert found[0] == found[1]


@pytest.mark.parametrize("grace_period", [4, 5])
def test_grace_period_that_leaves_nothing_is_an_error(grace_period: int) -> None:
    executor = PlantedExecutor()
    with pytest.raises(AutoDPQError, match=f"asha: grace_period={grace_period} .* at most 4 epochs$"):
        searched(ASHA(grace_period=grace_period), executor, max_epochs=4)
    assert executor.batches == []


@pytest.mark.parametrize("value", ["1", "1.0", "0.5", "-2", "nan", "inf", "many"])
def test_reduction_factor_is_above_one(value: str) -> None:
    assert construct(ASHA, {"reduction_factor": "1.5"}).reduction_factor == 1.5
    with pytest.raises(AutoDPQError, match=r"asha: option.*reduction_factor"):
        construct(ASHA, {"reduction_factor": value})


def test_no_ray_cluster_is_started() -> None:
    import ray

    for strategy in (RandomRay(), ASHA()):
        searched(strategy, trials=3)
    assert not ray.is_initialized()


@pytest.mark.parametrize(("name", "strategy"), [("random-ray", RandomRay), ("asha", ASHA)])
def test_both_are_announced_by_entry_points(name: str, strategy: type[RandomRay]) -> None:
    assert name in STRATEGIES.names() and STRATEGIES.find(name) is strategy


def test_package_does_not_import_ray() -> None:
    code = "import baselines, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "ray"]:
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "baselines.ray_engine")
    with pytest.raises(AutoDPQError, match=r"^needs Ray Tune: pip install 'autodpq\[ray\]'$"):
        importlib.import_module("baselines.ray_engine")
