"""Grid search over one global pair (K, D)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from autodpq.choices import Choice, Full
from autodpq.plan import CompressionPlan
from autodpq.search.strategy import AskTellStrategy, register
from autodpq.trial import Budget, Space, Trial

if TYPE_CHECKING:
    import numpy as np


def _global_plans(space: Space) -> list[CompressionPlan]:
    """One plan per candidate that every field with rare values has, in the order of the first such field."""
    searched = {name: candidates for name, candidates in space.items() if tuple(candidates) != (Full(),)}
    first: Sequence[Choice] = next(iter(searched.values()), ())
    shared = [choice for choice in first if all(choice in candidates for candidates in searched.values())]
    fixed = {name: candidates[0] for name, candidates in space.items()}
    return [CompressionPlan({**fixed, **dict.fromkeys(searched, choice)}) for choice in shared]


@register
class Grid(AskTellStrategy):
    """The same (K, D) for all fields, every pair in turn."""

    name: ClassVar[str] = "grid"
    uses_history: ClassVar[bool] = False

    def expected_trials(self, space: Space, budget: Budget) -> int:
        every = len(_global_plans(space))
        return every if budget.trials is None else min(every, budget.trials)

    def ask(self, number: int, space: Space, rng: np.random.Generator, history: Sequence[Trial]) -> CompressionPlan:
        return _global_plans(space)[number]
