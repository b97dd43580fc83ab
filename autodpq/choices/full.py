"""Every rare value keeps a row of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autodpq.choices.base import Kept
from autodpq.choices.registry import register


@register
@dataclass(frozen=True, slots=True)
class Full(Kept):
    """Every rare value keeps a row of its own."""

    name: ClassVar[str] = "full"
