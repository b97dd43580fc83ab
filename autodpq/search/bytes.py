"""The differentiable search within a budget of bytes: what it is held to, what it looks at, and what it decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from autodpq.choices import Choice
from autodpq.embedding.supernet import SupernetEmbedding
from autodpq.plan import CompressionPlan, bands_of
from autodpq.search.bilevel import ByteLimit
from autodpq.search.knapsack import lower_hull
from autodpq.search.task import SearchTask
from autodpq.training.trainer import Trainer
from autodpq.trial import Space

MOST_CANDIDATES = 8
"""Of a band, that are searched."""
MOST_LOGITS = 4.0
"""How far below the best of its band a candidate starts at most."""


def thinned(trainer: Trainer, space: Space, losses: Mapping[str, Sequence[float]]) -> dict[str, tuple[Choice, ...]]:
    """The space with at most :data:`MOST_CANDIDATES` a band: those on the lower hull of loss by bytes.

    Args:
        trainer: Knows prices.
        space: Candidates of each band.
        losses: How much the loss rises under each of them.
    """
    prices, _ = trainer.prices(space)
    kept = {}
    for name, candidates in space.items():
        hull = (
            lower_hull(prices[name], losses[name]) if len(candidates) > MOST_CANDIDATES else [*range(len(candidates))]
        )
        if len(hull) > MOST_CANDIDATES:  # the ends, and evenly between
            places = [round(place * (len(hull) - 1) / (MOST_CANDIDATES - 1)) for place in range(MOST_CANDIDATES)]
            hull = [hull[place] for place in places]
        kept[name] = tuple(candidates[option] for option in hull)
    return kept


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


@dataclass(frozen=True)
class Start:
    """What the candidates' weights started from.

    Attributes:
        alpha: float [searched bands, candidates], the logits.
        unit: How much a logit of one is of the sum of cross entropies.
    """

    alpha: Tensor
    unit: float


@torch.no_grad()
def start_weights(
    supernet: SupernetEmbedding, losses: Mapping[str, Sequence[float]], space: Space, limit: ByteLimit
) -> Start:
    """Starts the candidates' weights from what sensitivity says of them, at the price of bytes that meets the limit.

    A candidate's logit is minus its rise of the loss and the price of its bytes, in units of the median gap between
    the best two candidates of a band: where these are close, the search decides; where one is far worse, it hardly
    comes to be looked at.

    Args:
        supernet: The union of candidates.
        losses: Rises of the loss under all candidates of each band.
        space: All candidates of each band, in the order of the losses.
        limit: What the candidates may cost.
    """
    costs = limit.costs.double()
    rise = torch.full_like(costs, torch.inf)
    for number, band in enumerate(supernet.quantized):
        name = supernet.bands[band].name
        known = dict(zip(space[name], losses[name], strict=True))
        own = [known[choice] for choice in supernet.candidates[number]]
        rise[number, : len(own)] = torch.tensor(own, dtype=costs.dtype)

    def price_at(taken: Callable[[Tensor], Tensor]) -> float:
        """The least price at which what is taken of all candidates costs no more than the limit."""
        low, high = 0.0, float(rise[rise.isfinite()].max()) + 1.0
        for _ in range(60):
            middle = math.sqrt(max(low, high * 1e-12) * high)
            low, high = (middle, high) if float(taken(rise + middle * costs)) > limit.limit else (low, middle)
        return high

    def best(scores: Tensor) -> Tensor:
        return costs.gather(1, scores.argmin(1, keepdim=True)).sum()

    scores = rise + price_at(best) * costs
    two = scores.topk(min(2, scores.shape[1]), 1, largest=False).values
    gaps = (two[:, -1] - two[:, 0])[two.isfinite().all(1)]
    unit = max(float(gaps.median()) if len(gaps) else 1.0, 1e-9)
    scores = rise + price_at(lambda scores: (torch.softmax(-scores / unit, 1) * costs).sum()) * costs
    scores = (scores - scores.min(1, keepdim=True).values) / unit
    supernet.alpha.copy_(-scores.clamp(max=MOST_LOGITS))
    return Start(supernet.alpha.detach().clone(), unit)


def decide_within(
    task: SearchTask, supernet: SupernetEmbedding, losses: Mapping[str, Sequence[float]], start: Start
) -> CompressionPlan:
    """The plan within the budget by which the loss rises least, as the search has corrected what sensitivity said.

    By how much a candidate's logit rose, so much less the loss rises under it. The logits alone would not do: the price
    of bytes is in them, and the plan of their largest sum would leave bytes unused.

    Args:
        task: The task.
        supernet: The union of candidates, searched.
        losses: Rises of the loss under all candidates of each band, before the search.
        start: What the search started from.
    """
    learnt = (supernet.alpha.detach() - start.alpha).tolist()
    searched = {supernet.bands[band].name: number for number, band in enumerate(supernet.quantized)}
    corrected: dict[str, list[float]] = {}
    for name, candidates in task.space.items():
        if name not in searched:
            corrected[name] = [0.0] * len(candidates)
            continue
        number = searched[name]
        rise = dict(zip(supernet.candidates[number], learnt[number], strict=False))
        corrected[name] = [
            loss / start.unit - rise[choice] if choice in rise else float("inf")
            for choice, loss in zip(candidates, losses[name], strict=True)
        ]
    return task.best_within(corrected)
