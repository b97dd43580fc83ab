"""Plans within a number of bytes: the best by a sum over bands, one drawn evenly, one near another (numpy only)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from autodpq.errors import AutoDPQError

UNITS = 20_000
"""What a limit is divided into: costs are rounded up to units, so that no plan is ever above it. With a hundred bands
that wastes at most half a percent of it."""

Floats = npt.NDArray[np.float64]


def cheapest(costs: Sequence[Sequence[int]]) -> int:
    """Bytes of the smallest plan."""
    return sum(min(row) for row in costs)


def best_within(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]], limit: int) -> list[int]:
    """Of each band the option by which the sum of losses is least and that of costs at most the limit.

    This is the multiple-choice knapsack (Kellerer et al., Knapsack problems, 2004, chapter 11), by dynamic programming.

    Args:
        costs: Bytes of each option of each band.
        losses: The loss of each, finite.
        limit: Bytes.

    Raises:
        AutoDPQError: Even the cheapest options cost more.
    """
    steps, room = _units(costs, limit)
    if steps is None:
        return _smallest(costs, losses)
    # What is behind a band: least[r] is the least loss of the bands from it on within r units.
    least = [np.zeros(room + 1)]
    for row, own in zip(reversed(steps), reversed(list(losses)), strict=True):
        best = np.full(room + 1, np.inf)
        for step, loss in zip(row, own, strict=True):
            if step <= room:
                np.minimum(best[step:], least[-1][: room + 1 - step] + loss, out=best[step:])
        least.append(best)
    least.reverse()
    if not np.isfinite(least[0][room]):
        return _smallest(costs, losses)
    chosen, left = [], room
    for number, (row, own) in enumerate(zip(steps, losses, strict=True)):
        behind = least[number + 1]
        sums = [behind[left - step] + loss if step <= left else np.inf for step, loss in zip(row, own, strict=True)]
        chosen.append(int(np.argmin(sums)))
        left -= row[chosen[-1]]
    return chosen


def drawn_within(costs: Sequence[Sequence[int]], limit: int, rng: np.random.Generator) -> list[int]:
    """Of each band an option, drawn evenly from all plans that cost at most the limit.

    How many plans fit is counted from the last band to the first; each band's option is then drawn by how many plans
    it leaves.

    Args:
        costs: Bytes of each option of each band.
        limit: Bytes.
        rng: Draws.

    Raises:
        AutoDPQError: Even the cheapest options cost more.
    """
    steps, room = _units(costs, limit)
    if steps is None:
        return _smallest(costs, costs)
    # Logarithms: there are more plans than a float can count.
    plans = [np.zeros(room + 1)]
    for row in reversed(steps):
        parts = np.full((len(row), room + 1), -np.inf)
        for part, step in zip(parts, row, strict=True):
            if step <= room:
                part[step:] = plans[-1][: room + 1 - step]
        plans.append(np.logaddexp.reduce(parts, 0))
    plans.reverse()
    if not np.isfinite(plans[0][room]):
        return _smallest(costs, costs)
    chosen, left = [], room
    for number, row in enumerate(steps):
        counts = np.array([plans[number + 1][left - step] if step <= left else -np.inf for step in row])
        shares = np.exp(counts - counts.max())
        chosen.append(int(rng.choice(len(row), p=shares / shares.sum())))
        left -= row[chosen[-1]]
    return chosen


def near_within(
    costs: Sequence[Sequence[int]], asked: Sequence[int], limit: int, rng: np.random.Generator
) -> list[int]:
    """Of each band an option, so that all cost at most the limit, near the options that are asked for.

    In an order that is drawn, each band gets what is asked for, or where there is no room for that beside the cheapest
    of all that follow, the dearest up to it that there is room for. Hardly any bytes are left unused: plans that are
    made much cheaper than they must be are worse.

    Args:
        costs: Bytes of each option of each band.
        asked: Of each band an option.
        limit: Bytes.
        rng: Draws.

    Raises:
        AutoDPQError: Even the cheapest options cost more.
    """
    left, chosen = _left(costs, limit), _smallest(costs, costs)
    for band in rng.permutation(len(costs)).tolist():
        row, cheap, wanted = costs[band], chosen[band], asked[band]
        most = min(row[wanted], row[cheap] + left)
        chosen[band] = max(range(len(row)), key=lambda option: (row[option] <= most, row[option], option == wanted))
        left -= row[chosen[band]] - row[cheap]
    return chosen


def lower_hull(costs: Sequence[int], losses: Sequence[float]) -> list[int]:
    """The options on the lower convex hull of loss by cost, by rising cost: what any price of a byte could choose."""
    hull: list[int] = []
    for option in sorted(range(len(costs)), key=lambda option: (costs[option], losses[option], option)):
        if hull and losses[option] >= losses[hull[-1]]:
            continue
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], option, costs, losses):
            hull.pop()
        hull.append(option)
    return hull


def _is_above(first: int, middle: int, last: int, costs: Sequence[int], losses: Sequence[float]) -> bool:
    """Whether the middle one of three options lies on or above the line between the others."""
    rise = (losses[last] - losses[first]) * (costs[middle] - costs[first])
    return (losses[middle] - losses[first]) * (costs[last] - costs[first]) >= rise


def _left(costs: Sequence[Sequence[int]], limit: int) -> int:
    """Bytes that are left when each band has its cheapest option."""
    least = cheapest(costs)
    if least > limit:
        raise AutoDPQError(f"{limit:,} bytes are too few: the smallest plan takes {least:,}")
    return limit - least


def _units(costs: Sequence[Sequence[int]], limit: int) -> tuple[list[list[int]] | None, int]:
    """Costs above each band's cheapest in units, rounded up, and units in all; none where nothing is left to spend."""
    left = _left(costs, limit)
    unit = max(1, -(-left // UNITS))
    if not left:
        return None, 0
    return [[-(-(cost - min(row)) // unit) for cost in row] for row in costs], left // unit


def _smallest(costs: Sequence[Sequence[int]], losses: Sequence[Sequence[float]]) -> list[int]:
    """The cheapest options; of equals the one of least loss."""
    return [
        min(range(len(row)), key=lambda option: (row[option], own[option]))
        for row, own in zip(costs, losses, strict=True)
    ]
