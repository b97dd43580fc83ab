"""Quantized rows, and the weighted sum of candidates, as one compiled operation where there is a compiler.

A batch holds some hundred rare rows, each of them quantized by every candidate of its field. As tensor operations
these are hundreds of small ones, which take longer to call than to compute.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autodpq.choices import DPQ
from autodpq.embedding.product import ProductQuantizers
from autodpq.embedding.quantizers import Quantizers
from autodpq.kernels.native import library


class _Shape(ctypes.Structure):
    """As in ``mixture.cpp``."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("fields", "most", "dim")),
        *((name, ctypes.c_void_p) for name in ("counts", "candidates", "centroids", "subspaces", "keys")),
        ("inverse_temperature", ctypes.c_float),
        ("euclidean", ctypes.c_int64),
        ("normalises", ctypes.c_int64),
        *(
            (name, ctypes.c_void_p)
            for name in (
                "rows", "running_mean", "running_variance", "weights", "deviation", "shift", "softmax", "normalised",
                "mean", "variance",
            )
        ),
    )  # fmt: skip


@cache
def _compiled() -> ctypes.CDLL:
    compiled = library("mixture")
    compiled.mix.argtypes = [ctypes.c_void_p] * 2
    compiled.mix_gradients.argtypes = [ctypes.c_void_p] * 5
    compiled.mix.restype = compiled.mix_gradients.restype = None
    return compiled


class Mixture:
    """Mixes rare rows by candidates, weights and BatchNorm, with gradients by rows, weights and centroids.

    Args:
        quantizers: All candidates, such that they :meth:`fit <fits>`.

    Raises:
        AutoDPQError: It cannot be compiled.
    """

    def __init__(self, quantizers: Quantizers) -> None:
        _compiled()
        candidates = quantizers.candidates
        groups: list[object] = list(quantizers.groups)
        shape = len(candidates), max(map(len, candidates))
        self.centroids, self.subspaces = np.ones(shape, np.int64), np.ones(shape, np.int64)
        self._groups, self._offsets = np.zeros(shape, np.int64), np.zeros(shape, np.uint64)
        for field, row in enumerate(candidates):
            for candidate, choice in enumerate(row):
                group, place, column = quantizers.group(field, candidate)
                assert isinstance(choice, DPQ) and isinstance(group, ProductQuantizers)
                self.centroids[field, candidate], self.subspaces[field, candidate] = choice.K, choice.D
                self._groups[field, candidate] = groups.index(group)
                self._offsets[field, candidate] = 4 * (place * group.keys.stride(0) + column * group.keys.stride(1))
        self.candidates = np.array([len(row) for row in candidates], np.int64)
        # How many numbers of weights of centroids a row of each field leaves behind.
        self._real = np.arange(shape[1]) < self.candidates[:, None]
        self.softmax_size = (self.centroids * self.subspaces * self._real).sum(1)
        options = quantizers.options
        self.inverse_temperature, self.euclidean = 1 / options.temperature, int(options.scores == "euclidean")

    @staticmethod
    def fits(quantizers: Quantizers) -> bool:
        """Whether what is compiled knows all candidates, and how codes are chosen."""
        return quantizers.product() is not None and quantizers.options.gradient == "softmax"

    def addresses(self, tensors: Sequence[Tensor]) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """Where the centroids of every candidate lie in tensors of the groups' shapes, uint64 [fields, candidates]."""
        starts = np.array([tensor.data_ptr() for tensor in tensors], np.uint64)
        return starts[self._groups] + self._offsets

    def used_groups(self, counts: np.ndarray[Any, np.dtype[np.int64]]) -> set[int]:
        """The groups that have a candidate of a field with rows; ``counts`` is int64 [fields]."""
        return set(self._groups[self._real & (counts > 0)[:, None]].tolist())

    def __call__(
        self,
        rows: Tensor,
        counts: Tensor,
        weights: Tensor,
        keys: Sequence[Tensor],
        running: tuple[Tensor, Tensor] | None,
        scaling: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mixes rows.

        Args:
            rows: float [n, X], field by field.
            counts: int64 [fields], rows of each.
            weights: float [fields, candidates].
            keys: The centroids of the quantizers' groups.
            running: Mean and variance for fields of fewer than two rows, float [fields, candidates, X] each; None for
                candidates that are not normalised.
            scaling: Deviation and mean that results are brought to, float [fields, X] each; None for none.

        Returns:
            float [n, X]; mean and variance of the batch, float [fields, candidates, X] each, zeros where nothing is
            normalised.
        """
        mixed: tuple[Tensor, Tensor, Tensor] = _Mix.apply(self, rows, counts, weights, running, scaling, *keys)  # type: ignore[no-untyped-call]
        return mixed


def keys_of(quantizers: Quantizers) -> list[Tensor]:
    """The centroids of all groups, float [fields, candidates, K, X] each."""
    groups = quantizers.product()
    assert groups is not None, "a mixture fits"
    return [group.keys for group in groups]


def _address(pair: tuple[Tensor, Tensor] | None, which: int) -> int | None:
    return None if pair is None else pair[which].data_ptr()


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        mixture: Mixture,
        rows: Tensor,
        counts: Tensor,
        weights: Tensor,
        running: tuple[Tensor, Tensor] | None,
        scaling: tuple[Tensor, Tensor] | None,
        *groups: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, weights = rows.contiguous(), weights.contiguous()
        dim = rows.shape[1]
        of_fields = counts.numpy()
        softmax = rows.new_empty(int(of_fields @ mixture.softmax_size))
        normalised = rows.new_empty(int(of_fields @ mixture.candidates), dim)
        mixed, (mean, variance) = torch.empty_like(rows), rows.new_zeros((2, *weights.shape, dim))
        addresses = mixture.addresses(groups)
        ctx.shape = _Shape(
            *weights.shape, dim, counts.data_ptr(), mixture.candidates.ctypes.data, mixture.centroids.ctypes.data,
            mixture.subspaces.ctypes.data, addresses.ctypes.data, mixture.inverse_temperature, mixture.euclidean,
            int(running is not None), rows.data_ptr(), *(_address(running, which) for which in (0, 1)),
            weights.data_ptr(), *(_address(scaling, which) for which in (0, 1)),
            softmax.data_ptr(), normalised.data_ptr(), mean.data_ptr(), variance.data_ptr(),
        )  # fmt: skip
        _compiled().mix(ctypes.byref(ctx.shape), mixed.data_ptr())
        # What the shape points to must live as long as it does; of inputs, autograd sees to their not being changed.
        ctx.save_for_backward(rows, weights, *groups)
        ctx.kept = counts, softmax, normalised, mean, variance, addresses, scaling, running
        ctx.mixture = mixture
        ctx.mark_non_differentiable(mean, variance)
        return mixed, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, *groups = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        by_weights, by_rows = torch.zeros_like(weights), torch.zeros_like(rows)
        by_groups: list[Tensor | None] = [None] * len(groups)
        addresses = None
        if any(ctx.needs_input_grad[6:]) or ctx.needs_input_grad[1]:
            made = [torch.zeros_like(group) for group in groups]
            # Without a row there is no gradient, rather than one of zeros, by which Adam's momentum would move them.
            used = ctx.mixture.used_groups(ctx.kept[0].numpy())
            by_groups = [tensor if number in used else None for number, tensor in enumerate(made)]
            addresses = ctx.mixture.addresses(made)
        _compiled().mix_gradients(
            ctypes.byref(ctx.shape),
            gradient.data_ptr(),
            by_weights.data_ptr(),
            by_rows.data_ptr(),
            None if addresses is None else addresses.ctypes.data,
        )
        return None, by_rows if addresses is not None else None, None, by_weights, None, None, *by_groups
