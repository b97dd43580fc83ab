"""All that a strategy may see, and what the runner gives it to work with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan, Field, bands_of
from autodpq.search.knapsack import best_within, drawn_within, near_within
from autodpq.trial import (
    PHASES,
    Budget,
    Outcome,
    Phase,
    Pretrained,
    Prune,
    Rises,
    Space,
    Trial,
    check_bytes,
    check_plan,
    never,
)

if TYPE_CHECKING:
    from torch import Tensor

    from autodpq.data.dataset import Samples
    from autodpq.training.network import Network
    from autodpq.training.trainer import Trainer


class Executor(Protocol):
    """Trains plans; the runner decides where."""

    def __call__(self, plans: Sequence[CompressionPlan], numbers: Sequence[int], prune: Prune) -> Iterator[Outcome]:
        """Yields the outcomes in the order of the plans, whose trials have these rising numbers.

        Wherever plans are trained, ``prune`` is asked here, in the order that :data:`autodpq.trial.Prune` promises.
        """
        ...


class Journal(Protocol):
    """What a task tells the runner."""

    def finished_trials(self) -> Sequence[Trial]:
        """Trials that an interrupted run had finished, by number."""
        ...

    def add_trial(self, trial: Trial, state: Mapping[str, Tensor] | None) -> None:
        """A trial ended; its weights are given where it is the best so far."""
        ...

    def add_point(self, seconds: float, phase: Phase, valid_auc: float, reached_by: Network | Trial | None) -> None:
        """The search reached a validation AUC at a time; what reached it is given where it is the best so far."""
        ...


@dataclass(frozen=True)
class HandOver:
    """What the final training starts from.

    Attributes:
        network: The network.
        trained: Whether it is final as it is.
    """

    network: Network
    trained: bool


class SearchTask:
    """All that a strategy may see: fields, candidates, training and validation rows, and ways to try plans.

    What it hands out is a copy, or cannot be changed: what one strategy does must not reach the next.

    Args:
        trainer: Builds and trains networks.
        train: Training rows.
        valid: Validation rows.
        space: Candidates of each field, never empty.
        budget: What the search may spend.
        pretrained: The FE network.
        init: Whether plans are trained from the pretrained table or from nothing.
        executor: Trains plans.
        journal: Is told of trials and points.
        rises: Says how much the loss rises under each candidate; None for finding it out when it is asked for.
    """

    def __init__(
        self,
        trainer: Trainer,
        train: Samples,
        valid: Samples,
        space: Space,
        budget: Budget,
        pretrained: Pretrained,
        init: Literal["pretrained", "scratch"],
        executor: Executor,
        journal: Journal,
        rises: Callable[[], Rises] | None = None,
    ) -> None:
        self.handed_over: HandOver | None = None
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.epochs: dict[str, int] = dict.fromkeys(PHASES, 0)
        self._trainer = trainer
        self._fields = trainer.fields
        self._space = MappingProxyType({name: tuple(candidates) for name, candidates in space.items()})
        self._budget = budget
        self._seed = trainer.seed
        self._train = train
        self._valid = valid
        self._init = init
        self._history: tuple[Trial, ...] = ()
        self._pretrained = pretrained
        self._executor = executor
        self._journal = journal
        self._rises = rises
        self._best_auc = -np.inf
        self._running: tuple[Phase, float] | None = None

    @property
    def trainer(self) -> Trainer:
        """Builds and trains networks."""
        return self._trainer

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields, in the order of the ids' columns."""
        return self._fields

    @property
    def space(self) -> Space:
        """Candidates of each field."""
        return self._space

    @property
    def budget(self) -> Budget:
        """What the search may spend."""
        return self._budget

    @property
    def seed(self) -> int:
        """Seeds whatever is drawn."""
        return self._seed

    @property
    def train(self) -> Samples:
        """Training rows."""
        return self._train

    @property
    def valid(self) -> Samples:
        """Validation rows."""
        return self._valid

    @property
    def init(self) -> Literal["pretrained", "scratch"]:
        """Whether plans are trained from the pretrained table or from nothing."""
        return self._init

    @property
    def history(self) -> tuple[Trial, ...]:
        """The trials so far."""
        return self._history

    def best_within(self, losses: Mapping[str, Sequence[float]]) -> CompressionPlan:
        """Of all plans within the budget's bytes the one of least loss, a sum over bands; of all plans without a limit.

        Args:
            losses: Of each band's candidates, in the order of the space.

        Raises:
            AutoDPQError: No plan is within the budget.
        """
        if self.budget.bytes is None:
            least = [losses[band.name] for band in bands_of(self.fields)]
            return self._plan_of([min(range(len(row)), key=row.__getitem__) for row in least])
        prices, left = self._prices()
        chosen = best_within([*prices.values()], [losses[name] for name in prices], left)
        return self._plan_of(chosen)

    def drawn_within(self, rng: np.random.Generator) -> CompressionPlan:
        """A plan drawn evenly from all that are within the budget's bytes.

        Raises:
            AutoDPQError: No plan is within the budget, or the budget has no bytes.
        """
        prices, left = self._prices()
        return self._plan_of(drawn_within([*prices.values()], left, rng))

    def shrunk(self, plan: CompressionPlan, rng: np.random.Generator) -> CompressionPlan:
        """A plan within the budget's bytes near one that may be above it.

        In an order that is drawn, each band gets its candidate of the plan, or the dearest below it that there is room
        for, see :func:`~autodpq.search.knapsack.near_within`.

        Raises:
            AutoDPQError: No plan is within the budget, or the budget has no bytes.
        """
        prices, left = self._prices()
        asked = [list(self.space[name]).index(plan[name]) for name in prices]
        chosen = near_within([*prices.values()], asked, left, rng)
        return self._plan_of(chosen)

    def _prices(self) -> tuple[Mapping[str, Sequence[int]], int]:
        """Bytes of each band's candidates, and what of the budget they may take together."""
        if self.budget.bytes is None:
            raise AutoDPQError("budget: bytes are needed; give --budget")
        prices, fixed = self.trainer.prices(self.space)
        return prices, self.budget.bytes - fixed

    def _plan_of(self, chosen: Sequence[int]) -> CompressionPlan:
        rows = zip(bands_of(self.fields), chosen, strict=True)
        return CompressionPlan({band.name: self.space[band.name][option] for band, option in rows})

    def rng(self, trial_number: int) -> np.random.Generator:
        """A generator for one trial, seeded by (seed, trial number): a resumed run draws what it would have drawn."""
        return np.random.default_rng([self.seed, trial_number])

    def pretrained(self) -> Mapping[str, Tensor]:
        """A copy of the FE network's weights; charged to the run at the first call."""
        self.charge_pretraining()
        return {name: value.clone() for name, value in self._pretrained.state.items()}

    def rises(self) -> Mapping[str, tuple[float, ...]]:
        """How much the loss of the training rows rises under each candidate of each band, to second order.

        It is the same for all searches of a pretrained network, whatever their budget: found once, it is charged to
        each of them that asks for it.

        Returns:
            By band the rise of the sum of cross entropies, in the order of the space.
        """
        self._stop_clock()
        self.charge_pretraining()
        find = self._rises
        if find is None:
            from autodpq.search.sensitivity import rises

            find = partial(rises, self.trainer, self.pretrained(), self.space)
        found = find()
        self.seconds["search"] += found.seconds
        self._start_clock()
        return dict(found.losses)

    def charge_pretraining(self) -> None:
        """Charges the pretrained network to the run, once."""
        if not self.epochs["pretrain"]:
            self.seconds["pretrain"] += self._pretrained.seconds
            self.epochs["pretrain"] = self._pretrained.epochs

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Times what is inside. Training of trials is not counted again: they bring their own seconds.

        Raises:
            AutoDPQError: Phases are nested, or the name is none of them.
        """
        if name not in PHASES:
            raise AutoDPQError(f"phase {name!r}: expected one of {', '.join(PHASES)}")
        if self._running is not None:
            raise AutoDPQError(f"phase {name!r} starts inside phase {self._running[0]!r}: end that one first")
        self._running = (name, time.perf_counter())
        try:
            yield
        finally:
            self._stop_clock()
            self._running = None

    def _stop_clock(self) -> None:
        if self._running is not None:
            name, begin = self._running
            self.seconds[name] += time.perf_counter() - begin

    def _start_clock(self) -> None:
        if self._running is not None:
            self._running = (self._running[0], time.perf_counter())

    @property
    def elapsed(self) -> float:
        """Seconds charged so far."""
        running = time.perf_counter() - self._running[1] if self._running is not None else 0.0
        return sum(self.seconds.values()) + running

    def report(self, valid_auc: float, network: Network | None = None) -> None:
        """A point on the anytime curve.

        Args:
            valid_auc: Validation AUC reached.
            network: What reached it; without it the point has no test value.
        """
        seconds = self.elapsed
        self._stop_clock()
        self._add_point(seconds, valid_auc, network)
        self._start_clock()

    def _add_point(self, seconds: float, valid_auc: float, reached_by: Network | Trial | None) -> None:
        best = valid_auc > self._best_auc
        self._best_auc = max(valid_auc, self._best_auc)
        phase = self._running[0] if self._running is not None else "search"
        self._journal.add_point(seconds, phase, valid_auc, reached_by if best else None)

    def evaluate(self, plan: CompressionPlan) -> Trial:
        """Trains the network of a plan and evaluates it on validation rows.

        Raises:
            AutoDPQError: The plan does not fit the space or the budget, or the budget is spent.
        """
        return self.evaluate_many([plan])[0]

    def evaluate_many(self, plans: Sequence[CompressionPlan], prune: Prune = never) -> list[Trial]:
        """Evaluates plans, in parallel where the executor can; trials come in the order of the plans.

        The same plan comes to the same digits: it is trained once, and a trial that repeats it takes over what came of
        it, at no time and no epochs; unless trials may be pruned, for whether one is depends on those before it.

        Args:
            plans: What to train.
            prune: Ends trials early.

        Raises:
            AutoDPQError: A plan does not fit the space or the budget, or the budget is spent.
        """
        for plan in plans:
            check_plan(plan, self.fields, self.space)
            check_bytes(self.trainer.ledger(plan), self.budget)
        first = len(self.history)
        limit = self.budget.trials
        if limit is not None and first + len(plans) > limit:
            raise AutoDPQError(f"trials: {first + len(plans)} asked for, the budget is {limit}")
        self._stop_clock()
        if self.init == "pretrained":
            self.charge_pretraining()
        finished = {trial.number: trial for trial in self._journal.finished_trials()}
        kept = []
        for number, plan in enumerate(plans, first):
            if number not in finished or finished[number].plan != plan:
                break
            kept.append(finished[number])
        for trial in kept:
            if prune is not never:
                self._replay(trial, prune)
            self._record(trial)
        left = plans[len(kept) :]
        for plan, outcome in zip(left, self._outcomes(left, prune), strict=True):
            self._add(plan, outcome)
        self._start_clock()
        return list(self.history[first:])

    def _outcomes(self, plans: Sequence[CompressionPlan], prune: Prune) -> Iterator[Outcome]:
        """What training the plans comes to; each is in the history before the next one is asked for."""
        numbers = range(len(self.history), len(self.history) + len(plans))
        if prune is not never:
            yield from self._executor(plans, numbers, prune)
            return
        # By plan the number of the trial that trains it.
        trained = {trial.plan: trial.number for trial in reversed(self.history) if trial.state != "pruned"}
        for number, plan in zip(numbers, plans, strict=True):
            trained.setdefault(plan, number)
        fresh = {number: plan for plan, number in trained.items() if number in numbers}
        outcomes = zip(fresh, self._executor([*fresh.values()], [*fresh], prune), strict=True)
        for number, plan in zip(numbers, plans, strict=True):
            yield next(outcomes)[1] if number in fresh else _again(self.history[trained[plan]])
        next(outcomes, None)  # it says so where there are more of them

    def _replay(self, trial: Trial, prune: Prune) -> None:
        """Asks what was asked when the trial was trained, so that a pruner knows what it would have known."""
        asked = trial.epochs - 1 if trial.state == "complete" else trial.epochs
        for epoch in range(1, asked + 1):
            prune(trial.number, trial.valid_aucs[:epoch])

    def _record(self, trial: Trial) -> None:
        self._history = (*self.history, trial)
        for name, seconds in trial.seconds.items():
            self.seconds[name] += seconds
        self.epochs["search"] += trial.epochs
        if trial.valid_auc is not None:
            self._add_point(sum(self.seconds.values()), trial.valid_auc, trial)

    def _add(self, plan: CompressionPlan, outcome: Outcome) -> None:
        best = outcome.valid_auc is not None and all(
            trial.valid_auc is None or outcome.valid_auc > trial.valid_auc for trial in self.history
        )
        trial = Trial(
            number=len(self.history),
            plan=plan,
            state=outcome.kind,
            valid_auc=outcome.valid_auc,
            valid_logloss=outcome.valid_logloss,
            ledger=self.trainer.ledger(plan),
            seconds={"search": outcome.seconds},
            epochs=len(outcome.valid_aucs) if outcome.attempts else 0,
            error=outcome.error,
            valid_aucs=tuple(outcome.valid_aucs),
            attempts=outcome.attempts,
            traceback=outcome.traceback,
        )
        self._journal.add_trial(trial, outcome.state if best else None)
        self._record(trial)

    def hand_over(self, network: Network, *, trained: bool = False) -> None:
        """Says what the final training starts from, instead of the pretrained table and k-means.

        Args:
            network: The network of the plan that the strategy gives back.
            trained: Whether it is final as it is: no training follows.

        Raises:
            AutoDPQError: It is no network.
        """
        from autodpq.training.network import Network

        if not isinstance(network, Network):
            raise AutoDPQError(f"hand_over: {network!r} given, a Network is needed")
        self.handed_over = HandOver(network, trained)


def _again(trial: Trial) -> Outcome:
    """The outcome of a trial that repeats the plan of an earlier one."""
    return Outcome(trial.valid_auc, trial.valid_logloss, 0.0, trial.valid_aucs, None, trial.error, 0, trial.traceback)
