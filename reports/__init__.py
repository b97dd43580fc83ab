"""Records of a study made into tables, figures and statistics.

Names are imported when they are first used, so that a command line that prints no report starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.figures.figures import auc_bytes_figure as auc_bytes_figure
    from reports.figures.figures import figure3 as figure3
    from reports.figures.figures import plan_chart as plan_chart
    from reports.figures.figures import reliability_figure as reliability_figure
    from reports.load import load_study as load_study
    from reports.numbers.comparisons import ModelComparisons as ModelComparisons
    from reports.numbers.comparisons import compare_strategies as compare_strategies
    from reports.page.page import study_page as study_page
    from reports.results import StudyResults as StudyResults
    from reports.tables.audit import AuditRow as AuditRow
    from reports.tables.audit import audit_rows as audit_rows
    from reports.tables.audit import audit_table as audit_table
    from reports.tables.audit import audit_text as audit_text
    from reports.tables.budgets import budgets_table as budgets_table
    from reports.tables.calibration import calibration_table as calibration_table
    from reports.tables.headroom import headroom_table as headroom_table
    from reports.tables.paper_tables import table1 as table1
    from reports.tables.paper_tables import table2 as table2
    from reports.tables.render import Table as Table
    from reports.tables.sentences import verdicts as verdicts
    from reports.tables.statistics import statistics_table as statistics_table
    from reports.write import write_report as write_report

_MODULES = {
    "AuditRow": "tables.audit",
    "ModelComparisons": "numbers.comparisons",
    "StudyResults": "results",
    "Table": "tables.render",
    "auc_bytes_figure": "figures.figures",
    "audit_rows": "tables.audit",
    "audit_table": "tables.audit",
    "audit_text": "tables.audit",
    "budgets_table": "tables.budgets",
    "calibration_table": "tables.calibration",
    "compare_strategies": "numbers.comparisons",
    "figure3": "figures.figures",
    "headroom_table": "tables.headroom",
    "load_study": "load",
    "plan_chart": "figures.figures",
    "reliability_figure": "figures.figures",
    "statistics_table": "tables.statistics",
    "study_page": "page.page",
    "table1": "tables.paper_tables",
    "table2": "tables.paper_tables",
    "verdicts": "tables.sentences",
    "write_report": "write",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(importlib.import_module(f"reports.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
