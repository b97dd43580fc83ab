"""Everything above the embeddings, from dropout to the loss, and its compiled form.

Everything above the embeddings, from dropout to the loss, is one graph with its backward pass, for full batches. A
process compiles it once per model, not once per plan: the embeddings of all plans have one shape.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from autodpq.errors import one_line
from autodpq.kernels.native import compiler
from autodpq.kernels.operations import Dropout
from autodpq.kernels.rows import compiled_rows
from autodpq.models.base import CTRModel

MIN_ROWS = 250_000
"""With fewer training rows, compiling takes longer than it saves in a search of some dozen trials."""
MIN_ROWS_WIDE = 10_000
"""The same where every row is compressed: without a compiler a plan takes twice as long there, AutoDPQ's search ten
times, and to know what choices cost five times."""


def head_logits(dropout: Dropout, model: nn.Module, embeddings: Tensor, first_order: Tensor | None) -> Tensor:
    """Logits, float [batch].

    Args:
        dropout: The embeddings' dropout.
        model: Maps embeddings to logits.
        embeddings: float [batch, fields, X].
        first_order: float [batch], sums of first-order weights, if the model has any.
    """
    logits: Tensor = model(dropout(embeddings))
    return logits if first_order is None else logits + first_order


def head_loss(
    dropout: Dropout,
    model: nn.Module,
    embeddings: Tensor,
    first_order: Tensor | None,
    labels: Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean cross entropy of :func:`head_logits`; ``labels`` are float [batch].

    Where samples have weights, float [batch], it is the mean of weight times cross entropy: with weights of mean 1 over
    all rows, batches add up to the weighted mean, whatever weights each of them has.
    """
    logits = head_logits(dropout, model, embeddings, first_order)
    return nn.functional.binary_cross_entropy_with_logits(logits, labels, weights)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function's compiled form; made when it is needed, for torch's compiler takes a second to import."""
    # Kernels are called from C++: from Python, calling takes as long as some of them.
    return torch.compile(function, fullgraph=True, dynamic=False, options={"cpp_wrapper": True})


def _head_gradients(
    dropout: Dropout,
    model: nn.Module,
    embedded: list[Tensor],
    labels: Tensor,
    parameters: list[Tensor],
    weights: Tensor | None,
) -> tuple[Tensor, ...]:
    """Gradients of :func:`head_loss` by what was embedded and by parameters."""
    embeddings, first_order = embedded[0], embedded[1] if len(embedded) > 1 else None
    loss = head_loss(dropout, model, embeddings, first_order, labels, weights)
    return torch.autograd.grad(loss, embedded + parameters)


def compiled_backward(
    dropout: Dropout,
    model: nn.Module,
    embeddings: Tensor,
    first_order: Tensor | None,
    labels: Tensor,
    weights: Tensor | None = None,
) -> None:
    """What the backward pass of :func:`head_loss` comes to, but for rounding: gradients are added to all weights."""
    for module in (dropout, *model.modules()):
        if isinstance(module, Dropout) and module.drops:
            module.draw(len(labels))
    embedded = [embeddings] if first_order is None else [embeddings, first_order]
    parameters = list(model.parameters())
    gradients = _compiled(_head_gradients)(
        dropout, model, [leaf.detach().requires_grad_() for leaf in embedded], labels, parameters, weights
    )
    for parameter, gradient in zip(parameters, gradients[len(embedded) :], strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    torch.autograd.backward(embedded, gradients[: len(embedded)])


@dataclass(frozen=True)
class Compilation:
    """What came of compiling.

    Attributes:
        seconds: What it took.
        failure: Why steps are not compiled; None if they are.
    """

    seconds: float
    failure: str | None


def why_not(device: torch.device) -> str | None:
    """Why nothing can be compiled for a device; None if it can."""
    if device.type != "cpu":
        return f"steps on {device.type} are not compiled"
    return None if compiler() else "there is no C++ compiler (g++ or clang++)"


def compile_step(
    model: CTRModel,
    n_fields: int,
    embedding_dim: int,
    embedding_dropout: float,
    batch_size: int,
    *,
    lazy: bool,
    weighted: bool = False,
) -> Compilation:
    """Compiles the step of a model by taking one, on random embeddings; the model is used up.

    Args:
        model: The click-through model, freshly made.
        n_fields: Number of fields.
        embedding_dim: X.
        embedding_dropout: Rate of the dropout on the embeddings.
        batch_size: Samples of a step.
        lazy: Whether tables are trained by lazy Adam.
        weighted: Whether samples have weights.
    """
    reason = why_not(next(model.parameters()).device)
    if reason is not None:
        return Compilation(0.0, reason)
    begin = time.perf_counter()
    try:
        embeddings = torch.randn(batch_size, n_fields, embedding_dim, requires_grad=True)
        first_order = torch.randn(batch_size, requires_grad=True) if model.first_order else None
        dropout = Dropout(embedding_dropout, n_fields * embedding_dim)
        # Forward and backward pass in one graph need no activations kept between them.
        torch._dynamo.config.trace_autograd_ops = True
        torch._dynamo.config.recompile_limit = 64  # a process may train many models, recipes and data sets
        labels = torch.ones(batch_size)
        compiled_backward(dropout, model.train(), embeddings, first_order, labels, labels.clone() if weighted else None)
        if lazy:
            compiled_rows()
    except Exception as error:  # a compiler may fail in any way; training goes on without it
        return Compilation(time.perf_counter() - begin, one_line(error))
    return Compilation(time.perf_counter() - begin, None)
