"""The choices of least error within a number of bytes, for the tables of a torch model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices import DPQ, OPQ, Choice, Float16, Full, Int, Narrow
from autodpq.choices.base import layout_bytes
from autodpq.errors import AutoDPQError
from autodpq.packed.drop_in import Replaceable
from autodpq.packed.spec import BandedSpec, TableSpec
from autodpq.packed.trainable import TrainableTable
from autodpq.plan import band_names


class BudgetTooSmall(AutoDPQError):
    """No choice is as small as a budget asks for."""


K_CANDIDATES = (4, 16, 32, 64, 128, 256)
"""Numbers of centroids that a budget chooses from; those of subspaces are the divisors of the dimension."""


def default_candidates(dim: int) -> tuple[Choice, ...]:
    """What a budget chooses from where nothing else is said, for rows of X numbers."""
    divisors = [number for number in range(1, dim + 1) if dim % number == 0]
    products = [DPQ(K, D) for K, D in product(K_CANDIDATES, divisors)]
    turned = [OPQ(K, D) for K, D in product(K_CANDIDATES, divisors) if 1 < D < dim]
    return (*products, *turned, Int(2), Int(4), Int(8), Float16(), *(Narrow(d) for d in divisors if d < dim))


_HALVINGS = 60  # of the price of a byte
_PRICED_ROWS = 16384  # a budget compares choices on at most so many rows of a band


@dataclass(frozen=True)
class Table:
    """A weight to compress.

    Attributes:
        modules: The modules whose weight it is, by their names in the model.
        counts: How often each row is used, float64 [rows].
        numbers: Which band each row is of, int64 [rows]; -1 where it is kept as it is.
        banded: Whether it is stored by bands; else there is one.
    """

    modules: dict[str, Replaceable]
    counts: Tensor
    numbers: Tensor
    banded: bool

    @property
    def name(self) -> str:
        """The name of its first module."""
        return next(iter(self.modules))

    @property
    def weight(self) -> nn.Parameter:
        """The trained rows, float32 [rows, X]."""
        weight = self.modules[self.name].weight
        assert isinstance(weight, nn.Parameter)
        return weight

    @property
    def n_bands(self) -> int:
        """How many bands there are, one where all rows are kept."""
        return max(1, int(self.numbers.max()) + 1)

    @property
    def is_kept(self) -> bool:
        """Whether all rows are."""
        return bool((self.numbers < 0).all())

    def band_names(self, module: str) -> tuple[str, ...]:
        """What plans call the bands of one of its modules."""
        return band_names(module, self.n_bands)

    def trainable(self, choices: Sequence[Choice], seed: int) -> TrainableTable:
        """The table while it is fine-tuned, a choice for each band."""
        numbers, weight = self.numbers.to(self.weight.device), self.weight
        padding_idx = self.modules[self.name].padding_idx
        trained = _trainable(weight, numbers, choices, padding_idx, self.banded)
        trained.start(self.counts.to(weight.device), seed)
        return trained

    def n_bytes(self, number: int, choice: Choice) -> int:
        """What a band takes in a packed file; where there are none, what the table does."""
        n_rows, dim = self.weight.shape
        if self.banded:
            own = int((self.numbers == number).sum())
            return layout_bytes(BandedSpec(self.name, dim, ((own, choice),), 0).layout)
        if choice == Full():
            return n_rows * dim * 4
        is_tail = self.numbers == 0
        n_head = n_rows - int(is_tail.sum())
        ranked = not is_tail[:n_head].any()
        return layout_bytes(TableSpec(self.name, n_rows, dim, n_head, choice, 0, bool(ranked)).layout)

    def n_fixed_bytes(self) -> int:
        """What it takes beside that, whatever the choices are: where rows are kept, and which band each is of."""
        if self.is_kept:
            return self.weight.numel() * 4
        if not self.banded:
            return 0
        full, numbers = [Full()] * self.n_bands, self.numbers.to(self.weight.device)
        whole = _trainable(self.weight, numbers, full, None, self.banded).spec
        return layout_bytes(whole.layout) - sum(self.n_bytes(number, Full()) for number in range(self.n_bands))


def _trainable(
    weight: nn.Parameter, numbers: Tensor, choices: Sequence[Choice], padding_idx: int | None, banded: bool
) -> TrainableTable:
    """A table of which rows of no band are kept: they are the last band, or the first of two where there are none."""
    if not banded:
        return TrainableTable(weight, numbers + 1, (Full(), *choices), padding_idx, banded)
    if (numbers < 0).any():
        numbers, choices = torch.where(numbers < 0, len(choices), numbers), (*choices, Full())
    return TrainableTable(weight, numbers, choices, padding_idx, banded)


def within(
    tables: Sequence[Table], candidates: Sequence[Choice] | None, budget: float, seed: int
) -> list[tuple[Choice, ...]]:
    """The choices of least error that fit, for each table one per band; none where the table is left as it is.

    Args:
        tables: All that the budget is for.
        candidates: What is chosen from beside ``Full()``; None for :func:`default_candidates`.
        budget: Bytes, or below 1 a share of what the tables take in 32 bits.
        seed: Seeds k-means, and which rows of a large band are priced.

    Raises:
        AutoDPQError: The budget is no number, or a candidate does not fit a table.
        BudgetTooSmall: Nothing fits.
    """
    if not np.isfinite(budget):
        raise AutoDPQError(f"budget: {budget} given, a number of bytes or a share below 1 is needed")
    full = sum(table.weight.numel() * 4 for table in tables)
    limit = int(budget * full if budget < 1 else budget)
    bands = [(table, number) for table in tables if not table.is_kept for number in range(table.n_bands)]
    options = [_options(table, number, candidates, seed) for table, number in bands]
    fixed = sum(table.n_fixed_bytes() for table in tables)
    costs = [np.array([n_bytes for n_bytes, _, _ in of_band]) for of_band in options]
    errors = [np.array([error for _, error, _ in of_band]) for of_band in options]
    least = fixed + sum(int(own.min()) for own in costs)
    if least > limit:
        raise BudgetTooSmall(f"budget: {limit:,} bytes of {full:,} are too few; no choice is below {least:,}")
    best = least_error(costs, errors, limit - fixed)
    chosen: list[tuple[Choice, ...]] = [() for _ in tables]
    places = {id(table): place for place, table in enumerate(tables)}
    for (table, _), of_band, option in zip(bands, options, best, strict=True):
        chosen[places[id(table)]] += (of_band[option][2],)
    # By bands rows that stay are stored in 16 bits, which is less than what they take where they are left.
    return [() if not table.banded and own == (Full(),) else own for table, own in zip(tables, chosen, strict=True)]


def least_error(
    costs: Sequence[npt.NDArray[np.int64]], errors: Sequence[npt.NDArray[np.float64]], limit: int
) -> list[int]:
    """Of each band the option by which the sum of errors is least within the limit, found exactly.

    This is the multiple-choice knapsack by dominance, with bounds (Kellerer et al., Knapsack problems, 2004, chapter
    11): of the beginnings of a solution, one that costs as much as another and is no better is dropped, and so is one
    that cannot become better than a solution that is known, even at the price of a byte that relaxes the limit.

    Args:
        costs: Bytes of each option, int64 [options] per band; the cheapest ones fit.
        errors: The error of each, float64 [options] per band.
        limit: Bytes.
    """
    price, known = _price(costs, errors, limit)
    behind = [float((error + price * cost).min()) for cost, error in zip(costs, errors, strict=True)]
    cheapest = [int(cost.min()) for cost in costs]
    slack = 1e-9 * (known + price * limit)  # what sums may be off by
    cost, error = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []
    for number, (own_costs, own_errors) in enumerate(zip(costs, errors, strict=True)):
        sums = (cost[:, None] + own_costs).reshape(-1)
        totals = (error[:, None] + own_errors).reshape(-1)
        bounds = totals + price * (sums - limit) + sum(behind[number + 1 :])
        possible = np.flatnonzero((sums + sum(cheapest[number + 1 :]) <= limit) & (bounds <= known + slack))
        order = possible[np.lexsort((totals[possible], sums[possible]))]
        before = np.minimum.accumulate(np.append(np.inf, totals[order]))[:-1]
        order = order[totals[order] < before]
        cost, error = sums[order], totals[order]
        steps.append((order // len(own_costs), order % len(own_costs)))
    place, chosen = len(cost) - 1, []
    for parents, numbers in reversed(steps):
        chosen.append(int(numbers[place]))
        place = int(parents[place])
    return chosen[::-1]


def _price(
    costs: Sequence[npt.NDArray[np.int64]], errors: Sequence[npt.NDArray[np.float64]], limit: int
) -> tuple[float, float]:
    """The least price of a byte found at which the best options fit, and the least error of options that fit."""

    def chosen_at(price: float) -> tuple[int, float]:
        """Bytes and error of the options that are best at a price, of equals the cheapest."""
        pairs = list(zip(costs, errors, strict=True))
        found = [int(np.lexsort((cost, error + price * cost))[0]) for cost, error in pairs]
        own = [(int(cost[n]), float(error[n])) for (cost, error), n in zip(pairs, found, strict=True)]
        return sum(cost for cost, _ in own), sum(error for _, error in own)

    n_bytes, known = chosen_at(0.0)
    if n_bytes <= limit:
        return 0.0, known
    # A byte is worth no more than all errors, so that at this price every option is the cheapest of its band.
    low, high = 0.0, 1.0 + sum(float(error.max() - error.min()) for error in errors)
    known = sum(float(error[np.lexsort((error, cost))[0]]) for cost, error in zip(costs, errors, strict=True))
    for _ in range(_HALVINGS):
        price = (low + high) / 2
        n_bytes, error = chosen_at(price)
        if n_bytes <= limit:
            high, known = price, min(known, error)
        else:
            low = price
    return high, known


def _options(
    table: Table, number: int, candidates: Sequence[Choice] | None, seed: int
) -> list[tuple[int, float, Choice]]:
    """Bytes and squared error of every choice for a band, an error counted as often as its row is used."""
    own = table.numbers == number
    rows, weights = table.weight.detach().cpu()[own], table.counts[own]
    full = table.n_bytes(number, Full())
    if len(rows) > _PRICED_ROWS:
        generator = torch.Generator().manual_seed(seed)
        sample = torch.randperm(len(rows), generator=generator)[:_PRICED_ROWS]
        weights = weights[sample] * (len(rows) / _PRICED_ROWS)
        rows = rows[sample]
    priced: list[tuple[int, float, Choice]] = [(full, _error(rows, weights, Full(), table.banded, seed), Full())]
    for choice in default_candidates(rows.shape[1]) if candidates is None else candidates:
        choice.check(rows.shape[1], f"candidates: module {table.band_names(table.name)[number]!r}")
        n_bytes = table.n_bytes(number, choice)
        if n_bytes < full:
            priced.append((n_bytes, _error(rows, weights, choice, table.banded, seed), choice))
    return priced


def _error(rows: Tensor, weights: Tensor, choice: Choice, banded: bool, seed: int) -> float:
    numbers = torch.zeros(len(rows), dtype=torch.long)
    tried = _trainable(nn.Parameter(rows), numbers, (choice,), None, banded).eval()
    tried.start(weights, seed, n_iterations=8)
    with torch.no_grad():
        made = tried(torch.arange(len(rows)))
    return float(((rows - made).square().sum(1).double() * weights).sum())
