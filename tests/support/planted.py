"""Tasks whose trials come out as planted, without training: tests of what strategies ask for and what they learn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest

from autodpq.choices import DPQ, Choice, Full
from autodpq.costs import BandLedger, Dense, Ledger, ledger, prices
from autodpq.plan import CompressionPlan, Field
from autodpq.search.strategy import Strategy
from autodpq.search.task import SearchTask
from autodpq.testing import MemoryJournal, make_samples
from autodpq.training.recipes import Recipe
from autodpq.trial import Budget, Outcome, Pretrained, Prune, Trial, never

PAIRS = tuple(DPQ(k, d) for k in (8, 16, 32) for d in (2, 4, 8))
SPACE: dict[str, Sequence[Choice]] = {"user": PAIRS, "gender": (Full(),), "movie": PAIRS, "zip": PAIRS}

# The validation AUC after each epoch of a trial, by its number and plan.
Curve = Callable[[int, CompressionPlan], Sequence[float]]


def pairs_met(number: int, plan: CompressionPlan) -> list[float]:
    """One epoch; the AUC says how many fields have the best pair."""
    best = {"user": PAIRS[2], "movie": PAIRS[7], "zip": PAIRS[4]}
    return [0.7 + 0.02 * sum(plan.get(name) == choice for name, choice in best.items())]


class PlantedExecutor:
    """An :class:`autodpq.search.task.Executor` that trains nothing.

    Args:
        curve: What the trials come to.
        fails: Numbers of trials that fail after the epochs that the curve gives them.
        stops_at: The trial at which the run is interrupted as by Ctrl-C.

    Attributes:
        wanted: How many trials a strategy has asked for each time; of equal plans one is trained.
        batches: How many it was given each time.
        asked: Number and epoch of every question about pruning, in order.
        trained: Numbers of the trials that it was given, in order.
    """

    def __init__(self, curve: Curve = pairs_met, *, fails: Collection[int] = (), stops_at: int | None = None) -> None:
        self.curve = curve
        self.fails = fails
        self.stops_at = stops_at
        self.wanted: list[int] = []
        self.batches: list[int] = []
        self.asked: list[tuple[int, int]] = []
        self.trained: list[int] = []

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """One trial after another."""
        self.batches.append(len(plans))
        for number, plan in zip(numbers, plans, strict=True):
            if number == self.stops_at:
                raise KeyboardInterrupt
            self.trained.append(number)
            curve = self.curve(number, plan)
            yield self.outcome(number, curve, lambda number, aucs: self.ask(prune, number, aucs))

    def ask(self, prune: Prune, number: int, valid_aucs: Sequence[float]) -> bool:
        """Asks, and keeps that it did."""
        self.asked.append((number, len(valid_aucs)))
        return prune(number, valid_aucs)

    def outcome(self, number: int, curve: Sequence[float], prune: Prune) -> Outcome:
        """What a trial comes to."""
        last = len(curve) if number not in self.fails else len(curve) + 1
        for epoch in range(1, last):
            if prune(number, tuple(curve[:epoch])):
                return Outcome(None, None, 0.0, tuple(curve[:epoch]), None)
        if number in self.fails:
            return Outcome(None, None, 0.0, tuple(curve), None, "RuntimeError: made to fail")
        return Outcome(max(curve), 0.5, 0.0, tuple(curve), None)


class SideBySideExecutor(PlantedExecutor):
    """All trials of a batch go on by one epoch before any goes on by a second."""

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Answers are given epoch by epoch, outcomes in the order of the plans."""
        self.batches.append(len(plans))
        curves = {number: self.curve(number, plan) for number, plan in zip(numbers, plans, strict=True)}
        answers: dict[int, list[bool]] = {number: [] for number in curves}
        for epoch in range(1, max(map(len, curves.values()), default=0) + 1):
            for number, curve in curves.items():
                asks = epoch < len(curve) or (epoch == len(curve) and number in self.fails)
                if asks and True not in answers[number]:
                    answers[number].append(self.ask(prune, number, tuple(curve[:epoch])))
        for number, curve in curves.items():
            yield self.outcome(number, curve, lambda number, aucs: answers[number][len(aucs) - 1])


class _Trainer:
    """What a task and strategies that only try plans read of a trainer."""

    def __init__(self, fields: Sequence[Field], seed: int, recipe: Recipe) -> None:
        self.fields = tuple(fields)
        self.seed = seed
        self.recipe = recipe

    def ledger(self, plan: CompressionPlan) -> Ledger:
        return ledger(self.fields, plan, self.recipe.embedding_dim)

    def prices(self, space: Mapping[str, Sequence[Choice]]) -> tuple[dict[str, list[int]], int]:
        return prices(self.fields, space, self.recipe.embedding_dim, first_order=False, dense=Dense(), compact=False)


class _Task(SearchTask):
    """Tells its executor how many trials are asked for."""

    def evaluate_many(self, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Trial]:
        assert isinstance(self._executor, PlantedExecutor)
        self._executor.wanted.append(len(plans))
        return super().evaluate_many(plans, prune)


def planted_task(
    executor: PlantedExecutor | None = None,
    *,
    seed: int = 0,
    trials: int | None = 20,
    max_bytes: int | None = None,
    space: Mapping[str, Sequence[Choice]] = SPACE,
    journal: MemoryJournal | None = None,
    max_epochs: int = 16,
) -> SearchTask:
    """A task of any fields and candidates whose trials the executor makes up."""
    fields = [Field(name, 1000, 10) if len(row) > 1 else Field(name, 3, 3) for name, row in space.items()]
    trainer: Any = _Trainer(fields, seed, Recipe("planted", max_epochs=max_epochs))
    rows = make_samples(4, seed=1)
    executor, journal = executor or PlantedExecutor(), journal or MemoryJournal()
    pretrained = Pretrained({}, 0.0, 1)
    return _Task(trainer, rows, rows, space, Budget(trials, max_bytes), pretrained, "pretrained", executor, journal)


def searched(strategy: Strategy, executor: PlantedExecutor | None = None, **options: Any) -> tuple[Trial, ...]:
    """The trials of a search in a planted task."""
    task = planted_task(executor, **options)
    strategy.search(task)
    return task.history


def plans_tried(strategy: Strategy, seed: int, trials: int) -> list[CompressionPlan]:
    """The plans of a search; another process can be made to call this."""
    return [trial.plan for trial in searched(strategy, seed=seed, trials=trials)]


def numbers_of(plan: CompressionPlan) -> str:
    """A plan of :data:`SPACE` as one digit per searched field: its pair's place in :data:`PAIRS`."""
    return "".join(str(PAIRS.index(plan[name])) for name in ("user", "movie", "zip"))  # type: ignore[arg-type]


def made_trial(number: int, valid_auc: float | None, size: int) -> Trial:
    """A trial of an AUC and of so many bytes; None is one that failed."""
    state = "complete" if valid_auc is not None else "failed"
    error = None if valid_auc is not None else "RuntimeError: made to fail"
    plan = CompressionPlan({"user": PAIRS[number % len(PAIRS)]})
    return Trial(number, plan, state, valid_auc, 0.5, Ledger((BandLedger("user", 0, 8 * size, 0),)), error=error)


# Trials that are planted to fail come before, after and just ahead of where it stops in every fourth place; the slow
# suite stops everywhere.
STOPS = pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])


def resumed_as_uninterrupted(
    strategy: Strategy, make_executor: Callable[[int | None], PlantedExecutor], every: int
) -> None:
    """Asserts that a search goes on as if it had not been stopped.

    Args:
        strategy: Searches.
        make_executor: Makes an executor that stops at the given trial.
        every: It is stopped before the first trial and every so many later.
    """
    executor = make_executor(None)
    whole = searched(strategy, executor)
    assert executor.trained, "some trial can be stopped"
    states_and_plans = [(trial.state, trial.plan, trial.valid_aucs) for trial in whole]
    for stop in range(0, len(whole), every):
        if stop not in executor.trained:  # it repeats a plan, which takes no time that it could be stopped in
            continue
        journal = MemoryJournal()
        with pytest.raises(KeyboardInterrupt):
            searched(strategy, make_executor(stop), journal=journal)
        assert len(journal.trials) == stop
        again = searched(strategy, make_executor(None), journal=journal)
        assert [(trial.state, trial.plan, trial.valid_aucs) for trial in again] == states_and_plans
