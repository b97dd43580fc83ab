"""The one interface of search strategies: a strategy gets a task and gives back a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, TypeVar

from autodpq.plan import CompressionPlan
from autodpq.plugins.registry import Registry, is_class_of
from autodpq.trial import Budget, Prune, Space, Trial, best_trial, never

if TYPE_CHECKING:
    import numpy as np

    from autodpq.search.task import SearchTask


class Strategy(ABC):
    """A search strategy. Its constructor takes keyword-only options and only stores them.

    Attributes:
        name: What it is called on the command line and in tables.
        default_trials: Trials where the budget leaves it to the strategy; 0 for one that evaluates no plans.
        compresses: Whether it compresses anything: one that does not is run once, whatever the budgets of bytes.
    """

    name: ClassVar[str]
    compresses: ClassVar[bool] = True
    default_trials: ClassVar[int] = 0

    @abstractmethod
    def search(self, task: SearchTask) -> CompressionPlan:
        """Chooses a plan."""

    def expected_trials(self, space: Space, budget: Budget) -> int:
        """About how many trials a search takes: the budget's, else the strategy's own number; 0 if it has none.

        Studies tell the time left by it, before there is a task. A strategy whose number depends on the fields or
        candidates overrides it, as ``grid`` does.

        Args:
            space: Candidates of each field.
            budget: What the search may spend.
        """
        if budget.trials is None or not self.default_trials:
            return self.default_trials
        return budget.trials

    def n_trials(self, task: SearchTask) -> int:
        """How many trials are run: as many as are expected."""
        return self.expected_trials(task.space, task.budget)


class AskTellStrategy(Strategy):
    """A black box that is asked for one plan after another; the best on validation data is taken.

    Attributes:
        uses_history: Whether a plan depends on earlier trials; if not, all are asked for at once and run in parallel.
    """

    default_trials: ClassVar[int] = 20
    uses_history: ClassVar[bool] = True

    @abstractmethod
    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        """The plan of trial ``number``; all randomness comes from ``rng``, which is seeded by (seed, number)."""

    def plan(self, task: SearchTask, number: int) -> CompressionPlan:
        """The plan of a trial: what is asked for. Within a budget of bytes, one that draws at random overrides it."""
        return self.ask(number, task.space, task.rng(number), task.history if self.uses_history else ())

    def pruner(self, task: SearchTask) -> Prune:
        """What ends trials early; nothing by itself."""
        return never

    def search(self, task: SearchTask) -> CompressionPlan:
        prune = self.pruner(task)
        with task.phase("search"):
            numbers = range(self.n_trials(task))
            if self.uses_history:
                for number in numbers:
                    task.evaluate_many([self.plan(task, number)], prune)
            else:
                task.evaluate_many([self.plan(task, number) for number in numbers], prune)
        return best_trial(task.history).plan


STRATEGIES: Registry[type[Strategy]] = Registry("strategy", "autodpq.strategies", is_class_of(Strategy))
AnyStrategy = TypeVar("AnyStrategy", bound=type[Strategy])


def register(strategy: AnyStrategy) -> AnyStrategy:
    """Class decorator: makes a strategy known by its name.

    Raises:
        AutoDPQError: Another strategy has the name.
    """
    STRATEGIES.add(strategy)
    return strategy
