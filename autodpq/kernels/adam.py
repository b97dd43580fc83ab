"""Adam, over whole tensors or, where gradients are sparse, over the rows of the batch alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autodpq.kernels.operations import zeros

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
"""Adam's defaults."""


def update_rows(
    table: Tensor, mean: Tensor, square: Tensor, rows: Tensor, gradient: Tensor, rate: Tensor, scale: Tensor, l2: Tensor
) -> None:
    """One step of Adam on some rows, in place.

    Args:
        table: The weights, float [n, ...].
        mean: First moments, as the table.
        square: Second moments, as the table.
        rows: int64 [m], distinct.
        gradient: float [m, ...].
        rate: The learning rate over the first moment's correction.
        scale: One over the root of the second moment's correction.
        l2: The L2 penalty.
    """
    weights = table.index_select(0, rows)
    gradient = gradient + l2 * weights
    new_mean = BETA1 * mean.index_select(0, rows) + (1 - BETA1) * gradient
    new_square = BETA2 * square.index_select(0, rows) + (1 - BETA2) * gradient.square()
    mean.index_copy_(0, rows, new_mean)
    square.index_copy_(0, rows, new_square)
    table.index_copy_(0, rows, weights - rate * new_mean / (new_square.sqrt() * scale + EPSILON))


@dataclass
class _State:
    """A parameter and what Adam knows of it."""

    weights: nn.Parameter
    mean: Tensor
    square: Tensor
    step: Tensor
    penalty: Tensor | None = None


class Adam:
    """Adam (Kingma & Ba, ICLR 2015); torch's own in all but its overhead, which would be a tenth of a step.

    Weights with sparse gradients, each row once, are trained lazily: rows that a batch does not hold rest, and so do
    their moments; with every row in every batch that is Adam too. Weights without a gradient rest.

    Args:
        penalised: Weights with an L2 penalty; a sparse gradient penalises the rows that it holds.
        rest: All other weights.
        learning_rate: Adam's.
        l2: The penalty.
        update: What updates rows: :func:`update_rows`, or its compiled form.
        beta1: The first moments' decay, where gradients are not sparse.
        by_row: Of some of the other weights, float [n, ...], the L2 penalty of each row, float [n].
    """

    def __init__(
        self,
        penalised: Sequence[nn.Parameter],
        rest: Sequence[nn.Parameter],
        learning_rate: float,
        l2: float,
        update: Callable[..., None] = update_rows,
        beta1: float = BETA1,
        by_row: Sequence[tuple[nn.Parameter, Tensor]] = (),
    ) -> None:
        penalties = {id(weights): penalty for weights, penalty in by_row}
        self._beta1 = beta1
        self._rate = learning_rate
        self._update = update
        self._groups = [
            (
                penalty,
                [
                    _State(
                        *(w, zeros(*w.shape).to(w), zeros(*w.shape).to(w), torch.zeros((), device=w.device)),
                        penalties.get(id(w)),
                    )
                    for w in ws
                ],
            )
            for ws, penalty in ((penalised, l2), (rest, 0.0))
        ]

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for _, states in self._groups:
            for state in states:
                state.weights.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step on the gradients that there are."""
        for l2, states in self._groups:
            dense = []
            for state in states:
                gradient = state.weights.grad
                if gradient is not None and state.penalty is not None:
                    _penalise(gradient, state.weights, state.penalty)
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(state, gradient, l2)
                elif gradient is not None:
                    dense.append(state)
            if dense:
                self._step_dense(dense, l2)

    def _step_dense(self, states: list[_State], l2: float) -> None:
        steps = [state.step for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            [state.weights for state in states],
            [state.weights.grad for state in states if state.weights.grad is not None],
            [state.mean for state in states],
            [state.square for state in states],
            [],
            steps,
            lr=self._rate,
            beta1=self._beta1,
            beta2=BETA2,
            weight_decay=l2,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _step_rows(self, state: _State, gradient: Tensor, l2: float) -> None:
        state.step += 1
        rows, values = gradient._indices()[0], gradient._values()
        rate, scale = self._rate / (1 - BETA1**state.step), (1 - BETA2**state.step).rsqrt()
        penalty = torch.tensor(l2, device=values.device)
        self._update(state.weights.detach(), state.mean, state.square, rows, values, rate, scale, penalty)


def _penalise(gradient: Tensor, weights: Tensor, penalty: Tensor) -> None:
    """Adds an L2 penalty by row to a gradient, in place; to a sparse one for the rows that it holds."""
    if gradient.is_sparse:
        rows, values = gradient._indices()[0], gradient._values()
        values.addcmul_(weights.index_select(0, rows), penalty[rows][:, None])
    else:
        gradient.addcmul_(weights, penalty[:, None])
