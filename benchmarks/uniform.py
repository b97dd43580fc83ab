"""One choice for every band, named by hand: what integers, short rows or shared rows are worth, searched by nobody.

    autodpq-study run --space wide --candidates "int(8),int(4),narrow(4)" --strategies \\
        "fe,fe-continued,benchmarks/uniform.py:Uniform(choice=int(4)),benchmarks/uniform.py:Uniform(choice=narrow(4))"

The choice has to be among the candidates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from autodpq import CompressionPlan, Strategy, register
from autodpq.choices import Full, parse_choice
from autodpq.errors import AutoDPQError

if TYPE_CHECKING:
    from autodpq.search.task import SearchTask


@register
class Uniform(Strategy):
    """One choice for all bands; a band that it would not make smaller is kept.

    Args:
        choice: As candidates are written, ``int(4)``.
    """

    name: ClassVar[str] = "uniform"

    def __init__(self, *, choice: str) -> None:
        self.choice = choice

    def search(self, task: SearchTask) -> CompressionPlan:
        choice = parse_choice(self.choice)
        if not any(choice in candidates for candidates in task.space.values()):
            raise AutoDPQError(f"{self.name}: {choice} is no band's candidate; name it in --candidates")
        return CompressionPlan(
            {name: choice if choice in candidates else Full() for name, candidates in task.space.items()}
        )
