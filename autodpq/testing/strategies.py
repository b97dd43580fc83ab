"""The contract that every strategy must keep, as a class of tests."""

from __future__ import annotations

import inspect
import json
import multiprocessing
import pickle
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest

from autodpq.plan import CompressionPlan
from autodpq.plugins.options import label, options_of, parse_call
from autodpq.search.strategy import Strategy
from autodpq.search.task import SearchTask
from autodpq.testing.toys import MemoryJournal, ToyExecutor, make_task, reachable_arrays
from autodpq.trial import Trial, check_plan


@cache
def _another_process() -> ProcessPoolExecutor:
    """One for all contracts of a process, in which strings have other hashes."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONHASHSEED", "12345")
        pool.submit(int).result()  # it is there only when it has something to do
    return pool


def _search_elsewhere(path: Sequence[str], strategy: bytes, seed: int) -> str:
    sys.path[:] = path  # of now: the process may be older than the folder that the strategy is in
    found: Strategy = pickle.loads(strategy)
    return found.search(make_task(seed)).to_json()


def _without_times(history: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, seconds={}) for trial in history]


# By the contract's class and the strategy's, for a class of tests may be run over many.
_SEARCHED: dict[tuple[type, type[Strategy]], tuple[CompressionPlan, SearchTask]] = {}


class StrategyContract:
    """Tests of one strategy; a subclass whose name begins with ``Test`` names it.

    Attributes:
        strategy: The class to test. Another process must be able to import it.
    """

    strategy: ClassVar[type[Strategy]]

    def make_strategy(self) -> Strategy:
        """The strategy to test; to be overridden where it has options without defaults."""
        return self.strategy()

    def search(self, **options: Any) -> tuple[CompressionPlan, SearchTask]:
        """Searches a task that :func:`make_task` makes of the options."""
        task = make_task(**options)
        return self.make_strategy().search(task), task

    def searched(self) -> tuple[CompressionPlan, SearchTask]:
        """What a search came to that was made once for all tests of a strategy that look at one."""
        key = type(self), self.strategy
        if key not in _SEARCHED:
            _SEARCHED[key] = self.search()
        return _SEARCHED[key]

    def test_plan_covers_every_field_and_fits_the_space(self) -> None:
        plan, task = self.searched()
        check_plan(plan, task.fields, task.space)
        for trial in task.history:
            check_plan(trial.plan, task.fields, task.space)

    def test_plan_survives_json(self) -> None:
        plan, _ = self.searched()
        assert CompressionPlan.from_json(plan.to_json()) == plan

    def test_same_seed_gives_the_same_search(self) -> None:
        for (plan, task), seed in ((self.searched(), 0), (self.search(seed=1), 1)):
            again, task_again = self.search(seed=seed)
            assert plan == again
            assert _without_times(task.history) == _without_times(task_again.history)

    def test_same_seed_gives_the_same_plan_in_another_process(self) -> None:
        strategy = pickle.dumps(self.make_strategy())
        elsewhere = _another_process().submit(_search_elsewhere, sys.path, strategy, 1).result()
        assert elsewhere == self.search(seed=1)[0].to_json()

    def test_interrupted_search_goes_on_as_if_it_had_not_been(self) -> None:
        plan, whole = self.searched()
        for done in range(len(whole.history)):
            journal, resumed = MemoryJournal(), ToyExecutor()
            with pytest.raises(KeyboardInterrupt):
                self.search(journal=journal, executor=ToyExecutor(stops_at=done))
            assert len(journal.trials) == done, "a trial is told of as soon as it ends"
            again, task = self.search(journal=journal, executor=resumed)
            assert again == plan
            assert _without_times(task.history) == _without_times(whole.history)
            assert resumed.trained == [trial.plan for trial in whole.history[done:]], "finished trials ran again"

    @pytest.mark.parametrize("trials", [1, 2])
    def test_budget_is_kept(self, trials: int) -> None:
        executor = ToyExecutor()
        _, task = self.search(trials=trials, executor=executor)
        assert len(task.history) == len(executor.trained) <= trials

    def test_failed_trial_is_recorded_and_the_search_goes_on(self) -> None:
        _, task = self.searched()
        if len(task.history) < 2:
            pytest.skip("runs fewer than two trials")
        for number in range(len(task.history)):
            plan, failed = self.search(executor=ToyExecutor(fails_at=number))
            assert [trial.number for trial in failed.history if trial.state == "failed"] == [number]
            assert len(failed.history) > 1
            assert "made to fail" in (failed.history[number].error or "")
            check_plan(plan, failed.fields, failed.space)

    def test_constructor_takes_keyword_options_and_only_stores_them(self) -> None:
        parameters = inspect.signature(self.strategy).parameters
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters.values())
        given = {name: object() for name in parameters}
        assert vars(self.strategy(**given)) == given

    def test_options_can_be_recorded(self) -> None:
        options = options_of(self.make_strategy())
        assert json.loads(json.dumps(options, allow_nan=False)).keys() == options.keys()
        assert parse_call(label(self.make_strategy()))[0] == self.strategy.name

    def test_phases_add_up_to_the_time_charged(self) -> None:
        _, task = self.searched()
        assert sum(task.seconds.values()) == task.elapsed, "a phase has not ended"
        assert all(seconds >= 0 for seconds in task.seconds.values())
        assert task.seconds["search"] >= sum(trial.seconds["search"] for trial in task.history)

    def test_only_training_and_validation_rows_can_be_reached(self) -> None:
        strategy, task = self.make_strategy(), make_task()
        known = {len(task.train), len(task.valid)}
        strategy.search(task)
        rows = [array for array in reachable_arrays((task, strategy)) if array.ndim == 2 and array.dtype == np.int32]
        assert {len(ids) for ids in rows if ids.shape[1] == len(task.fields)} == known
