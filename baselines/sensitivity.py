"""The plan of least loss to second order: what a search has to be better than, at the price of one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from autodpq.plan import CompressionPlan
from autodpq.search.strategy import Strategy, register

if TYPE_CHECKING:
    from autodpq.search.task import SearchTask


@register
class Sensitivity(Strategy):
    """The plan within the budget by which the loss of the training rows rises least, to second order.

    One pass over the training rows tells how much each number of the pretrained table matters; how far each candidate
    moves a band's rows is computed, and the best plan is a knapsack (as in HAWQ-V3, Yao et al., ICML 2021, for layers).
    Without a budget every band has the candidate by which the loss rises least.
    """

    name: ClassVar[str] = "sensitivity"

    def search(self, task: SearchTask) -> CompressionPlan:
        losses = task.rises()
        with task.phase("search"):
            return task.best_within(losses)
