"""What a step does with the rows of a large table as compiled operations: merge their numbers, read and update them.

Rows lie anywhere in memory. Torch's operations wait for one after another; these ask for many at once.
"""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from autodpq.kernels.adam import BETA1, BETA2, EPSILON, update_rows
from autodpq.kernels.native import is_known, library
from autodpq.kernels.operations import Merge


@cache
def compiled_rows() -> ctypes.CDLL:
    """The compiled source; once per process.

    Raises:
        AutoDPQError: There is no compiler, or it fails.
    """
    compiled = library("rows")
    address, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    compiled.merge.argtypes = [address, number, *[address] * 3]
    compiled.merge.restype = number
    compiled.gather.argtypes = [address, number, address, number, address]
    compiled.update.argtypes = [*[address] * 3, number, address, number, address, *[real] * 6, address]
    compiled.add.argtypes = [address, number, address, number, number, address]
    compiled.gather.restype = compiled.add.restype = compiled.update.restype = None
    return compiled


class CompiledMerge(Merge):
    """The merged row numbers of a batch, and what is read by them, by compiled code."""

    @classmethod
    def of(cls, ids: Tensor) -> CompiledMerge:
        """Merges the row numbers of a batch, int32 of any shape, on the CPU."""
        ids, n = ids.contiguous(), ids.numel()
        scratch, rows = torch.empty(2 * n, dtype=torch.int64), torch.empty(n, dtype=torch.int64)
        places = ids.new_empty(ids.shape)
        found = compiled_rows().merge(ids.data_ptr(), n, scratch.data_ptr(), rows.data_ptr(), places.data_ptr())
        return cls(rows[:found], places)

    def read(self, table: Tensor, ids: Tensor) -> Tensor:
        """Rows of a table; see :meth:`Merge.read`."""
        if not is_known(table):
            return super().read(table, ids)
        ids = ids.int().contiguous()
        gathered = table.new_empty((*ids.shape, *table.shape[1:]))
        width = table[0].numel()
        compiled_rows().gather(table.data_ptr(), width, ids.data_ptr(), ids.numel(), gathered.data_ptr())
        return gathered

    def add(self, gradient: Tensor, places: Tensor, n_rows: int) -> Tensor:
        """Sums rows of a gradient at their places; see :meth:`Merge.add`."""
        if not is_known(gradient := gradient.contiguous()):
            return super().add(gradient, places, n_rows)
        sums = gradient.new_zeros((n_rows, *gradient.shape[1:]))
        n, width = places.numel(), gradient[0].numel()
        places = places.contiguous()
        compiled_rows().add(gradient.data_ptr(), width, places.data_ptr(), n, n // len(gradient), sums.data_ptr())
        return sums


def compiled_update_rows(
    table: Tensor,
    mean: Tensor,
    square: Tensor,
    rows: Tensor,
    gradient: Tensor,
    rate: Tensor,
    scale: Tensor,
    l2: Tensor,
    shrink: Tensor | None = None,
) -> None:
    """What :func:`autodpq.kernels.adam.update_rows` does, but for rounding; with its arguments."""
    if not is_known(table):
        update_rows(table, mean, square, rows, gradient, rate, scale, l2, shrink)
        return
    rows, gradient = rows.contiguous(), gradient.contiguous()
    shrink = None if shrink is None else shrink.contiguous()
    width = table[0].numel()
    compiled_rows().update(
        *(tensor.data_ptr() for tensor in (table, mean, square)), width, rows.data_ptr(), len(rows),
        gradient.data_ptr(), BETA1, BETA2, float(rate), float(scale), float(l2), EPSILON,
        None if shrink is None else shrink.data_ptr(),
    )  # fmt: skip
