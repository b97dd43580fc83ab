"""Budgets of bytes: how they are written, and what they come to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from autodpq.choices import Choice, Full
from autodpq.costs import ledger, prices
from autodpq.errors import AutoDPQError
from autodpq.models import CTRModel
from autodpq.plan import Field, uniform_plan
from autodpq.search.knapsack import cheapest
from autodpq.training.recipes import Recipe
from autodpq.training.trainer import dense_weights

_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}


def read_budget(text: str) -> tuple[float, bool]:
    """What a budget says: bytes, or a share of FE's.

    Returns:
        The number, and whether it is a share.

    Raises:
        AutoDPQError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%|[a-zA-Z]*)\s*", text)
    unit = found[2].lower() if found else None
    if found is None or unit not in ("%", "", *_UNITS) or not float(found[1]):
        raise AutoDPQError(f"--budget: {text!r} is no size; 100kB, 1.5MB, 93207 or 10% (of FE's bytes) are")
    if unit == "%":
        if float(found[1]) > 100:
            raise AutoDPQError(f"--budget: {text!r} is more than FE's bytes")
        return float(found[1]) / 100, True
    return float(found[1]) * _UNITS[unit or "b"], False


def full_bytes(fields: Sequence[Field], model: type[CTRModel], recipe: Recipe) -> int:
    """Bytes of FE, in floats of 32 bits."""
    dense, first_order = dense_weights(model, len(fields), recipe), model.first_order
    plan = uniform_plan(fields, Full())
    return ledger(fields, plan, recipe.embedding_dim, first_order=first_order, dense=dense).bytes


def budget_bytes(texts: Sequence[str], fields: Sequence[Field], model: type[CTRModel], recipe: Recipe) -> list[int]:
    """What budgets come to for a model.

    Args:
        texts: As they are written.
        fields: All fields.
        model: The model.
        recipe: How it is trained.

    Raises:
        AutoDPQError: One is no size, is above FE's bytes, or two are the same.
    """
    full = full_bytes(fields, model, recipe)
    found: list[int] = []
    for text in texts:
        number, is_share = read_budget(text)
        n_bytes = int(number * full) if is_share else int(number)
        if n_bytes > full:
            raise AutoDPQError(f"--budget: {text!r} is more than the {full:,} bytes of FE with {model.name}")
        if n_bytes in found:
            raise AutoDPQError(f"--budget: {text!r} is {n_bytes:,} bytes, which is given twice")
        found.append(n_bytes)
    return found


def least_bytes(
    fields: Sequence[Field],
    space: Mapping[str, Sequence[Choice]],
    model: type[CTRModel],
    recipe: Recipe,
    compact: bool,
) -> int:
    """Bytes of the smallest plan."""
    own, fixed = prices(
        fields,
        space,
        recipe.embedding_dim,
        first_order=model.first_order,
        dense=dense_weights(model, len(fields), recipe),
        compact=compact,
    )
    return cheapest([*own.values()]) + fixed


def check_budgets(
    budgets: Sequence[int],
    fields: Sequence[Field],
    space: Mapping[str, Sequence[Choice]],
    model: type[CTRModel],
    recipe: Recipe,
    compact: bool,
) -> None:
    """Refuses budgets that no plan is within.

    Raises:
        AutoDPQError: Says how small the smallest plan is.
    """
    least = least_bytes(fields, space, model, recipe, compact)
    for n_bytes in budgets:
        if n_bytes < least:
            raise AutoDPQError(
                f"--budget: {n_bytes:,} bytes are too few: the smallest plan with {model.name} takes {least:,}"
            )
