"""The model that one would take away: of those that compress, the one of the best validation AUC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from autodpq.choices import Full
from autodpq.plan import CompressionPlan
from reports.numbers.comparisons import budgets_of

if TYPE_CHECKING:
    import pandas as pd

    from reports.results import StudyResults


def best_record(records: pd.DataFrame) -> pd.Series[Any] | None:
    """The record of the best validation AUC among those whose plan compresses something; None where there is none."""
    compressed = records[[_compresses(plan) for plan in records["plan"]]]
    return None if compressed.empty else compressed.sort_values("valid_auc", ascending=False, kind="stable").iloc[0]


def best_by_budget(study: StudyResults, dataset: str, model: str) -> Iterator[tuple[float | None, pd.Series[Any]]]:
    """The best record within each budget, the greatest first; where there are none, the best of all."""
    records = study.records_of(dataset, model)
    for budget in budgets_of(study, dataset, model) or (None,):
        best = best_record(records if budget is None else records[records["budget"] == budget])
        if best is not None:
            yield budget, best


def _compresses(plan: str) -> bool:
    """Whether a plan compresses something; a run that came to nothing has an empty one."""
    return plan != "" and any(choice != Full() for choice in CompressionPlan.from_json(plan, known=False).values())
