"""Choices in files whose kind is not known here: shown, not used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

from autodpq.choices.base import Choice, Cost, Layout
from autodpq.errors import AutoDPQError


@dataclass(frozen=True, slots=True)
class Unknown(Choice):
    """What a record says was chosen, of a kind that this process has not been told of.

    Attributes:
        text: The choice as it stands there.
    """

    name: ClassVar[str] = "unknown"
    keeps: ClassVar[bool] = False
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def kind(self) -> str:
        """What its kind is called."""
        return self.text.partition("(")[0].strip()

    def check(self, dim: int, where: str) -> NoReturn:
        """It cannot be used."""
        raise AutoDPQError(
            f"{where}: the kind of {self.text} is not known here; install it, or name it by file.py:Class"
        )

    def cost(self, n_rows: int, dim: int) -> Cost:
        """Not known."""
        self.check(dim, "plan")

    def layout(self, n_rows: int, dim: int) -> Layout:
        """Not known."""
        self.check(dim, "plan")
