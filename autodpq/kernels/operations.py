"""The few tensor operations that the training step is made of, each with a backward pass of its own.

Torch's own backward passes of these take most of a step on a CPU: ``embedding_dense_backward`` alone needs five times
as long as the sparse product below. Every backward pass is itself differentiable, as the unrolled step of Algorithm 1
needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csc_array
from torch import Tensor, nn

_FEW = 1024  # rows of a gradient


def zeros(*shape: int) -> Tensor:
    """Zeros, float32, for what is read and written at random rows.

    They begin with a cache line and, where they are many, lie in huge pages, which NumPy asks Linux for and torch does
    not: at ten million rows, a random row is there in half the time.
    """
    size, line = math.prod(shape), 64
    array = np.zeros(size + line // 4, np.float32)
    start = -array.ctypes.data % line // 4
    return torch.from_numpy(array[start : start + size]).view(shape)


@dataclass(frozen=True)
class Merge:
    """The distinct row numbers of a batch: gradients of a large table are summed over these alone.

    Attributes:
        rows: int64 [n], the distinct numbers, rising.
        places: integer, in the batch's shape, where in ``rows`` each of its numbers stands.
    """

    rows: Tensor
    places: Tensor

    @classmethod
    def of(cls, ids: Tensor) -> Merge:
        """Merges the row numbers of a batch, int32 of any shape."""
        if ids.device.type != "cpu":
            return cls(*torch.unique(ids.long(), return_inverse=True))
        # Numbers and positions in one 64-bit key: sorting it is several times faster than sorting indirectly.
        keys = ids.flatten().numpy().astype(np.int64) << 32
        keys |= np.arange(len(keys))
        keys.sort()
        numbers = keys >> 32
        is_new = np.empty(len(keys), bool)
        is_new[:1] = True
        np.not_equal(numbers[1:], numbers[:-1], out=is_new[1:])
        places = np.empty(len(keys), np.int32)
        places[keys & 0xFFFFFFFF] = np.cumsum(is_new, dtype=np.int32) - 1
        return cls(torch.from_numpy(numbers[is_new]), torch.from_numpy(places).view(ids.shape))

    def read(self, table: Tensor, ids: Tensor) -> Tensor:
        """Rows of a table, float [*ids.shape, X]; of a table float [n_rows], float of the ids' shape.

        Args:
            table: float [n_rows, X], or float [n_rows].
            ids: integer, the numbers that were merged, or others in their place.
        """
        return table.index_select(0, ids.flatten()).view(*ids.shape, *table.shape[1:])

    def add(self, gradient: Tensor, places: Tensor, n_rows: int) -> Tensor:
        """Sums what arrives at the distinct rows, float [n_rows, X] or [n_rows].

        Args:
            gradient: float [n, X], or float [n].
            places: integer [n]; also [n, fields] for a gradient [n], each entry of which is then added for all fields.
            n_rows: How many rows there are.
        """
        return _add_rows(gradient, places, n_rows)

    def table_gradient(self, gradient: Tensor, n_rows: int, *, placeholder: bool) -> Tensor:
        """The gradient of a table, sparse, each row once.

        Args:
            gradient: float [batch, fields, X].
            n_rows: Rows of the table.
            placeholder: Whether the table's last row, in whose place all later numbers stand, gets none.
        """
        rows, places = self.rows, self.places.reshape(-1)
        if placeholder:
            rows = rows[: torch.searchsorted(rows, n_rows - 1)]
            places = places.clamp(max=len(rows))
        values = self.add(gradient.reshape(-1, gradient.shape[-1]), places, len(rows) + placeholder)
        return _rows_gradient(rows, values[: len(rows)], n_rows)

    def weights_gradient(self, gradient: Tensor, n_rows: int) -> Tensor:
        """The gradient of first-order weights, sparse, each once.

        Args:
            gradient: float [batch], of the samples' sums.
            n_rows: How many weights there are.
        """
        return _rows_gradient(self.rows, self.add(gradient, self.places, len(self.rows)), n_rows)


def _rows_gradient(rows: Tensor, values: Tensor, n_rows: int) -> Tensor:
    """A sparse gradient: ``values`` [n, ...] of ``rows`` [n], which are distinct and rise."""
    size = (n_rows, *values.shape[1:])
    return torch.sparse_coo_tensor(rows[None], values, size, is_coalesced=True, check_invariants=False)


def sum_rows(values: Tensor, index: Tensor, n_rows: int) -> Tensor:
    """Sums into zeros at row numbers, float [n_rows, X] or [n_rows].

    Args:
        values: float [n, X], or float [n].
        index: integer [n].
        n_rows: Rows of the sum.
    """
    if not values.is_cuda:
        return values.new_zeros((n_rows, *values.shape[1:])).index_add_(0, index, values)
    # In torch's deterministic mode, index_add_ walks through all entries of a row one after another; the gradient of an
    # embedding sums them in parts side by side, twenty times faster where half of a batch is of one value.
    rows = values if values.dim() > 1 else values[:, None]
    sums: Tensor = torch.ops.aten.embedding_dense_backward(rows, index, n_rows, -1, False)
    return sums if values.dim() > 1 else sums[:, 0]


def _add_rows(gradient: Tensor, ids: Tensor, n_rows: int) -> Tensor:
    """Sums into zeros at row numbers.

    Args:
        gradient: float [n, X], or float [n].
        ids: integer [n]; also [n, fields] for a gradient [n], each entry of which is then added for all fields.
        n_rows: Rows of the sum.
    """
    # The product below takes a tenth of a millisecond to set up.
    if gradient.device.type != "cpu" or gradient.dim() == 1 or len(gradient) < _FEW:
        each = gradient[:, None].expand(ids.shape).reshape(-1) if ids.dim() > 1 else gradient
        return sum_rows(each, ids.reshape(-1), n_rows)
    n = len(ids)
    ones = np.ones(n, gradient.detach().numpy().dtype)
    # One column per row of the gradient: the product walks it once, in order, hence is deterministic too.
    selection = csc_array((ones, ids.numpy(), np.arange(n + 1, dtype=np.int32)), shape=(n_rows, n))
    return torch.from_numpy(selection @ gradient.detach().numpy())


def _apply(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """Calls an operation; torch leaves ``apply`` without types."""
    output: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return output


class _Gather(torch.autograd.Function):
    """Rows of a table; where a row is the placeholder, the table's last, given rows instead."""

    @staticmethod
    def forward(
        ctx: Any, table: Tensor, ids: Tensor, positions: Tensor | None, rows: Tensor | None, merge: Merge | None
    ) -> Tensor:
        ctx.save_for_backward(ids, positions)
        ctx.n_rows = len(table)
        ctx.merge = merge
        gathered = nn.functional.embedding(ids, table) if merge is None else merge.read(table, ids)
        if positions is not None:
            assert rows is not None
            gathered.view(-1, table.shape[1])[positions] = rows
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, Tensor | None, None]:
        ids, positions = ctx.saved_tensors
        gradient, table, rows = gradients[0], None, None
        if ctx.needs_input_grad[0] and ctx.merge is not None:
            table = ctx.merge.table_gradient(gradient, ctx.n_rows, placeholder=positions is not None)
        elif ctx.needs_input_grad[0]:
            table = _apply(_Scatter, gradient, ids, ctx.n_rows, positions)
        if positions is not None:
            rows = gradient.reshape(-1, gradient.shape[-1])[positions]
        return table, None, None, rows, None


class _Scatter(torch.autograd.Function):
    """The transpose of a gather: what arrives at a row is summed; what arrives at the placeholder is dropped."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, ids: Tensor, n_rows: int, positions: Tensor | None) -> Tensor:
        ctx.save_for_backward(ids, positions)
        table = _add_rows(gradient.reshape(-1, gradient.shape[-1]), ids.reshape(-1), n_rows)
        if positions is not None:
            table[-1] = 0
        return table

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        ids, positions = ctx.saved_tensors
        rows = None if positions is None else gradients[0].new_zeros((len(positions), gradients[0].shape[1]))
        return _apply(_Gather, gradients[0], ids, positions, rows, None), None, None, None


def gather(
    table: Tensor,
    ids: Tensor,
    positions: Tensor | None = None,
    rows: Tensor | None = None,
    merge: Merge | None = None,
) -> Tensor:
    """Embeddings of a batch.

    Args:
        table: float [n_rows, X]. Where ``positions`` are given, its last row is a placeholder that gets no gradient.
        ids: integer [batch, fields], row numbers.
        positions: int64 [n] or None: places in the flattened batch whose row is the placeholder.
        rows: float [n, X]: what stands there instead.
        merge: The merged ``ids``, in which those of ``positions`` may also stand as later numbers: the table's
            gradient is then sparse, and cannot be differentiated once more.

    Returns:
        float [batch, fields, X].
    """
    return _apply(_Gather, table, ids, positions, rows, merge)


def distinct_rows(table: Tensor, rows: Tensor, merge: Merge | None = None) -> Tensor:
    """Rows of a table, float [n, X].

    Args:
        table: float [n_rows, X].
        rows: int64 [n], distinct numbers, rising.
        merge: Of the batch that they are of: the table's gradient is then sparse, and cannot be differentiated once
            more.
    """
    if merge is None:
        return table.index_select(0, rows)
    places = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    return gather(table, rows, merge=type(merge)(rows, places))


class _SumOfWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, ids: Tensor, merge: Merge | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.n_rows = len(weights)
        ctx.merge = merge
        of_ids = weights.index_select(0, ids.flatten()).view(ids.shape) if merge is None else merge.read(weights, ids)
        return of_ids.sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        if ctx.merge is not None:
            return ctx.merge.weights_gradient(gradients[0], ctx.n_rows), None, None
        return _apply(_SpreadWeights, gradients[0], ids, ctx.n_rows), None, None


class _SpreadWeights(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, ids: Tensor, n_rows: int) -> Tensor:
        ctx.save_for_backward(ids)
        return _add_rows(gradient, ids, n_rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        return _apply(_SumOfWeights, gradients[0], ids, None), None, None


def sum_of_weights(weights: Tensor, ids: Tensor, merge: Merge | None = None) -> Tensor:
    """First-order term: the sum of each sample's weights.

    Args:
        weights: float [n_rows].
        ids: integer [batch, fields].
        merge: The merged ``ids``: the gradient is then sparse, and cannot be differentiated once more.

    Returns:
        float [batch].
    """
    return _apply(_SumOfWeights, weights, ids, merge)


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
    if torch.compiler.is_compiling():  # which derives and fuses the backward pass itself
        return 0.5 * (embeddings.sum(1).square().sum(1) - embeddings.flatten(1).square().sum(1))
    return _apply(_FactorizationMachine, embeddings)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation; torch's own, but that compiled code takes mean and variance in two plain passes.

    Torch's compiler makes Welford's recurrence of it, one dependent step per sample, five times slower.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalises float [batch, n]."""
        if not (self.training and torch.compiler.is_compiling()):
            return super().forward(inputs)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        assert self.momentum is not None
        mean = inputs.mean(0)
        centred = inputs - mean
        variance = centred.square().mean(0)
        with torch.no_grad():
            n = len(inputs)
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / (n - 1)), self.momentum)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


class Dropout(nn.Module):
    """Element-wise dropout; on a CPU its masks come from 16 random bits each, several times faster than torch's.

    The rate is rounded to a multiple of 2^-16. :meth:`reseed` before training, else the masks start from seed 0.

    Args:
        rate: Probability of a zero.
        width: Elements of a sample.
    """

    def __init__(self, rate: float, width: int) -> None:
        super().__init__()
        self.width = width
        self.mask = torch.empty(0)
        self._bits = np.random.SFC64(0)
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Drops so many from now on. What was compiled for another rate stays as it is, unless either is 0."""
        self.rate = rate
        self.drops = rate > 0  # what compiled code looks at: it would be made anew for every other rate

    def reseed(self, seed: int) -> None:
        """Starts the stream of masks anew."""
        self._bits = np.random.SFC64(seed)

    def forward(self, inputs: Tensor) -> Tensor:
        """Zeroes elements at random while training, and scales the others to keep the mean; same shape."""
        if not self.training or not self.drops:
            return inputs
        if inputs.device.type != "cpu":
            return nn.functional.dropout(inputs, self.rate)
        if not torch.compiler.is_compiling():
            self.draw(len(inputs))
        return inputs * self.mask.view(inputs.shape).to(inputs.dtype)

    def draw(self, n_samples: int) -> None:
        """Draws the mask of a batch; compiled code cannot, and takes the one that was drawn."""
        n = n_samples * self.width
        words = self._bits.random_raw(-(-n // 4))
        keep = words.view(np.uint16)[:n] >= np.uint16(round(self.rate * 65536))
        self.mask = torch.from_numpy(np.multiply(keep, 1 / (1 - self.rate), dtype=np.float32))
