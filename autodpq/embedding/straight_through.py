"""Rows as candidates would store them, and their weighted sum, as one compiled operation where there is a compiler.

A batch holds some thousand distinct rows, each of them quantized by every candidate of its band. As tensor operations
these are hundreds of small ones, which take longer to call than to compute.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autodpq.choices import DPQ, Choice, Float16, Int
from autodpq.choices.integer import SHARES
from autodpq.embedding.groups import SharedRows
from autodpq.embedding.product import ProductQuantizers
from autodpq.embedding.quantizers import Quantizers
from autodpq.kernels.native import library

_KEPT, _SHARED, _PRODUCT, _INTEGER, _HALF = range(5)  # as in ``straight_through.cpp``


class _Shape(ctypes.Structure):
    """As in ``straight_through.cpp``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("bands", "most", "dim")),
        *((name, ctypes.c_void_p) for name in ("counts", "candidates", "kinds", "sizes", "subspaces", "shares")),
        ("n_shares", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("rows", "places", "weights", "parts", "codes", "made")),
    )


@cache
def _compiled() -> ctypes.CDLL:
    compiled = library("straight_through")
    compiled.mix_straight.argtypes = [ctypes.c_void_p] * 2
    compiled.mix_straight_gradients.argtypes = [ctypes.c_void_p] * 5
    compiled.mix_straight.restype = compiled.mix_straight_gradients.restype = None
    return compiled


class StraightThroughMixture:
    """Mixes rows by candidates and weights; gradients: by weights, by what rows share and, straight through, by rows.

    Args:
        quantizers: All candidates, such that they :meth:`fit <fits>`.

    Raises:
        AutoDPQError: It cannot be compiled.
    """

    def __init__(self, quantizers: Quantizers) -> None:
        _compiled()
        candidates = quantizers.candidates
        shape = len(candidates), max(map(len, candidates))
        self.candidates = np.array([len(row) for row in candidates], np.int64)
        self.kinds, self.sizes = np.zeros(shape, np.int64), np.ones(shape, np.int64)
        self.subspaces = np.ones(shape, np.int64)
        self._parts: list[Tensor] = []
        # Of every candidate, which of the parts it has, and where in it, in bytes.
        self._owners, self._offsets = np.full(shape, -1, np.int64), np.zeros(shape, np.uint64)
        owners: dict[int, int] = {}
        for band, row in enumerate(candidates):
            for number, choice in enumerate(row):
                at = band, number
                group, place, column = quantizers.group(band, number)
                part: Tensor | None = None
                if isinstance(group, ProductQuantizers):
                    assert isinstance(choice, DPQ)
                    self.kinds[at], self.sizes[at], self.subspaces[at] = _PRODUCT, choice.K, choice.D
                    part = group.keys
                    self._offsets[at] = 4 * (place * part.stride(0) + column * part.stride(1))
                elif isinstance(group, SharedRows):
                    part = group.table(place, column)
                    if part is not None:
                        self.kinds[at], self.sizes[at] = _SHARED, len(part)
                elif isinstance(choice, Int):
                    self.kinds[at], self.sizes[at] = _INTEGER, choice.largest
                else:
                    self.kinds[at] = _HALF
                if part is not None:
                    if id(part) not in owners:
                        owners[id(part)] = len(self._parts)
                        self._parts.append(part)
                    self._owners[at] = owners[id(part)]
        # How many codes a row of each band has.
        self.code_size = (self.subspaces * (self.kinds == _PRODUCT)).sum(1)

    @staticmethod
    def fits(quantizers: Quantizers) -> bool:
        """Whether what is compiled knows all candidates, and how codes are chosen."""
        return quantizers.options.compact and all(_is_known(choice) for row in quantizers.candidates for choice in row)

    def addresses(self, tensors: list[Tensor]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Where every candidate's part lies in tensors of the parts' shapes, uint64 [bands, candidates]; 0 for none."""
        starts = np.array([*(tensor.data_ptr() for tensor in tensors), 0], np.uint64)
        return starts[self._owners] + self._offsets

    def used_parts(self, counts: np.ndarray[Any, np.dtype[np.int64]]) -> set[int]:
        """The parts that a candidate of a band with rows has; ``counts`` is int64 [bands]."""
        return set(self._owners[(self._owners >= 0) & (counts > 0)[:, None]].tolist())

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
        mixed: Tensor = _Mix.apply(self, rows, places, counts, weights, *self._parts)  # type: ignore[no-untyped-call]
        return mixed


def _is_known(choice: Choice) -> bool:
    return choice.keeps or type(choice) in (DPQ, Int, Float16)


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
        mixed, addresses = torch.empty_like(rows), mixture.addresses([*parts])
        ctx.shape = _Shape(
            *weights.shape, dim, counts.data_ptr(), mixture.candidates.ctypes.data, mixture.kinds.ctypes.data,
            mixture.sizes.ctypes.data, mixture.subspaces.ctypes.data, SHARES.ctypes.data, len(SHARES), rows.data_ptr(),
            places.data_ptr(), weights.data_ptr(), addresses.ctypes.data, codes.data_ptr(), made.data_ptr(),
        )  # fmt: skip
        _compiled().mix_straight(ctypes.byref(ctx.shape), mixed.data_ptr())
        # What the shape points to must live as long as it does; of inputs, autograd sees to their not being changed.
        ctx.save_for_backward(rows, weights, *parts)
        ctx.kept = counts, places, addresses, codes, made
        ctx.mixture = mixture
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, *parts = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        by_weights, by_rows = torch.zeros_like(weights), torch.zeros_like(rows)
        by_parts: list[Tensor | None] = [None] * len(parts)
        addresses = None
        if ctx.needs_input_grad[1] or any(ctx.needs_input_grad[5:]):
            made = [torch.zeros_like(part) for part in parts]
            # Without a row there is no gradient, rather than one of zeros, by which Adam's momentum would move them.
            used = ctx.mixture.used_parts(ctx.kept[0].numpy())
            by_parts = [tensor if number in used else None for number, tensor in enumerate(made)]
            addresses = ctx.mixture.addresses(made)
        _compiled().mix_straight_gradients(
            ctypes.byref(ctx.shape),
            gradient.data_ptr(),
            by_weights.data_ptr(),
            by_rows.data_ptr(),
            None if addresses is None else addresses.ctypes.data,
        )
        return None, by_rows if addresses is not None else None, None, None, by_weights, *by_parts
