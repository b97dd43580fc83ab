"""All rare values share one row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autodpq.choices.base import Kept
from autodpq.choices.registry import register


@register
@dataclass(frozen=True, slots=True)
class Others(Kept):
    """All rare values of the field share one row."""

    name: ClassVar[str] = "others"

    def modulus(self, n_rows: int) -> int:
        """One row, if there is a value at all."""
        return min(n_rows, 1)
