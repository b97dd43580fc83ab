"""What is known of a table because every plan was trained: the best plan, and how far from it any other is."""

from __future__ import annotations

import math
from bisect import bisect_right

from autodpq.errors import AutoDPQError
from autodpq.plan import CompressionPlan
from autodpq.records.table import PlanTable

# Good enough for a search that should be quick: among the best plans by validation AUC, so many of a hundred.
TARGET_PERCENT = 1


class Truth:
    """The plans of a table within a budget of bytes.

    Args:
        table: The table.
        budget: Bytes that plans may take; None for any.

    Attributes:
        n_plans: How many plans are within it.
        best: The best of them by test AUC, the mean over the table's seeds.
        best_auc: Its mean test AUC.
        targets: By seed the validation regret of the last plan that is among the best TARGET_PERCENT of a hundred.

    Raises:
        AutoDPQError: With some seed no plan within the budget came to anything.
    """

    def __init__(self, table: PlanTable, budget: int | None) -> None:
        self._table = table
        within = {plan: rows for plan, rows in table.plans.items() if budget is None or rows[0].bytes <= budget}
        self.n_plans = len(within)
        self._worth = {plan: table.worth[plan] for plan in within if plan in table.worth}
        by_seed = [
            [row.valid_auc for row in rows if row.valid_auc is not None] for rows in zip(*within.values(), strict=True)
        ]
        if not self._worth or not all(by_seed):
            within_bytes = "" if budget is None else f" within {budget:,} bytes"
            raise AutoDPQError(f"{table.name}: no plan{within_bytes} came to anything")
        self._valid = [(min(aucs), max(aucs)) for aucs in by_seed]
        self.targets = tuple(max(aucs) - sorted(aucs, reverse=True)[_n_best(len(aucs)) - 1] for aucs in by_seed)
        self._rising = sorted(self._worth.values())
        self.best = max(self._worth, key=self._worth.__getitem__)
        self.best_auc = self._rising[-1]

    def valid_regret(self, plan: CompressionPlan | None, seed: int) -> float:
        """Of validation AUC with a seed; that of the worst plan where there is none, or it came to nothing."""
        worst, best = self._valid[seed]
        own = None if plan is None else self._table.plans[plan][seed].valid_auc
        return float(best - (worst if own is None else own))

    def test_regret(self, plan: CompressionPlan | None) -> float:
        """Of mean test AUC; that of the worst plan where there is none, or it came to nothing."""
        return self.best_auc - self._auc(plan)

    def rank(self, plan: CompressionPlan) -> int:
        """How many plans are better by mean test AUC, plus one."""
        return 1 + len(self._rising) - bisect_right(self._rising, self._auc(plan))

    def _auc(self, plan: CompressionPlan | None) -> float:
        return self._rising[0] if plan is None else self._worth.get(plan, self._rising[0])


def _n_best(n_plans: int) -> int:
    return math.ceil(n_plans * TARGET_PERCENT / 100)


def pareto_front(table: PlanTable) -> tuple[tuple[int, float], ...]:
    """The plans of which none is as small and better by mean test AUC: bytes and AUC, both rising."""
    front: list[tuple[int, float]] = []
    for size, auc in sorted((table.plans[plan][0].bytes, -auc) for plan, auc in table.worth.items()):
        if not front or -auc > front[-1][1]:
            front.append((size, -auc))
    return tuple(front)
