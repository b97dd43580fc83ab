"""The few tensor operations that the training step is made of, each with a backward pass of its own.

Torch's own backward passes of these take most of a step on a CPU: ``embedding_dense_backward`` alone needs five times
as long as the sparse product below. Every backward pass is itself differentiable, as the unrolled step of Algorithm 1
needs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor, nn


def _add_rows(gradient: Tensor, ids: Tensor, n_rows: int) -> Tensor:
    """Sums ``gradient`` [n, X] into zeros [n_rows, X] at ``ids`` [n]."""
    if gradient.device.type != "cpu":
        zeros = gradient.new_zeros((n_rows, gradient.shape[1]))
        return zeros.index_add_(0, ids, gradient)
    n = len(ids)
    ones = np.ones(n, gradient.detach().numpy().dtype)
    # One entry per column: the product walks the gradient once, in order, hence is deterministic too.
    selection = csc_array((ones, ids.numpy(), np.arange(n + 1, dtype=np.int32)), shape=(n_rows, n))
    return torch.from_numpy(selection @ gradient.detach().numpy())


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """Calls an operation; torch leaves ``apply`` without types."""
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


class _Gather(torch.autograd.Function):
    """Rows of a table; where a row is the placeholder, the table's last, given rows instead."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, positions: Tensor | None, rows: Tensor | None) -> Tensor:
        ctx.save_for_backward(ids, positions)
        ctx.n_rows = len(table)
        gathered = nn.functional.embedding(ids, table)
        if positions is not None:
            assert rows is not None
            gathered.view(-1, table.shape[1])[positions] = rows
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
        ids, positions = ctx.saved_tensors
        gradient = gradients[0]
        table = _apply(_Scatter, gradient, ids, ctx.n_rows, positions) if ctx.needs_input_grad[0] else None
        rows = gradient.reshape(-1, gradient.shape[-1])[positions] if positions is not None else None
        return table, None, None, rows


class _Scatter(torch.autograd.Function):
    """The transpose of a gather: what arrives at a row is summed; what arrives at the placeholder is dropped."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, ids: Tensor, n_rows: int, positions: Tensor | None) -> Tensor:
        ctx.save_for_backward(ids, positions)
        table = _add_rows(gradient.reshape(-1, gradient.shape[-1]).contiguous(), ids.reshape(-1), n_rows)
        if positions is not None:
            table[-1] = 0
        return table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        ids, positions = ctx.saved_tensors
        rows = None if positions is None else gradients[0].new_zeros((len(positions), gradients[0].shape[1]))
        return _apply(_Gather, gradients[0], ids, positions, rows), None, None, None


def gather(table: Tensor, ids: Tensor, positions: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """Embeddings of a batch.

    Args:
        table: float [n_rows, X]. Where ``positions`` are given, its last row is a placeholder that gets no gradient.
        ids: integer [batch, fields], row numbers.
        positions: int64 [n] or None: places in the flattened batch whose row is the placeholder.
        rows: float [n, X]: what stands there instead.

    Returns:
        float [batch, fields, X].
    """
    return _apply(_Gather, table, ids, positions, rows)


class _SumOfWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.n_rows = len(weights)
        return weights.index_select(0, ids.flatten()).view(ids.shape).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        return _apply(_SpreadWeights, gradients[0], ids, ctx.n_rows), None


class _SpreadWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, ids: Tensor, n_rows: int) -> Tensor:
        ctx.save_for_backward(ids)
        each = gradient[:, None].expand(ids.shape).reshape(-1)
        return gradient.new_zeros(n_rows).index_add_(0, ids.reshape(-1), each)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        return _apply(_SumOfWeights, gradients[0], ids), None, None


def sum_of_weights(weights: Tensor, ids: Tensor) -> Tensor:
    """First-order term: the sum of each sample's weights.

    Args:
        weights: float [n_rows].
        ids: integer [batch, fields].

    Returns:
        float [batch].
    """
    return _apply(_SumOfWeights, weights, ids)


class _FactorizationMachine(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor) -> Tensor:
        ctx.save_for_backward(embeddings)
        total = embeddings.sum(1)
        squares = torch.linalg.vector_norm(embeddings.flatten(1), dim=1).square_()
        summed: Tensor = 0.5 * (total.square().sum(1) - squares)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (embeddings,) = ctx.saved_tensors
        scale = gradients[0][:, None, None]
        return torch.addcmul(embeddings.sum(1, keepdim=True) * scale, embeddings, scale, value=-1)


def factorization_machine(embeddings: Tensor) -> Tensor:
    """Sum of the inner products of all pairs of fields.

    Args:
        embeddings: float [batch, fields, X].

    Returns:
        float [batch].
    """
    return _apply(_FactorizationMachine, embeddings)


class Dropout(nn.Module):
    """Element-wise dropout; on a CPU its masks come from 16 random bits each, several times faster than torch's.

    The rate is rounded to a multiple of 2^-16. :meth:`reseed` before training, else the masks start from seed 0.

    Args:
        rate: Probability of a zero.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self._bits = np.random.SFC64(0)

    def reseed(self, seed: int) -> None:
        """Starts the stream of masks anew."""
        self._bits = np.random.SFC64(seed)

    def forward(self, inputs: Tensor) -> Tensor:
        """Zeroes elements at random while training, and scales the others to keep the mean; same shape."""
        if not self.training or self.rate == 0:
            return inputs
        if inputs.device.type != "cpu":
            return nn.functional.dropout(inputs, self.rate)
        n = inputs.numel()
        words = self._bits.random_raw(-(-n // 4))
        keep = words.view(np.uint16)[:n] >= np.uint16(round(self.rate * 65536))
        mask = keep.astype(np.float32)
        mask *= np.float32(1 / (1 - self.rate))
        return inputs * torch.from_numpy(mask).view(inputs.shape).to(inputs.dtype)
