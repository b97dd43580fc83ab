"""The smallest compression of any torch model at a loss that one allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy.typing as npt
import torch
from torch import nn

from autodpq.bracket import Bracket
from autodpq.choices import Choice
from autodpq.errors import AutoDPQError
from autodpq.packed.budget import BudgetTooSmall
from autodpq.packed.compress import compress, silent
from autodpq.plan import Bands

_LEAST_SHARE = 2.0**-8


def shrink(
    model: nn.Module,
    counts: Mapping[str, npt.ArrayLike],
    *,
    evaluate: Callable[[nn.Module], float],
    max_loss: float,
    steps: int = 6,
    candidates: str | Sequence[Choice] | None = None,
    modules: str | Sequence[str] = "*",
    threshold: int | None = None,
    bands: Bands | None = None,
    finetune: Callable[[nn.Module], object] | None = None,
    seed: int = 0,
    say: Callable[[str], object] | None = None,
) -> nn.Module:
    """Compresses a trained model's embedding tables as far as a loss allows.

    Budgets between all that the tables take and a 256th of it are narrowed down in logarithm until they are within
    15 %; at each that is tried the model is compressed, fine-tuned and evaluated. Rows that choose a model do not show
    how good it is: measure what comes out on others.

    Args:
        model: A trained model; it stays as it is.
        counts: As :func:`autodpq.compress` takes them, and so all that is not said here.
        evaluate: Gives a model's quality on validation rows, as its AUC: the greater, the better. It is called with the
            model in evaluation mode, where no gradients are kept.
        max_loss: How much less of it than the model's own is allowed.
        steps: How many compressions are tried at most.
        candidates: What becomes of rows.
        modules: Names or patterns of the modules to compress.
        threshold: Rows that occur at least so often are kept as they are.
        bands: Where the bands of a module's rows begin; None makes none.
        finetune: Trains a compressed model as it was trained before.
        seed: Seeds k-means.
        say: Is told a line for each budget that is tried, as ``print`` is.

    Returns:
        The smallest of the compressed copies whose loss is allowed.

    Raises:
        AutoDPQError: No copy's loss is allowed, ``max_loss`` is no number from 0, ``evaluate`` gives none, or
            something does not fit as for :func:`autodpq.compress`.
    """
    if not (math.isfinite(max_loss) and max_loss >= 0):
        raise AutoDPQError(f"max_loss: {max_loss} given, a number from 0 on is needed")
    if steps < 1:
        raise AutoDPQError(f"steps: {steps} given, at least 1 is needed")
    full, tell = _quality(model, evaluate), say or silent
    found: nn.Module | None = None
    nearest, tried, bracket = math.inf, 0, Bracket(_LEAST_SHARE, 1.0, max_loss, high_loss=0.0)
    while tried < steps and not bracket.is_narrow:
        share, tried = bracket.middle(), tried + 1
        try:
            made = compress(
                model, counts, budget=share, candidates=candidates, modules=modules, threshold=threshold,
                bands=bands, finetune=finetune, seed=seed,
            )  # fmt: skip
        except BudgetTooSmall:
            bracket.refuse(share)
            tell(f"{share:.1%} of the bytes: too few for any choice")
            continue
        loss = full - _quality(made, evaluate)
        tell(f"{share:.1%} of the bytes: loses {loss:.4g}, {'allowed' if loss <= max_loss else 'too much'}")
        nearest = min(nearest, loss)
        if loss <= max_loss:
            found = made
            bracket.allow(share, loss)
        else:
            bracket.refuse(share, loss)
    if found is None:
        least = f"the nearest loses {nearest:.4g}" if nearest < math.inf else "every budget was too small"
        raise AutoDPQError(f"max_loss: none of {tried} compressed models loses {max_loss:g} or less; {least}")
    return found


def _quality(model: nn.Module, evaluate: Callable[[nn.Module], float]) -> float:
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            value = float(evaluate(model))
    finally:
        model.train(training)
    if not math.isfinite(value):
        raise AutoDPQError(f"evaluate: it gave {value}, a number is needed")
    return value
