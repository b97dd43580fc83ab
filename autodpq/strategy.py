"""The one interface of search strategies: a strategy gets a task and gives back a plan."""

from __future__ import annotations

import inspect
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np
from torch import Tensor

from autodpq.data.dataset import Samples
from autodpq.data.nearest import nearest
from autodpq.errors import AutoDPQError
from autodpq.ledger import Ledger
from autodpq.network import Network
from autodpq.plan import Choice, CompressionPlan, Field, Full, Others
from autodpq.trainer import Trainer

Phase = Literal["pretrain", "search", "retrain"]
PHASES: tuple[Phase, ...] = ("pretrain", "search", "retrain")
Space = Mapping[str, Sequence[Choice]]


@dataclass(frozen=True)
class Trial:
    """One plan, trained and evaluated on validation data.

    Attributes:
        number: From 0, in the order of asking.
        plan: The plan.
        state: ``complete``, ``pruned`` or ``failed``.
        valid_auc: Validation AUC of the best epoch; None unless complete.
        valid_logloss: Validation logloss of that epoch; None unless complete.
        ledger: What the plan costs.
        seconds: Seconds per phase.
        epochs: Epochs trained.
        error: Why the trial failed; None unless it did.
    """

    number: int
    plan: CompressionPlan
    state: Literal["complete", "pruned", "failed"]
    valid_auc: float | None
    valid_logloss: float | None
    ledger: Ledger
    seconds: Mapping[str, float] = field(default_factory=dict)
    epochs: int = 0
    error: str | None = None


def best_trial(history: Sequence[Trial]) -> Trial:
    """The complete trial of the best validation AUC; the first of equals.

    Raises:
        AutoDPQError: No trial is complete.
    """
    complete = [trial for trial in history if trial.valid_auc is not None]
    if not complete:
        reason = next((trial.error for trial in history if trial.error), "none was run")
        raise AutoDPQError(f"no trial is complete: {reason}")
    return max(complete, key=lambda trial: (trial.valid_auc or 0.0, -trial.number))


@dataclass(frozen=True)
class Budget:
    """What a search may spend.

    Attributes:
        trials: At most so many trials; None leaves it to the strategy.
    """

    trials: int | None = None


@dataclass(frozen=True)
class Pretrained:
    """The FE network, trained once per data set, model, recipe and seed.

    Attributes:
        state: Its weights.
        seconds: What training it took.
        epochs: Epochs trained.
    """

    state: Mapping[str, Tensor]
    seconds: float
    epochs: int


@dataclass(frozen=True)
class Outcome:
    """What training one plan came to.

    Attributes:
        valid_auc: None where it failed.
        valid_logloss: None where it failed.
        seconds: Of training.
        epochs: Epochs trained.
        state: The network's weights; None where it failed.
        error: Why it failed.
    """

    valid_auc: float | None
    valid_logloss: float | None
    seconds: float
    epochs: int
    state: Mapping[str, Tensor] | None
    error: str | None = None


class Executor(Protocol):
    """Trains plans; the runner decides where."""

    def __call__(self, plans: Sequence[CompressionPlan]) -> Iterator[Outcome]:
        """Yields the outcomes in the order of the plans."""
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
    ) -> None:
        self.trainer = trainer
        self.fields: tuple[Field, ...] = trainer.fields
        self.space = space
        self.budget = budget
        self.seed = trainer.seed
        self.train = train
        self.valid = valid
        self.init = init
        self.history: tuple[Trial, ...] = ()
        self.handed_over: HandOver | None = None
        self.seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self.epochs: dict[str, int] = dict.fromkeys(PHASES, 0)
        self._pretrained = pretrained
        self._executor = executor
        self._journal = journal
        self._best_auc = -np.inf
        self._running: tuple[Phase, float] | None = None

    def rng(self, trial_number: int) -> np.random.Generator:
        """A generator for one trial, seeded by (seed, trial number): a resumed run draws what it would have drawn."""
        return np.random.default_rng([self.seed, trial_number])

    def pretrained(self) -> Mapping[str, Tensor]:
        """Weights of the FE network; charged to the run at the first call."""
        if not self.epochs["pretrain"]:
            self.seconds["pretrain"] += self._pretrained.seconds
            self.epochs["pretrain"] = self._pretrained.epochs
        return self._pretrained.state

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
            AutoDPQError: The plan does not fit the space, or the budget is spent.
        """
        return self.evaluate_many([plan])[0]

    def evaluate_many(self, plans: Sequence[CompressionPlan]) -> list[Trial]:
        """Evaluates plans, in parallel where the executor can; trials come in the order of the plans.

        Raises:
            AutoDPQError: A plan does not fit the space, or the budget is spent.
        """
        for plan in plans:
            check_plan(plan, self.fields, self.space)
        first = len(self.history)
        limit = self.budget.trials
        if limit is not None and first + len(plans) > limit:
            raise AutoDPQError(f"trials: {first + len(plans)} asked for, the budget is {limit}")
        self._stop_clock()
        if self.init == "pretrained":
            self.pretrained()
        finished = {trial.number: trial for trial in self._journal.finished_trials()}
        kept = []
        for number, plan in enumerate(plans, first):
            if number not in finished or finished[number].plan != plan:
                break
            kept.append(finished[number])
        for trial in kept:
            self._record(trial)
        for plan, outcome in zip(plans[len(kept) :], self._executor(plans[len(kept) :]), strict=True):
            self._add(plan, outcome)
        self._start_clock()
        return list(self.history[first:])

    def _record(self, trial: Trial) -> None:
        self.history = (*self.history, trial)
        for name, seconds in trial.seconds.items():
            self.seconds[name] += seconds
        self.epochs["search"] += trial.epochs
        if trial.valid_auc is not None:
            self._add_point(sum(self.seconds.values()), trial.valid_auc, trial)

    def _add(self, plan: CompressionPlan, outcome: Outcome) -> None:
        best = outcome.valid_auc is not None and all(
            outcome.valid_auc > (trial.valid_auc or 0.0) for trial in self.history
        )
        trial = Trial(
            number=len(self.history),
            plan=plan,
            state="complete" if outcome.error is None else "failed",
            valid_auc=outcome.valid_auc,
            valid_logloss=outcome.valid_logloss,
            ledger=self.trainer.ledger(plan),
            seconds={"search": outcome.seconds},
            epochs=outcome.epochs,
            error=outcome.error,
        )
        self._journal.add_trial(trial, outcome.state if best else None)
        self._record(trial)

    def hand_over(self, network: Network, *, trained: bool = False) -> None:
        """Says what the final training starts from, instead of the pretrained table and k-means.

        Args:
            network: The network of the plan that the strategy gives back.
            trained: Whether it is final as it is: no training follows.
        """
        self.handed_over = HandOver(network, trained)


def check_plan(plan: CompressionPlan, fields: Sequence[Field], space: Space) -> None:
    """Refuses what is no plan for these fields and candidates; ``Full`` and ``Others`` always fit.

    Raises:
        AutoDPQError: Names the field and the value.
    """
    if not isinstance(plan, CompressionPlan):
        raise AutoDPQError(f"a strategy must give a CompressionPlan, not {type(plan).__name__}")
    names = {field.name for field in fields}
    for name in plan:
        if name not in names:
            raise AutoDPQError(f"field {name!r}: the plan has a choice for it, the data has no such field")
    for field_ in fields:
        if field_.name not in plan:
            raise AutoDPQError(f"field {field_.name!r}: the plan has no choice for it")
        choice = plan[field_.name]
        if not isinstance(choice, Full | Others) and choice not in space[field_.name]:
            raise AutoDPQError(f"field {field_.name!r}: {choice} is not among its candidates")


class Strategy(ABC):
    """A search strategy. Its constructor takes keyword-only options and only stores them."""

    name: ClassVar[str]

    @abstractmethod
    def search(self, task: SearchTask) -> CompressionPlan:
        """Chooses a plan."""


class AskTellStrategy(Strategy):
    """A black box that is asked for one plan after another; the best on validation data is taken.

    Attributes:
        default_trials: Trials where the budget leaves it to the strategy.
        uses_history: Whether a plan depends on earlier trials; if not, all are asked for at once and run in parallel.
    """

    default_trials: ClassVar[int] = 20
    uses_history: ClassVar[bool] = True

    @abstractmethod
    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        """The plan of trial ``number``; all randomness comes from ``rng``, which is seeded by (seed, number)."""

    def n_trials(self, task: SearchTask) -> int:
        """How many trials are run."""
        return self.default_trials if task.budget.trials is None else task.budget.trials

    def search(self, task: SearchTask) -> CompressionPlan:
        with task.phase("search"):
            numbers = range(self.n_trials(task))
            if self.uses_history:
                for number in numbers:
                    task.evaluate(self.ask(number, task.space, task.rng(number), task.history))
            else:
                task.evaluate_many([self.ask(number, task.space, task.rng(number), ()) for number in numbers])
        return best_trial(task.history).plan


STRATEGIES: dict[str, type[Strategy]] = {}
AnyStrategy = TypeVar("AnyStrategy", bound=type[Strategy])


def register(strategy: AnyStrategy) -> AnyStrategy:
    """Class decorator: makes a strategy known by its name.

    Raises:
        AutoDPQError: Another strategy has the name.
    """
    known = STRATEGIES.get(strategy.name)
    if known is not None and known.__qualname__ != strategy.__qualname__:
        raise AutoDPQError(f"two strategies are called {strategy.name!r}: {known} and {strategy}")
    STRATEGIES[strategy.name] = strategy
    return strategy


def find_strategy(name: str) -> type[Strategy]:
    """The registered strategy of a name.

    Raises:
        AutoDPQError: There is none; names the nearest.
    """
    if name not in STRATEGIES:
        raise AutoDPQError(f"unknown strategy {name!r}{nearest(name, STRATEGIES)}")
    return STRATEGIES[name]


def strategy_options(strategy: Strategy) -> dict[str, Any]:
    """The options of a strategy, by its constructor's signature."""
    names = inspect.signature(type(strategy)).parameters
    return {name: getattr(strategy, name) for name in names}
