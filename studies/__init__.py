"""The study runner: configuration, execution, records and the command line.

From Python, :func:`run` does what ``autodpq-study run`` does, :func:`open_study` opens what it left, and
:func:`replay` lets strategies search a table of plans. Names are imported when they are first used, so that the command
line starts fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from studies.study import Study as Study
    from studies.study import open_study as open_study
    from studies.study import run as run
    from studies.tables.replay import Replay as Replay
    from studies.tables.replay import replay as replay

_MODULES = {
    "Replay": "tables.replay",
    "Study": "study",
    "open_study": "study",
    "replay": "tables.replay",
    "run": "study",
}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'studies' has no attribute {name!r}")
    return getattr(importlib.import_module(f"studies.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
