"""The differentiable search within a budget of bytes: what it is held to, what it looks at, and what it decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from autodpq.choices import Choice
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.plan import CompressionPlan, bands_of
from autodpq.search.bilevel import ByteLimit
from autodpq.search.knapsack import lower_hull
from autodpq.search.task import SearchTask

MOST_CANDIDATES = 8
"""Of a band, that are searched."""


def thinned(task: SearchTask, losses: Mapping[str, Sequence[float]]) -> dict[str, tuple[Choice, ...]]:
    """The space with at most :data:`MOST_CANDIDATES` a band: those on the lower hull of loss by bytes.

    Args:
        task: The task.
        losses: How much the loss rises under each candidate of each band.
    """
    prices, _ = task.trainer.prices(task.space)
    space = {}
    for name, candidates in task.space.items():
        hull = (
            lower_hull(prices[name], losses[name]) if len(candidates) > MOST_CANDIDATES else [*range(len(candidates))]
        )
        if len(hull) > MOST_CANDIDATES:  # the ends, and evenly between
            places = [round(place * (len(hull) - 1) / (MOST_CANDIDATES - 1)) for place in range(MOST_CANDIDATES)]
            hull = [hull[place] for place in places]
        space[name] = tuple(candidates[option] for option in hull)
    return space


def byte_limit(task: SearchTask, space: Mapping[str, Sequence[Choice]]) -> ByteLimit:
    """What the union of candidates is held to."""
    assert task.budget.bytes is not None
    prices, fixed = task.trainer.prices(space)
    bands = bands_of(task.fields)
    searched = [prices[band.name] for band in bands if band.n_rows]
    kept = sum(prices[band.name][0] for band in bands if not band.n_rows)
    most = max(map(len, searched))
    costs = torch.tensor([row + [0] * (most - len(row)) for row in searched], dtype=torch.float32)
    return ByteLimit(costs.to(task.trainer.device), max(1.0, float(task.budget.bytes - fixed - kept)))


def decide_within(task: SearchTask, supernet: SupernetEmbedding) -> CompressionPlan:
    """The plan within the budget of the largest product of weights."""
    shares = torch.log_softmax(supernet.alpha.detach() + supernet.no_candidate, 1).tolist()
    searched = {supernet.bands[band].name: number for number, band in enumerate(supernet.quantized)}
    losses: dict[str, list[float]] = {}
    for name, candidates in task.space.items():
        if name not in searched:
            losses[name] = [0.0] * len(candidates)
            continue
        number = searched[name]
        known = dict(zip(supernet.candidates[number], shares[number], strict=False))
        losses[name] = [-known[choice] if choice in known else float("inf") for choice in candidates]
    return task.best_within(losses)
