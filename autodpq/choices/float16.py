"""Rows in half precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from autodpq.choices.base import LARGEST_HALF, Arrays, Floats, Layout, Made
from autodpq.choices.operations import Operations
from autodpq.choices.registry import register


@register
@dataclass(frozen=True, slots=True)
class Float16(Made):
    """Every number of a row is rounded to 16 bits (IEEE 754 binary16); what is larger than its largest becomes that."""

    name: ClassVar[str] = "float16"

    def layout(self, n_rows: int, dim: int) -> Layout:
        """``halves`` [n, X]."""
        return {"halves": (np.dtype("<f2"), (n_rows, dim))}

    def pack(self, rows: Floats, shared: Mapping[str, Any]) -> Arrays:
        """The rounded rows."""
        return {"halves": rows.clip(-LARGEST_HALF, LARGEST_HALF).astype(np.float16)}

    def made(self, arrays: Mapping[str, Any], places: Any, dim: int, operations: Operations) -> Any:
        """The rounded rows in float32."""
        return operations.cast(operations.take(arrays["halves"], places))
