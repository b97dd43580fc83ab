"""The core of autodpq: all that the author of a search strategy needs.

Names are imported when they are first used, so that what needs few of them starts fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from autodpq._version import __version__
from autodpq.errors import AutoDPQError

if TYPE_CHECKING:
    from autodpq.choices import DPQ, OPQ, Choice, Float16, Full, Hashed, Int, Narrow, Others
    from autodpq.costs import Ledger, ledger
    from autodpq.packed.compress import compress
    from autodpq.packed.export import export, export_network
    from autodpq.packed.load import load
    from autodpq.packed.report import CompressionReport, compression_report
    from autodpq.packed.shrink import shrink
    from autodpq.plan import CompressionPlan, Field, uniform_plan
    from autodpq.records.shipped import open_table
    from autodpq.search.autodpq import AutoDPQ
    from autodpq.search.strategy import AskTellStrategy, Strategy, register
    from autodpq.search.task import SearchTask
    from autodpq.trial import Budget, Space, Trial, best_trial

_LATE = {
    **dict.fromkeys(
        ("DPQ", "OPQ", "Choice", "Float16", "Full", "Hashed", "Int", "Narrow", "Others"), "autodpq.choices"
    ),
    **dict.fromkeys(("Ledger", "ledger"), "autodpq.costs"),
    **dict.fromkeys(("CompressionPlan", "Field", "uniform_plan"), "autodpq.plan"),
    "AutoDPQ": "autodpq.search.autodpq",
    "compress": "autodpq.packed.compress",
    **dict.fromkeys(("export", "export_network"), "autodpq.packed.export"),
    "load": "autodpq.packed.load",
    "open_table": "autodpq.records.shipped",
    **dict.fromkeys(("CompressionReport", "compression_report"), "autodpq.packed.report"),
    "shrink": "autodpq.packed.shrink",
    "SearchTask": "autodpq.search.task",
    **dict.fromkeys(("AskTellStrategy", "Strategy", "register"), "autodpq.search.strategy"),
    **dict.fromkeys(("Budget", "Space", "Trial", "best_trial"), "autodpq.trial"),
}

__all__ = [
    "DPQ",
    "OPQ",
    "AskTellStrategy",
    "AutoDPQ",
    "AutoDPQError",
    "Budget",
    "Choice",
    "CompressionPlan",
    "CompressionReport",
    "Field",
    "Float16",
    "Full",
    "Hashed",
    "Int",
    "Ledger",
    "Narrow",
    "Others",
    "SearchTask",
    "Space",
    "Strategy",
    "Trial",
    "__version__",
    "best_trial",
    "compress",
    "compression_report",
    "export",
    "export_network",
    "ledger",
    "load",
    "open_table",
    "register",
    "shrink",
    "uniform_plan",
]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'autodpq' has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)
