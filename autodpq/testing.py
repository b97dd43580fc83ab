"""The contract that every strategy must keep, as tests for the authors of plug-ins (needs pytest).

In a test module of one's own, this is all::

    class TestMine(StrategyContract):
        strategy = Mine
"""

from __future__ import annotations

import inspect
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from autodpq.choices import DPQ, Choice, Full
from autodpq.data.dataset import Samples
from autodpq.models.deepfm import DeepFM
from autodpq.plan import CompressionPlan, Field
from autodpq.plugins.options import label, options_of, parse_call
from autodpq.search.strategy import Strategy
from autodpq.search.task import SearchTask
from autodpq.training.attempt import pruned_by, train_one
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Budget, Outcome, Phase, Pretrained, Prune, Trial, check_plan

FIELDS = (Field("user", 40, 12), Field("item", 24, 8), Field("device", 3, 3))
CANDIDATES = (DPQ(2, 1), DPQ(2, 2), DPQ(4, 2))
RECIPE = Recipe("toy", embedding_dim=4, hidden=(4,), batch_size=64, patience=1, max_epochs=2)


def make_samples(rows: int, seed: int) -> Samples:
    """Generated rows of :data:`FIELDS` whose clicks depend on all of them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sizes = np.array([field.cardinality for field in FIELDS])
    ids = (sizes * rng.random((rows, len(FIELDS))) ** 2).astype(np.int32)
    logits = np.sin(ids * [1.0, 2.0, 3.0]).sum(axis=1)
    return Samples(ids, (rng.random(rows) < 1 / (1 + np.exp(-2 * logits))).astype(np.uint8))


class MemoryJournal:
    """A :class:`autodpq.search.task.Journal` in memory; it outlives a search, as a run's folder does."""

    def __init__(self) -> None:
        self.trials: list[Trial] = []
        self.points: list[tuple[float, Phase, float]] = []

    def finished_trials(self) -> Sequence[Trial]:
        """The trials so far."""
        return tuple(self.trials)

    def add_trial(self, trial: Trial, state: Mapping[str, Tensor] | None) -> None:
        """Keeps a trial."""
        self.trials.append(trial)

    def add_point(self, seconds: float, phase: Phase, valid_auc: float, reached_by: Network | Trial | None) -> None:
        """Keeps a point."""
        self.points.append((seconds, phase, valid_auc))


class ToyExecutor:
    """An :class:`autodpq.search.task.Executor` that counts, and fails or stops where it is told to.

    Args:
        fails_at: Which of its plans, from 0, comes out as an error.
        stops_at: Which of its plans, from 0, is interrupted as by Ctrl-C.

    Attributes:
        trained: The plans that it was given, in order.
    """

    def __init__(self, *, fails_at: int | None = None, stops_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.stops_at = stops_at
        self.trained: list[CompressionPlan] = []
        self.trainer: Trainer | None = None
        self.start: Mapping[str, Tensor] | None = None

    def __call__(self, plans: Sequence[CompressionPlan], first: int, prune: Prune) -> Iterator[Outcome]:
        """Trains plans one after another."""
        assert self.trainer is not None, "make_task gives the executor its trainer"
        for number, plan in enumerate(plans, first):
            if len(self.trained) == self.stops_at:
                raise KeyboardInterrupt
            self.trained.append(plan)
            if len(self.trained) - 1 == self.fails_at:
                yield Outcome(None, None, 0.0, (), None, "RuntimeError: made to fail")
            else:
                yield train_one(self.trainer, plan, self.start, pruned_by(prune, number))


def make_task(
    seed: int = 0,
    trials: int | None = 3,
    journal: MemoryJournal | None = None,
    executor: ToyExecutor | None = None,
) -> SearchTask:
    """A task of a few hundred generated rows: three fields, of which two have rare values, and three candidates.

    Args:
        seed: The run's seed; the rows are always the same.
        trials: The budget; None leaves it to the strategy.
        journal: What an interrupted search left, or where to keep what this one tells.
        executor: Trains plans.
    """
    train, valid = make_samples(320, seed=1), make_samples(160, seed=2)
    trainer = Trainer(FIELDS, DeepFM, RECIPE, seed, torch.device("cpu"), train, valid)
    network, result = trainer.pretrain()
    pretrained = Pretrained(network.state_dict(), result.seconds, result.epochs)
    executor = executor or ToyExecutor()
    executor.trainer, executor.start = trainer, pretrained.state
    full: tuple[Choice, ...] = (Full(),)
    space = {field.name: CANDIDATES if field.tail else full for field in FIELDS}
    journal = journal or MemoryJournal()
    return SearchTask(trainer, train, valid, space, Budget(trials), pretrained, "pretrained", executor, journal)


def reachable_arrays(root: object) -> Iterator[npt.NDArray[Any]]:
    """All arrays and tensors that can be come by from an object, through attributes, items, closures and views."""
    waiting, seen = [root], {id(root): root}
    while waiting:
        thing = waiting.pop()
        found: list[object] = []
        if isinstance(thing, np.ndarray):
            yield thing
            found.append(thing.base)
        elif isinstance(thing, Tensor):
            yield thing.detach().cpu().numpy()
        elif isinstance(thing, Mapping):
            found += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            found += thing
        if isinstance(thing, nn.Module):
            found += [*thing.parameters(), *thing.buffers()]
        if inspect.ismethod(thing):
            found.append(thing.__self__)
        if inspect.isfunction(thing):
            found += [cell.cell_contents for cell in thing.__closure__ or ()]
        found += getattr(thing, "__dict__", {}).values() if not inspect.isclass(thing) else ()
        found += [getattr(thing, name, None) for name in getattr(type(thing), "__slots__", ())]
        for other in found:
            if id(other) not in seen and not inspect.ismodule(other):
                seen[id(other)] = other  # kept alive, lest another object get its id
                waiting.append(other)


def _search_elsewhere(strategy: Strategy, seed: int) -> str:
    return strategy.search(make_task(seed)).to_json()


def _without_times(history: Sequence[Trial]) -> list[Trial]:
    return [replace(trial, seconds={}) for trial in history]


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

    def test_plan_covers_every_field_and_fits_the_space(self) -> None:
        plan, task = self.search()
        check_plan(plan, task.fields, task.space)
        for trial in task.history:
            check_plan(trial.plan, task.fields, task.space)

    def test_plan_survives_json(self) -> None:
        plan, _ = self.search()
        assert CompressionPlan.from_json(plan.to_json()) == plan

    def test_same_seed_gives_the_same_search(self) -> None:
        for seed in (0, 1):
            (plan, task), (again, task_again) = self.search(seed=seed), self.search(seed=seed)
            assert plan == again
            assert _without_times(task.history) == _without_times(task_again.history)

    def test_same_seed_gives_the_same_plan_in_another_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONHASHSEED", "12345")
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            elsewhere = pool.submit(_search_elsewhere, self.make_strategy(), 1).result()
        assert elsewhere == self.search(seed=1)[0].to_json()

    def test_interrupted_search_goes_on_as_if_it_had_not_been(self) -> None:
        plan, whole = self.search()
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
        _, task = self.search()
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
        _, task = self.search()
        assert sum(task.seconds.values()) == task.elapsed, "a phase has not ended"
        assert all(seconds >= 0 for seconds in task.seconds.values())
        assert task.seconds["search"] >= sum(trial.seconds["search"] for trial in task.history)

    def test_only_training_and_validation_rows_can_be_reached(self) -> None:
        strategy, task = self.make_strategy(), make_task()
        known = {len(task.train), len(task.valid)}
        strategy.search(task)
        rows = [array for array in reachable_arrays((task, strategy)) if array.ndim == 2 and array.dtype == np.int32]
        assert {len(ids) for ids in rows if ids.shape[1] == len(task.fields)} == known
