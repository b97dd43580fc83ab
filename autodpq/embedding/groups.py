"""Candidates of one kind, of some fields, trained together: what every group answers to, and the two general ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices.base import Choice, Made
from autodpq.embedding.options import QuantizerOptions


class Group(nn.Module, ABC):
    """Some candidates for each of some fields; a field of the group has a place there, a candidate of a field a column.

    Attributes:
        trains_rows: Whether a row gets the gradient of what it becomes, so that it is penalised as any other row.
        compiled: Whether what starts it and what finds the codes of its rows goes through compiled code.
    """

    trains_rows: ClassVar[bool]
    compiled: bool = False

    @abstractmethod
    def forward(self, rows: Tensor, places: Tensor, fields: Tensor | None = None) -> Tensor:
        """What rows become, while training as gradients need it, else as it is looked up.

        Args:
            rows: float [tiles, n, X].
            places: int64 [tiles, n], the rare values whose rows they are, from 0.
            fields: int64 [tiles], the place in the group of each tile's field, rising; None where each has one tile.

        Returns:
            float [tiles, candidates, n, X].
        """

    @abstractmethod
    def start(
        self, rows: Tensor, place: int, column: int, seed: int, weights: Tensor | None = None, n_iterations: int = 10
    ) -> None:
        """Starts what a candidate trains beside rows.

        Args:
            rows: float [n, X], all rare values' of the field.
            place: Of the field.
            column: Of the candidate.
            seed: Seeds what is drawn.
            weights: float [n], how often each row is used; None for alike.
            n_iterations: Rounds of what is iterated.
        """

    def resume(
        self, arrays: Mapping[str, npt.NDArray[Any]], rows: Tensor, place: int, column: int, seed: int
    ) -> Tensor:
        """Goes on from what a packed file holds; where the kind says no more, rows that came out of it say all.

        Args:
            arrays: What :meth:`autodpq.choices.Made.pack` gave.
            rows: float [n, X], rows as they were looked up there, and what new ones start from.
            place: Of the field.
            column: Of the candidate.
            seed: Seeds what is drawn.

        Returns:
            Rows to go on from, float [n, X], of which what was stored is made again.
        """
        self.start(rows, place, column, seed)
        return rows

    @abstractmethod
    def shared(self, rows: Tensor, place: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """What :meth:`autodpq.choices.Made.pack` needs beside the rows, float [n, X]."""

    @abstractmethod
    def looked_up(self, rows: Tensor, place: int, column: int) -> Tensor:
        """All rows of a field, float [n, X], as a packed file gives them."""

    @abstractmethod
    def carry(self, own: int, source: Group, place: int, column: int, factor: Tensor, shift: Tensor) -> None:
        """Takes over what a candidate of another group of the kind has learned; a field of this one has one candidate.

        Args:
            own: The place of the field here.
            source: The other group.
            place: Of the field there.
            column: Of the candidate there.
            factor: float [X], what its rows are then multiplied by.
            shift: float [X], what is added to them.
        """

    def penalise(self, weights: Tensor, l2: float) -> None:
        """Adds the gradient of the penalty l2 |q|^2 / 2 of what stands for rows, each as often as it does; ``weights``
        is float [fields of the group], their numbers of rare values."""
        return None

    def leave_out(self, place: int, column: int) -> None:
        """Says that a field has no candidates from a column on: what stands there is a copy that is not read."""
        return None


class StraightThrough(Group):
    """One choice for several fields, in terms of its own methods: see :class:`autodpq.choices.Made`.

    Args:
        members: The choice, once for every field.
        dim: X.
        options: How rows are stored.
    """

    trains_rows: ClassVar[bool] = True

    def __init__(self, members: Sequence[Sequence[Made]], dim: int, options: QuantizerOptions) -> None:
        super().__init__()
        self.choice = members[0][0]
        self._compact = options.compact
        shapes = self.choice.start(np.eye(dim, dtype=np.float32), 0)
        self.parts = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(len(members), *array.shape)) for name, array in shapes.items()}
        )

    def forward(self, rows: Tensor, places: Tensor, fields: Tensor | None = None) -> Tensor:
        """What rows become, float [tiles, 1, n, X]."""
        if not self.parts:
            rounded = self._rounded(rows.flatten(0, 1), {}).view_as(rows)
            # Of the two terms in brackets only the gradient is left.
            made = rounded + (rows - rows.detach()) if self.training else rounded
            return made[:, None]
        owners = torch.arange(len(rows), device=rows.device) if fields is None else fields
        made = torch.empty_like(rows)
        for place in torch.unique(owners).tolist():
            tiles = (owners == place).nonzero().squeeze(1)
            some = rows[tiles].flatten(0, 1)
            shared = {name: part[place] for name, part in self.parts.items()}
            of_field = self.choice.trained(some, shared) if self.training else self._rounded(some, shared)
            made = made.index_copy(0, tiles, of_field.view(len(tiles), *rows.shape[1:]))
        return made[:, None]

    @torch.no_grad()
    def start(
        self, rows: Tensor, place: int, column: int, seed: int, weights: Tensor | None = None, n_iterations: int = 10
    ) -> None:
        """Starts what rows share, by the choice's own start."""
        for name, array in self.choice.start(_array(rows), seed).items():
            self.parts[name][place] = torch.from_numpy(array)

    def shared(self, rows: Tensor, place: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """What rows share."""
        return {name: _array(part[place]) for name, part in self.parts.items()}

    def looked_up(self, rows: Tensor, place: int, column: int) -> Tensor:
        """All rows as a packed file gives them."""
        return self._rounded(rows, {name: part[place] for name, part in self.parts.items()})

    @torch.no_grad()
    def carry(self, own: int, source: Group, place: int, column: int, factor: Tensor, shift: Tensor) -> None:
        """Takes over what rows share."""
        assert isinstance(source, StraightThrough)
        for name, part in self.parts.items():
            part[own] = source.parts[name][place]

    def _rounded(self, rows: Tensor, shared: Mapping[str, Tensor]) -> Tensor:
        arrays = {name: _array(part) for name, part in shared.items()}
        return torch.from_numpy(self.choice.rounded(_array(rows), arrays, self._compact)).to(rows)


class SharedRows(Group):
    """Candidates whose rows are kept, in a union: values of one row have it beside the rows of their own.

    Args:
        members: Candidates of each field, equally many.
        n_rows: How many rare values each field has.
        dim: X.
    """

    trains_rows: ClassVar[bool] = True

    def __init__(self, members: Sequence[Sequence[Choice]], n_rows: Sequence[int], dim: int) -> None:
        super().__init__()
        self.n_rows = tuple(n_rows)
        self.moduli = [[choice.modulus(n) for choice in row] for row, n in zip(members, n_rows, strict=True)]
        self.tables = nn.ParameterDict(
            {
                f"{place}-{column}": nn.Parameter(torch.zeros(modulus, dim))
                for place, row in enumerate(self.moduli)
                for column, modulus in enumerate(row)
                if modulus < n_rows[place]
            }
        )

    def forward(self, rows: Tensor, places: Tensor, fields: Tensor | None = None) -> Tensor:
        """Rows of their own, or the ones that values share."""
        owners = range(len(rows)) if fields is None else fields.tolist()
        width = len(self.moduli[0])
        kept = [
            [self._of(rows[tile], places[tile], place, c) for c in range(width)] for tile, place in enumerate(owners)
        ]
        return torch.stack([torch.stack(row) for row in kept]) if kept else rows.new_zeros(0, width, *rows.shape[1:])

    def _of(self, rows: Tensor, places: Tensor, place: int, column: int) -> Tensor:
        table = self.table(place, column)
        return rows if table is None else nn.functional.embedding(places % len(table), table)

    def table(self, place: int, column: int) -> Tensor | None:
        """The rows that a candidate's values share, float [modulus, X]; None where each has one of its own."""
        key = f"{place}-{column}"
        return self.tables[key] if key in self.tables else None

    @torch.no_grad()
    def start(
        self, rows: Tensor, place: int, column: int, seed: int, weights: Tensor | None = None, n_iterations: int = 10
    ) -> None:
        """Starts every shared row from the mean of its values' rows."""
        table = self.table(place, column)
        if table is not None:
            table.copy_(mean_rows(rows, len(table), weights))

    def shared(self, rows: Tensor, place: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """Nothing: rows are not packed here."""
        return {}

    def looked_up(self, rows: Tensor, place: int, column: int) -> Tensor:
        """All rows of a field."""
        return self._of(rows, torch.arange(len(rows), device=rows.device), place, column)

    def carry(self, own: int, source: Group, place: int, column: int, factor: Tensor, shift: Tensor) -> None:
        """Nothing: a plan's kept rows are in its table."""
        return None


def group_of(
    members: Sequence[Sequence[Made]], dim: int, options: QuantizerOptions, *, compiled: bool = False
) -> Group:
    """What trains candidates of one kind together, as the kind has it.

    Args:
        members: The candidates of some fields, equally many of each, all of one :meth:`autodpq.choices.Made.group_key`.
        dim: X.
        options: How codes are chosen.
        compiled: Whether k-means and codes go through compiled code.
    """
    own: Group | None = type(members[0][0]).group(members, dim, options)
    group = StraightThrough(members, dim, options) if own is None else own
    group.compiled = compiled
    return group


def mean_rows(rows: Tensor, modulus: int, weights: Tensor | None = None) -> Tensor:
    """Means of the rows that values share, float [modulus, X].

    Args:
        rows: float [n, X]; row t belongs to t modulo ``modulus``.
        modulus: How many shared rows there are, at most n.
        weights: float [n], how often each row is used; None for alike. Where all of a row's are 0, alike.
    """
    numbers = torch.arange(len(rows), device=rows.device) % modulus
    counts = torch.ones(len(rows), dtype=torch.double, device=rows.device) if weights is None else weights.double()
    totals = counts.new_zeros(modulus).index_add_(0, numbers, counts)
    counts = torch.where(totals[numbers] > 0, counts, torch.ones_like(counts))
    totals = counts.new_zeros(modulus).index_add_(0, numbers, counts)
    shares = counts / totals[numbers]
    sums = rows.new_zeros((modulus, rows.shape[1]), dtype=torch.double)
    return sums.index_add_(0, numbers, rows.double() * shares[:, None]).to(rows.dtype)


def _array(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.detach().cpu().numpy().astype(np.float32, copy=False)
    return array
