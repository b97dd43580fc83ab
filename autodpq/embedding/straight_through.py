"""Rows as candidates would store them, and their weighted sum, as one compiled operation where there is a compiler.

A batch holds some thousand distinct rows, each of them quantized by every candidate of its band. As tensor operations
these are hundreds of small ones, which take longer to call than to compute.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autodpq.choices import DPQ, OPQ, Choice, Float16, Int
from autodpq.choices.integer import SHARES
from autodpq.embedding.groups import SharedRows
from autodpq.embedding.parts import Parts, compiled
from autodpq.embedding.product import ProductQuantizers
from autodpq.embedding.quantizers import Quantizers
from autodpq.embedding.turned import TurnedProductQuantizers
from autodpq.kernels.kmeans import compiled_kmeans

_SOURCE = "straight_through"
_KEPT, _SHARED, _PRODUCT, _INTEGER, _HALF, _TURNED = range(6)  # as in ``straight_through.cpp``


def compile_all() -> None:
    """Compiles at once what plans of the wide space are trained by, so that no run is charged for it.

    Raises:
        AutoDPQError: It cannot be compiled.
    """
    compiled(_SOURCE)
    compiled_kmeans()


class _Shape(ctypes.Structure):
    """As in ``straight_through.cpp``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("bands", "most", "dim")),
        *((name, ctypes.c_void_p) for name in ("counts", "candidates", "kinds", "sizes", "subspaces", "tried")),
        *((name, ctypes.c_void_p) for name in ("shares_end", "rows", "places", "weights", "parts", "turns")),
        *((name, ctypes.c_void_p) for name in ("codes", "made")),
    )


class StraightThroughMixture:
    """Mixes rows by candidates and weights; gradients: by weights, by what rows share and, straight through, by rows.

    Args:
        quantizers: All candidates, such that they :meth:`fit <fits>`.

    Raises:
        AutoDPQError: It cannot be compiled.
    """

    def __init__(self, quantizers: Quantizers) -> None:
        compiled(_SOURCE)
        candidates = quantizers.candidates
        shape = len(candidates), max(map(len, candidates))
        self.candidates = np.array([len(row) for row in candidates], np.int64)
        self.kinds, self.sizes = np.zeros(shape, np.int64), np.ones(shape, np.int64)
        self.subspaces, self.tried = np.ones(shape, np.int64), np.zeros(shape, np.int64)
        self.parts, self.turns = Parts(shape), Parts(shape)
        for band, row in enumerate(candidates):
            for number, choice in enumerate(row):
                at = band, number
                group, place, column = quantizers.group(band, number)
                if isinstance(group, ProductQuantizers):
                    assert isinstance(choice, DPQ)
                    self.kinds[at], self.sizes[at], self.subspaces[at] = _PRODUCT, choice.K, choice.D
                    self.parts.add(at, *group.location(place, column))
                    if isinstance(group, TurnedProductQuantizers):
                        self.kinds[at] = _TURNED
                        self.turns.add(at, group.rotations, place * group.rotations.stride(0))
                elif isinstance(group, SharedRows):
                    table = group.table(place, column)
                    if table is not None:
                        self.kinds[at], self.sizes[at] = _SHARED, len(table)
                        self.parts.add(at, table)
                elif isinstance(choice, Int):
                    self.kinds[at], self.sizes[at], self.tried[at] = _INTEGER, choice.largest, len(choice.shares)
                else:
                    self.kinds[at] = _HALF
        # How many codes a row of each band has.
        self.code_size = (self.subspaces * np.isin(self.kinds, (_PRODUCT, _TURNED))).sum(1)

    @staticmethod
    def fits(quantizers: Quantizers) -> bool:
        """Whether what is compiled knows all candidates, and how codes are chosen."""
        return quantizers.options.compact and all(_is_known(choice) for row in quantizers.candidates for choice in row)

    def __call__(self, rows: Tensor, places: Tensor, counts: Tensor, weights: Tensor) -> Tensor:
        """Mixes rows.

        Args:
            rows: float [n, X], band by band.
            places: int64 [n], numbers of the rows among their band's.
            counts: int64 [bands], rows of each.
            weights: float [bands, candidates].

        Returns:
            float [n, X].
        """
        arguments = rows, places, counts, weights, *self.parts.tensors
        mixed: Tensor = _Mix.apply(self, *arguments)  # type: ignore[no-untyped-call]
        return mixed


def _is_known(choice: Choice) -> bool:
    return choice.keeps or type(choice) in (DPQ, OPQ, Int, Float16)


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mixture: StraightThroughMixture,
        rows: Tensor,
        places: Tensor,
        counts: Tensor,
        weights: Tensor,
        *parts: Tensor,
    ) -> Tensor:
        rows, weights = rows.contiguous(), weights.contiguous()
        dim, of_bands = rows.shape[1], counts.numpy()
        codes = torch.empty(int(of_bands @ mixture.code_size), dtype=torch.int32)
        made = rows.new_empty(int(of_bands @ mixture.candidates), dim)
        mixed, addresses = torch.empty_like(rows), mixture.parts.addresses(parts)
        turns = mixture.turns.addresses(mixture.turns.tensors)
        arrays = mixture.candidates, mixture.kinds, mixture.sizes, mixture.subspaces, mixture.tried
        ctx.shape = _Shape(
            *weights.shape, dim, counts.data_ptr(), *(array.ctypes.data for array in arrays),
            SHARES.ctypes.data + SHARES.nbytes, rows.data_ptr(), places.data_ptr(), weights.data_ptr(),
            addresses.ctypes.data, turns.ctypes.data, codes.data_ptr(), made.data_ptr(),
        )  # fmt: skip
        compiled(_SOURCE).mix(ctypes.byref(ctx.shape), mixed.data_ptr())
        # What the shape points to must live as long as it does; of inputs, autograd sees to their not being changed.
        ctx.save_for_backward(rows, weights, *parts)
        ctx.kept = counts, places, addresses, turns, codes, made
        ctx.mixture = mixture
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, *parts = ctx.saved_tensors
        of_all = ctx.needs_input_grad[1] or any(ctx.needs_input_grad[5:])
        by_rows, by_weights, by_parts = ctx.mixture.parts.gradients(
            _SOURCE, ctx.shape, (rows, weights, parts), ctx.kept[0], gradients[0], of_all=of_all
        )
        return None, by_rows, None, None, by_weights, *by_parts
