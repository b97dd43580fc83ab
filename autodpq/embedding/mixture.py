"""Quantized rows, and the weighted sum of candidates, as one compiled operation where there is a compiler.

A batch holds some hundred rare rows, each of them quantized by every candidate of its field. As tensor operations
these are hundreds of small ones, which take longer to call than to compute.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autodpq.choices import DPQ
from autodpq.embedding.parts import Parts, compiled
from autodpq.embedding.product import ProductQuantizers
from autodpq.embedding.quantizers import Quantizers

_SOURCE = "mixture"


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


class Mixture:
    """Mixes rare rows by candidates, weights and BatchNorm, with gradients by rows, weights and centroids.

    Args:
        quantizers: All candidates, such that they :meth:`fit <fits>`.

    Raises:
        AutoDPQError: It cannot be compiled.
    """

    def __init__(self, quantizers: Quantizers) -> None:
        compiled(_SOURCE)
        candidates = quantizers.candidates
        shape = len(candidates), max(map(len, candidates))
        self.centroids, self.subspaces = np.ones(shape, np.int64), np.ones(shape, np.int64)
        self.parts = Parts(shape)
        for field, row in enumerate(candidates):
            for candidate, choice in enumerate(row):
                group, place, column = quantizers.group(field, candidate)
                assert isinstance(choice, DPQ) and isinstance(group, ProductQuantizers)
                self.centroids[field, candidate], self.subspaces[field, candidate] = choice.K, choice.D
                self.parts.add((field, candidate), *group.location(place, column))
        self.candidates = np.array([len(row) for row in candidates], np.int64)
        # How many numbers of weights of centroids a row of each field leaves behind.
        is_real = np.arange(shape[1]) < self.candidates[:, None]
        self.softmax_size = (self.centroids * self.subspaces * is_real).sum(1)
        options = quantizers.options
        self.inverse_temperature, self.euclidean = 1 / options.temperature, int(options.scores == "euclidean")

    @staticmethod
    def fits(quantizers: Quantizers) -> bool:
        """Whether what is compiled knows all candidates, and how codes are chosen."""
        return quantizers.product() is not None and quantizers.options.gradient == "softmax"

    def __call__(
        self,
        rows: Tensor,
        counts: Tensor,
        weights: Tensor,
        running: tuple[Tensor, Tensor] | None,
        scaling: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Mixes rows.

        Args:
            rows: float [n, X], field by field.
            counts: int64 [fields], rows of each.
            weights: float [fields, candidates].
            running: Mean and variance for fields of fewer than two rows, float [fields, candidates, X] each; None for
                candidates that are not normalised.
            scaling: Deviation and mean that results are brought to, float [fields, X] each; None for none.

        Returns:
            float [n, X]; mean and variance of the batch, float [fields, candidates, X] each, zeros where nothing is
            normalised.
        """
        arguments = rows, counts, weights, running, scaling, *self.parts.tensors
        mixed: tuple[Tensor, Tensor, Tensor] = _Mix.apply(self, *arguments)  # type: ignore[no-untyped-call]
        return mixed


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
        addresses = mixture.parts.addresses(groups)
        ctx.shape = _Shape(
            *weights.shape, dim, counts.data_ptr(), mixture.candidates.ctypes.data, mixture.centroids.ctypes.data,
            mixture.subspaces.ctypes.data, addresses.ctypes.data, mixture.inverse_temperature, mixture.euclidean,
            int(running is not None), rows.data_ptr(), *(_address(running, which) for which in (0, 1)),
            weights.data_ptr(), *(_address(scaling, which) for which in (0, 1)),
            softmax.data_ptr(), normalised.data_ptr(), mean.data_ptr(), variance.data_ptr(),
        )  # fmt: skip
        compiled(_SOURCE).mix(ctypes.byref(ctx.shape), mixed.data_ptr())
        # What the shape points to must live as long as it does; of inputs, autograd sees to their not being changed.
        ctx.save_for_backward(rows, weights, *groups)
        ctx.kept = counts, softmax, normalised, mean, variance, addresses, scaling, running
        ctx.mixture = mixture
        ctx.mark_non_differentiable(mean, variance)
        return mixed, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, weights, *groups = ctx.saved_tensors
        of_all = ctx.needs_input_grad[1] or any(ctx.needs_input_grad[6:])
        by_rows, by_weights, by_groups = ctx.mixture.parts.gradients(
            _SOURCE, ctx.shape, (rows, weights, groups), ctx.kept[0], gradients[0], of_all=of_all
        )
        return None, by_rows, None, by_weights, None, None, *by_groups
