"""How to compress each embedding table of a click-through model, as a problem of OptunaHub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import optuna
import optunahub

import autodpq


class Problem(optunahub.benchmarks.BaseProblem):
    """What becomes of each field's values, all plans of which were trained: nothing is trained here.

    Args:
        table: A table of plans: a file, or the name of one that comes with autodpq.
        seed: Whose trainings are seen.
        max_bytes: Bytes that the model may take, a constraint, with which validation AUC is the one objective; None for
            two objectives, validation AUC to be maximized and bytes to be minimized.
    """

    def __init__(self, table: str = "synthetic", seed: int = 0, max_bytes: int | None = None) -> None:
        self.table = autodpq.open_table(table)
        self.seed, self.max_bytes = seed, max_bytes

    @property
    def search_space(self) -> dict[str, optuna.distributions.BaseDistribution]:
        """One categorical parameter for each band of values that has several candidates."""
        return {
            name: optuna.distributions.CategoricalDistribution(texts) for name, texts in self.table.searched.items()
        }

    @property
    def directions(self) -> list[optuna.study.StudyDirection]:
        """AUC up, and bytes down where they are an objective."""
        maximize, minimize = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
        return [maximize, minimize] if self.max_bytes is None else [maximize]

    def evaluate(self, params: dict[str, Any]) -> float | Sequence[float]:
        """Validation AUC, and bytes where they are an objective; a failed training has an AUC of 0.5."""
        row = self.table.rows_of(params)[self.seed]
        auc = 0.5 if row.valid_auc is None else row.valid_auc
        return (auc, float(row.bytes)) if self.max_bytes is None else auc

    def evaluate_constraints(self, params: dict[str, Any]) -> dict[str, float]:
        """By how many bytes the model is too large; zero or less where it is not."""
        if self.max_bytes is None:
            return {}
        return {"bytes": float(self.table.rows_of(params)[self.seed].bytes - self.max_bytes)}

    def test_regret(self, params: dict[str, Any]) -> float:
        """Mean test AUC of the best plan that fits minus that of a plan: what a search is judged by, not told."""
        plan = autodpq.CompressionPlan.from_json(self.table.rows_of(params)[self.seed].plan)
        worth, plans = self.table.worth, self.table.plans
        fits = [auc for own, auc in worth.items() if self.max_bytes is None or plans[own][0].bytes <= self.max_bytes]
        return max(fits) - worth[plan]
