"""The contract itself: what breaks it must not pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
from support.cheats import DependsOnTheProcess

from autodpq.choices import DPQ, Others
from autodpq.data.dataset import Samples
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, uniform_plan
from autodpq.search.strategy import AskTellStrategy, Strategy
from autodpq.search.task import SearchTask
from autodpq.testing import MemoryJournal, StrategyContract, ToyExecutor, make_samples, make_task, reachable_arrays
from autodpq.trial import Space, Trial, never


class _Sound(AskTellStrategy):
    name: ClassVar[str] = "sound"

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        return CompressionPlan({name: choices[rng.integers(len(choices))] for name, choices in space.items()})


class _GlobalDraws(_Sound):
    """Draws from a generator that lives across trials and searches."""

    generator = np.random.default_rng(0)

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        return super().ask(number, space, self.generator, history)


class _Resumes(_Sound):
    """Draws from a generator that is made anew by every search, but not by the trial's number."""

    def search(self, task: SearchTask) -> CompressionPlan:
        rng = np.random.default_rng(len(task._journal.finished_trials()))
        for number in range(self.n_trials(task)):
            task.evaluate(self.ask(number, task.space, rng, task.history))
        return task.history[-1].plan


class _Greedy(_Sound):
    """Asks for more than the budget."""

    def n_trials(self, task: SearchTask) -> int:
        return 3


class _Trainer(_Sound):
    """Trains plans past the task, so that the budget does not see them."""

    def search(self, task: SearchTask) -> CompressionPlan:
        for number in range(3):
            list(task._executor([self.ask(number, task.space, task.rng(number), ())], [number], never))
        return super().search(task)


class _Outside(_Sound):
    """Gives back a choice that is no candidate."""

    def search(self, task: SearchTask) -> CompressionPlan:
        return uniform_plan(task.fields, DPQ(64, 4))


class _Short(_Sound):
    """Leaves a field out."""

    def search(self, task: SearchTask) -> CompressionPlan:
        return CompressionPlan({task.fields[0].name: Others()})


class _GivesUp(_Sound):
    """Stops at a trial that failed."""

    def search(self, task: SearchTask) -> CompressionPlan:
        for number in range(self.n_trials(task)):
            trial = task.evaluate(self.ask(number, task.space, task.rng(number), ()))
            if trial.state == "failed":
                break
        return trial.plan


class _Positional(_Sound):
    def __init__(self, epochs: int = 1) -> None:
        self.epochs = epochs


class _Computes(_Sound):
    def __init__(self, *, epochs: int = 1) -> None:
        self.epochs = epochs
        self.doubled = (epochs, epochs)


class _Renames(_Sound):
    def __init__(self, *, epochs: int = 1) -> None:
        self.n_epochs = epochs


class _Unwritable(_Sound):
    """Has an option that no record can hold."""

    def __init__(self, *, weight: float = float("nan")) -> None:
        self.weight = weight


class _Swallows(_Sound):
    """Takes whatever it is given, so that a mistyped option goes unseen."""

    def __init__(self, **options: int) -> None:
        self.__dict__.update(options)


class _NeverEnds(_Sound):
    """Leaves a phase open."""

    kept: ClassVar[list[object]] = []

    def search(self, task: SearchTask) -> CompressionPlan:
        phase = task.phase("search")
        self.kept.append(phase)  # else Python would end it
        phase.__enter__()
        return uniform_plan(task.fields, Others())


class _Spies(_Sound):
    """Keeps rows that the task did not give."""

    def search(self, task: SearchTask) -> CompressionPlan:
        self.kept = {"rows": [make_samples(77, seed=3)]}
        return super().search(task)


def contract_of(strategy: type[Strategy]) -> StrategyContract:
    contract = StrategyContract()
    contract.strategy = strategy  # type: ignore[misc]
    return contract


TESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("test_plan_covers_every_field_and_fits_the_space", {}),
    ("test_plan_survives_json", {}),
    ("test_same_seed_gives_the_same_search", {}),
    ("test_interrupted_search_goes_on_as_if_it_had_not_been", {}),
    ("test_budget_is_kept", {"trials": 1}),
    ("test_failed_trial_is_recorded_and_the_search_goes_on", {}),
    ("test_constructor_takes_keyword_options_and_only_stores_them", {}),
    ("test_options_can_be_recorded", {}),
    ("test_phases_add_up_to_the_time_charged", {}),
    ("test_only_training_and_validation_rows_can_be_reached", {}),
)


@pytest.mark.slow  # the sound ones are those of test_strategies.py
@pytest.mark.parametrize(("test", "arguments"), TESTS, ids=[name for name, _ in TESTS])
def test_a_sound_strategy_passes(test: str, arguments: dict[str, Any]) -> None:
    getattr(contract_of(_Sound), test)(**arguments)


@pytest.mark.parametrize(
    ("strategy", "test"),
    [
        (_GlobalDraws, "test_same_seed_gives_the_same_search"),
        (_Resumes, "test_interrupted_search_goes_on_as_if_it_had_not_been"),
        (_Greedy, "test_budget_is_kept"),
        (_Trainer, "test_budget_is_kept"),
        (_Outside, "test_plan_covers_every_field_and_fits_the_space"),
        (_Short, "test_plan_covers_every_field_and_fits_the_space"),
        (_GivesUp, "test_failed_trial_is_recorded_and_the_search_goes_on"),
        (_Positional, "test_constructor_takes_keyword_options_and_only_stores_them"),
        (_Computes, "test_constructor_takes_keyword_options_and_only_stores_them"),
        (_Renames, "test_constructor_takes_keyword_options_and_only_stores_them"),
        (_Swallows, "test_constructor_takes_keyword_options_and_only_stores_them"),
        (_Renames, "test_options_can_be_recorded"),
        (_Unwritable, "test_options_can_be_recorded"),
        (_NeverEnds, "test_phases_add_up_to_the_time_charged"),
        (_Spies, "test_only_training_and_validation_rows_can_be_reached"),
    ],
)
def test_a_strategy_that_breaks_the_contract_does_not_pass(strategy: type[Strategy], test: str) -> None:
    with pytest.raises((AssertionError, AutoDPQError, ValueError)):
        getattr(contract_of(strategy), test)(**dict(TESTS)[test])


@pytest.mark.slow  # it starts processes
def test_a_strategy_that_depends_on_the_process_does_not_pass() -> None:
    with pytest.raises(AssertionError):
        contract_of(DependsOnTheProcess).test_same_seed_gives_the_same_plan_in_another_process()


def test_pretraining_that_a_strategy_alters_is_that_of_no_other() -> None:
    for value in make_task().pretrained().values():
        value.zero_()
    assert any(value.any() for value in make_task().pretrained().values())


def test_toy_task_is_small_and_always_the_same() -> None:
    task, again = make_task(), make_task()
    assert [bool(field.tail) for field in task.fields] == [True, True, False]
    assert 2 <= len(task.space["user"]) <= 4 and len(task.train) < 1000
    np.testing.assert_array_equal(task.train.ids, again.train.ids)
    assert {0, 1} == set(task.train.labels) == set(task.valid.labels)
    assert (task.train.ids >= [field.head for field in task.fields]).any(axis=0).tolist() == [True, True, False]
    assert (task.train.ids < [field.cardinality for field in task.fields]).all()


def test_executor_and_journal_are_the_ones_given() -> None:
    journal, executor = MemoryJournal(), ToyExecutor()
    task = make_task(journal=journal, executor=executor)
    _Sound().search(task)
    assert executor.trained == [trial.plan for trial in journal.trials] and len(journal.points) == 3


def test_walk_finds_rows_wherever_they_hide() -> None:
    rows = make_samples(9, seed=1).ids

    class Holder:
        __slots__ = ("hidden",)

    slotted = Holder()
    slotted.hidden = rows
    hiding: list[object] = [{1: [rows]}, slotted, lambda: rows, Samples(rows, rows[:, 0]), rows[:3]]
    for place in hiding:
        assert any(array.shape == (9, 3) for array in reachable_arrays(place))
