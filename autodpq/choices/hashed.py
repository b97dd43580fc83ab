"""Rare values share rows: the hashing trick on frequency ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autodpq.choices.base import Kept
from autodpq.choices.registry import register
from autodpq.errors import AutoDPQError


@register
@dataclass(frozen=True, slots=True)
class Hashed(Kept):
    """Rare value t has the row t modulo m (the hashing trick, Weinberger et al., ICML 2009).

    Ids are frequency ranks, so that values of one row are apart in frequency: none is outvoted by all others.

    Attributes:
        m: Rows, at least 1; a field with fewer rare values keeps all of theirs.
    """

    name: ClassVar[str] = "hashed"
    m: int

    def __post_init__(self) -> None:
        Kept.__post_init__(self)
        if self.m < 1:
            raise AutoDPQError(f"{self.name}: m={self.m}: at least one row is needed")

    def modulus(self, n_rows: int) -> int:
        """m, or one row per value where there are fewer."""
        return min(n_rows, self.m)
