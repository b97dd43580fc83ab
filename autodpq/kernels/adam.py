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
    """One step of Adam on some rows, in place.

    Args:
        table: The weights, float [n, ...].
        mean: First moments, as the table.
        square: Second moments, as the table.
        rows: int64 [m], distinct.
        gradient: float [m, ...].
        rate: The learning rate over the first moment's correction.
        scale: One over the root of the second moment's correction.
        l2: The L2 penalty that is added to the gradient.
        shrink: float [m], the learning rate times the L2 penalty of each row's proximal step; None for none.
    """
    weights = table.index_select(0, rows)
    gradient = gradient + l2 * weights
    new_mean = BETA1 * mean.index_select(0, rows) + (1 - BETA1) * gradient
    new_square = BETA2 * square.index_select(0, rows) + (1 - BETA2) * gradient.square()
    mean.index_copy_(0, rows, new_mean)
    square.index_copy_(0, rows, new_square)
    root = new_square.sqrt() * scale + EPSILON
    weights = weights - rate * new_mean / root
    if shrink is not None:
        weights = weights / (1 + shrink.view(-1, *[1] * (table.dim() - 1)) / root)
    table.index_copy_(0, rows, weights)


@dataclass(frozen=True)
class Group:
    """Weights that are trained alike.

    Attributes:
        weights: The weights.
        learning_rate: Adam's.
        l2: Their L2 penalty: a number, or one for each row, float [n]; of weights with sparse gradients, a number adds
            the penalty of the batch's rows alone, unless steps are proximal.
    """

    weights: Sequence[nn.Parameter]
    learning_rate: float
    l2: float | Tensor = 0.0


@dataclass
class _State:
    """A parameter and what Adam knows of it; ``last`` says with which step each row took its last proximal one."""

    weights: nn.Parameter
    mean: Tensor
    square: Tensor
    step: Tensor
    last: Tensor | None = None


class Adam:
    """Adam (Kingma & Ba, ICLR 2015); torch's own in all but its overhead, which would be a tenth of a step.

    Weights with sparse gradients, each row once, are trained lazily: rows that a batch does not hold rest, and so do
    their moments; with every row in every batch that is Adam too. Weights without a gradient rest.

    An L2 penalty l is added to the gradient, which Adam then divides by its size: where hardly a gradient but the
    penalty's own arrives, it moves weights at full speed however small it is. Proximal steps leave it out of the
    moments: after Adam's step w = w - rate m / d, where d is the root of the second moment, they minimise
    l |w'|^2 / 2 + d |w' - w|^2 / (2 rate), so that w' = w / (1 + rate l / d) (adaptive proximal gradient, Yun et al.,
    NeurIPS 2021, Eq. 3 with Adam's metric). They rest where m + l w = 0: at the minimum of the penalised loss. A row
    that a batch does not hold takes its proximal step with the next batch that does: before the first, d would be 0.

    Args:
        groups: What is trained.
        update: What updates rows: :func:`update_rows`, or its compiled form.
        beta1: The first moments' decay, where gradients are not sparse.
        proximal: Whether penalties are proximal steps instead of parts of the gradient.

    Attributes:
        rate_factor: What all learning rates are multiplied by; 1 until it is set.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        update: Callable[..., None] = update_rows,
        beta1: float = BETA1,
        proximal: bool = False,
    ) -> None:
        self._beta1 = beta1
        self._update = update
        self._proximal = proximal
        self.rate_factor = 1.0
        self._groups = [
            (
                group,
                [
                    _State(w, zeros(*w.shape).to(w), zeros(*w.shape).to(w), torch.zeros((), device=w.device))
                    for w in group.weights
                ],
            )
            for group in groups
        ]

    def zero_grad(self) -> None:
        """Forgets all gradients."""
        for _, states in self._groups:
            for state in states:
                state.weights.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """One step on the gradients that there are."""
        for group, states in self._groups:
            dense = []
            for state in states:
                gradient = state.weights.grad
                if gradient is not None and isinstance(group.l2, Tensor) and not self._proximal:
                    _penalise(gradient, state.weights, group.l2)
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(state, gradient, group)
                elif gradient is not None:
                    dense.append(state)
            if dense:
                self._step_dense(dense, group)

    def _step_dense(self, states: list[_State], group: Group) -> None:
        steps = [state.step for state in states]
        torch._foreach_add_(steps, 1)
        torch._fused_adam_(
            [state.weights for state in states],
            [state.weights.grad for state in states if state.weights.grad is not None],
            [state.mean for state in states],
            [state.square for state in states],
            [],
            steps,
            lr=self.rate_factor * group.learning_rate,
            beta1=self._beta1,
            beta2=BETA2,
            weight_decay=self._added(group),
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
        for state in states:
            self._shrink_rows(state, group)

    def _shrink_rows(self, state: _State, group: Group) -> None:
        """Takes the proximal steps of the rows that a dense gradient holds: of others, nothing may be known yet."""
        gradient = state.weights.grad
        if not self._is_shrunken(group) or gradient is None:
            return
        rows = gradient.reshape(len(gradient), -1).any(1).nonzero().flatten()
        root = state.square[rows].sqrt() * (1 - BETA2**state.step).rsqrt() + EPSILON
        shrink = self._shrink(state, rows, group)
        state.weights[rows] /= 1 + shrink.view(-1, *[1] * (root.dim() - 1)) / root

    def _step_rows(self, state: _State, gradient: Tensor, group: Group) -> None:
        state.step += 1
        rows, values = gradient._indices()[0], gradient._values()
        rate, scale = self.rate_factor * group.learning_rate / (1 - BETA1**state.step), (1 - BETA2**state.step).rsqrt()
        added = torch.tensor(self._added(group), device=values.device)
        shrink = self._shrink(state, rows, group) if self._is_shrunken(group) else None
        self._update(state.weights.detach(), state.mean, state.square, rows, values, rate, scale, added, shrink)

    def _added(self, group: Group) -> float:
        """The penalty that Adam's step itself adds to gradients."""
        return 0.0 if self._proximal or isinstance(group.l2, Tensor) else group.l2

    def _is_shrunken(self, group: Group) -> bool:
        return self._proximal and (isinstance(group.l2, Tensor) or group.l2 > 0)

    def _shrink(self, state: _State, rows: Tensor, group: Group) -> Tensor:
        """What the proximal steps of some rows come to since they were last taken, float [rows]."""
        if state.last is None:
            state.last = torch.zeros(len(state.weights), device=rows.device)
        steps = state.step - state.last[rows]
        state.last[rows] = state.step
        rate = self.rate_factor * group.learning_rate
        return steps * rate * (group.l2[rows] if isinstance(group.l2, Tensor) else group.l2)


def _penalise(gradient: Tensor, weights: Tensor, penalty: Tensor) -> None:
    """Adds an L2 penalty by row to a gradient, in place; to a sparse one for the rows that it holds."""
    if gradient.is_sparse:
        rows, values = gradient._indices()[0], gradient._values()
        values.addcmul_(weights.index_select(0, rows), penalty[rows][:, None])
    else:
        gradient.addcmul_(weights, penalty[:, None])
