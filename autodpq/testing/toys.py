"""A task of generated rows that is searched in a blink, and what a search is given and tells."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices import DPQ, Choice, Full
from autodpq.data.dataset import Samples
from autodpq.models.deepfm import DeepFM
from autodpq.plan import CompressionPlan, Field
from autodpq.search.task import Executor, Journal, SearchTask
from autodpq.training.attempt import pruned_by, train_one
from autodpq.training.network import Network
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import Trainer
from autodpq.trial import Budget, Outcome, Phase, Pretrained, Prune, Trial

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

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Trains plans one after another."""
        assert self.trainer is not None, "make_task gives the executor its trainer"
        for number, plan in zip(numbers, plans, strict=True):
            if len(self.trained) == self.stops_at:
                raise KeyboardInterrupt
            self.trained.append(plan)
            if len(self.trained) - 1 == self.fails_at:
                yield Outcome(None, None, 0.0, (), None, "RuntimeError: made to fail")
            else:
                yield train_one(self.trainer, plan, self.start, pruned_by(prune, number))


def _rows() -> tuple[Samples, Samples]:
    return make_samples(320, seed=1), make_samples(160, seed=2)


def make_trainer(seed: int = 0) -> Trainer:
    """What the tasks that :func:`make_task` makes train with, for a journal that must know it beforehand."""
    return Trainer(FIELDS, DeepFM, RECIPE, seed, torch.device("cpu"), *_rows())


@cache
def _pretrained(seed: int) -> Pretrained:
    """Trained once per process, as a study does; whoever gets it gets a copy."""
    network, result = make_trainer(seed).pretrain()
    return Pretrained(network.state_dict(), result.seconds, result.epochs)


def make_task(
    seed: int = 0,
    trials: int | None = 3,
    journal: Journal | None = None,
    executor: Executor | None = None,
    init: Literal["pretrained", "scratch"] = "pretrained",
    candidates: Sequence[Choice] = CANDIDATES,
) -> SearchTask:
    """A task of a few hundred generated rows: three fields, of which two have rare values, and three candidates.

    Args:
        seed: The run's seed; the rows are always the same.
        trials: The budget; None leaves it to the strategy.
        journal: What an interrupted search left, or where to keep what this one tells.
        executor: Trains plans; a :class:`ToyExecutor` does so in earnest.
        init: Whether plans are trained from the pretrained table or from nothing.
        candidates: Of each field that has rare values.
    """
    trainer, (train, valid) = make_trainer(seed), _rows()
    known = _pretrained(seed)
    pretrained = replace(known, state={name: value.clone() for name, value in known.state.items()})
    executor = executor or ToyExecutor()
    if isinstance(executor, ToyExecutor):
        executor.trainer, executor.start = trainer, pretrained.state if init == "pretrained" else None
    full: tuple[Choice, ...] = (Full(),)
    space = {field.name: candidates if field.tail else full for field in FIELDS}
    journal = journal or MemoryJournal()
    return SearchTask(trainer, train, valid, space, Budget(trials), pretrained, init, executor, journal)


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
