"""The contract that every strategy must keep, as tests for the authors of plug-ins (needs pytest).

In a test module of one's own, this is all::

    class TestMine(StrategyContract):
        strategy = Mine
"""

from autodpq.testing.strategies import StrategyContract
from autodpq.testing.toys import (
    CANDIDATES,
    FIELDS,
    RECIPE,
    MemoryJournal,
    ToyExecutor,
    make_samples,
    make_task,
    make_trainer,
    reachable_arrays,
)

__all__ = [
    "CANDIDATES",
    "FIELDS",
    "RECIPE",
    "MemoryJournal",
    "StrategyContract",
    "ToyExecutor",
    "make_samples",
    "make_task",
    "make_trainer",
    "reachable_arrays",
]
