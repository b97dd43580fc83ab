"""Records of a study made into tables, figures and statistics.

Names are imported when they are first used, so that a command line that prints no report starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.audit import AuditRow as AuditRow
    from reports.audit import audit_rows as audit_rows
    from reports.audit import audit_table as audit_table
    from reports.audit import audit_text as audit_text
    from reports.comparisons import verdicts as verdicts
    from reports.figures import auc_bytes_figure as auc_bytes_figure
    from reports.figures import figure3 as figure3
    from reports.headroom import headroom_table as headroom_table
    from reports.load import load_study as load_study
    from reports.page.page import study_page as study_page
    from reports.plans import plan_chart as plan_chart
    from reports.render import Table as Table
    from reports.results import StudyResults as StudyResults
    from reports.statistics import statistics_table as statistics_table
    from reports.tables import table1 as table1
    from reports.tables import table2 as table2
    from reports.write import write_report as write_report

_MODULES = {
    "AuditRow": "audit",
    "StudyResults": "results",
    "Table": "render",
    "auc_bytes_figure": "figures",
    "audit_rows": "audit",
    "audit_table": "audit",
    "audit_text": "audit",
    "figure3": "figures",
    "headroom_table": "headroom",
    "load_study": "load",
    "plan_chart": "plans",
    "statistics_table": "statistics",
    "study_page": "page.page",
    "table1": "tables",
    "table2": "tables",
    "verdicts": "comparisons",
    "write_report": "write",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'reports' has no attribute {name!r}")
    return getattr(importlib.import_module(f"reports.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
