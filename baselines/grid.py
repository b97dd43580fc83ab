"""Grid search over one global pair (K, D)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from autodpq.choices import Full
from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.search.strategy import Strategy, register
from autodpq.trial import Budget, Space, best_trial

if TYPE_CHECKING:
    from autodpq.search.task import SearchTask


def global_plans(space: Space) -> list[CompressionPlan]:
    """One plan per candidate: bands that do not have it among theirs are kept, where they can be."""
    every = dict.fromkeys(choice for candidates in space.values() for choice in candidates)
    shared = [
        choice
        for choice in every
        if all(choice in candidates or Full() in candidates for candidates in space.values())
        and any(choice in candidates and tuple(candidates) != (Full(),) for candidates in space.values())
    ]
    return [
        CompressionPlan({name: choice if choice in candidates else Full() for name, candidates in space.items()})
        for choice in shared
    ]


@register
class Grid(Strategy):
    """The same choice for all bands, every candidate in turn that is within the budget of bytes."""

    name: ClassVar[str] = "grid"

    def expected_trials(self, space: Space, budget: Budget) -> int:
        every = len(global_plans(space))
        return every if budget.trials is None else min(every, budget.trials)

    def search(self, task: SearchTask) -> CompressionPlan:
        plans, most = global_plans(task.space), task.budget.bytes
        if not plans:
            raise AutoDPQError("no field has rare values at this threshold: there is nothing to search")
        if most is not None:
            plans = [plan for plan in plans if task.trainer.ledger(plan).bytes <= most]
            if not plans:
                raise AutoDPQError(f"{self.name}: no candidate is within {most:,} bytes for all bands")
        limit = task.budget.trials
        with task.phase("search"):
            task.evaluate_many(plans if limit is None else plans[:limit])
        return best_trial(task.history).plan
