"""The study runner: configuration, execution, records and the command line.

From Python, :func:`run` does what ``autodpq-study run`` does, and :func:`open_study` opens what it left. Names are
imported when they are first used, so that the command line starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.study import Study as Study
    from studies.study import open_study as open_study
    from studies.study import run as run

__all__ = ["Study", "open_study", "run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'studies' has no attribute {name!r}")
    return getattr(importlib.import_module("studies.study"), name)


def __dir__() -> list[str]:
    return __all__
