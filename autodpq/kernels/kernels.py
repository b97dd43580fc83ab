"""What a training step is computed by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autodpq.kernels.adam import update_rows
from autodpq.kernels.operations import Merge
from autodpq.kernels.rows import CompiledMerge, compiled_update_rows


@dataclass(frozen=True, slots=True)
class Kernels:
    """What a training step is computed by; the same for all plans of a run.

    Attributes:
        compiled_batch: Full batches, of so many samples, go through compiled code, and so do rows of large tables and
            product quantizers; 0 for tensor operations alone.
        lazy: Whether tables are trained by lazy Adam: their gradients are of the batch's rows alone.
    """

    compiled_batch: int = 0
    lazy: bool = False

    @property
    def merging(self) -> type[Merge] | None:
        """What merges the row numbers of a batch; None where gradients are dense."""
        return self.distinct if self.lazy else None

    @property
    def distinct(self) -> type[Merge]:
        """What finds the distinct row numbers of a batch."""
        return CompiledMerge if self.compiled_batch else Merge

    @property
    def update(self) -> Callable[..., None]:
        """Lazy Adam's update of rows."""
        return compiled_update_rows if self.compiled_batch else update_rows


TENSORS = Kernels()
"""Tensor operations with dense gradients, which can be differentiated once more."""
