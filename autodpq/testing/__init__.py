"""The contracts that strategies and choices must keep, as tests for the authors of plug-ins (needs pytest).

In a test module of one's own, this is all::

    class TestMine(StrategyContract):
        strategy = Mine

    class TestMyChoice(ChoiceContract):
        choices = (MyChoice(1), MyChoice(2))
"""

from autodpq.testing.choices import ChoiceContract, examples_of
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
    "ChoiceContract",
    "MemoryJournal",
    "StrategyContract",
    "ToyExecutor",
    "examples_of",
    "make_samples",
    "make_task",
    "make_trainer",
    "reachable_arrays",
]
