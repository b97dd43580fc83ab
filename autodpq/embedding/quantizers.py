"""What makes the rows of rare values, for all fields at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.choices.base import Choice, Made
from autodpq.embedding.groups import Group, SharedRows, group_of
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.product import ProductQuantizers
from autodpq.kernels.kernels import TENSORS, Kernels


class Quantizers(nn.Module):
    """The candidates of all fields: one per field for a plan, several for a search; in groups of one kind each.

    Args:
        candidates: The candidates of each field.
        n_rows: How many rare values each field has.
        embedding_dim: X.
        options: How codes are chosen.
        kernels: What computes them; where floats have 16 bits, k-means and codes too: the paper's numbers stay.
    """

    members: Tensor
    columns: Tensor

    def __init__(
        self,
        candidates: Sequence[Sequence[Choice]],
        n_rows: Sequence[int],
        embedding_dim: int,
        options: QuantizerOptions,
        kernels: Kernels = TENSORS,
    ) -> None:
        super().__init__()
        compiled = options.compact and kernels.compiled_batch > 0
        self.candidates = tuple(tuple(row) for row in candidates)
        self.options = options
        self.groups = nn.ModuleList()
        self._members: list[list[int]] = []
        self._widths: list[int] = []
        self._location: dict[tuple[int, int], tuple[int, int, int]] = {}
        columns = torch.zeros(len(candidates), max(map(len, candidates)), dtype=torch.int64)
        local = []
        start = 0
        for key in sorted({_group_key(choice) for row in candidates for choice in row}, key=_order):
            numbers = [
                [number for number, choice in enumerate(row) if _group_key(choice) == key] for row in self.candidates
            ]
            members = [field for field, row in enumerate(numbers) if row]
            width = max(map(len, numbers))
            # Fields with fewer candidates of the group repeat their first; the copy's output is not read.
            padded = [numbers[field] + numbers[field][:1] * (width - len(numbers[field])) for field in members]
            chosen = [
                [self.candidates[field][number] for number in row] for field, row in zip(members, padded, strict=True)
            ]
            for place, field in enumerate(members):
                for candidate, number in enumerate(numbers[field]):
                    self._location[field, number] = (len(self.groups), place, candidate)
                    columns[field, number] = start + candidate
            start += width
            local.append([members.index(field) if field in members else -1 for field in range(len(candidates))])
            self._members.append(members)
            self._widths.append(width)
            made = [[choice for choice in row if isinstance(choice, Made)] for row in chosen]
            if made[0]:
                group = group_of(made, embedding_dim, options, compiled=compiled)
            else:
                group = SharedRows(chosen, [n_rows[field] for field in members], embedding_dim)
            for place, field in enumerate(members):
                group.leave_out(place, len(numbers[field]))
            self.groups.append(group)
        # Of every field, its place in each group, and where its candidates stand in the groups' outputs side by side.
        self.register_buffer("members", torch.tensor(local), persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self._whole = bool((self.members >= 0).all())
        self._alike = bool((columns == columns[0]).all())

    def group(self, field: int, candidate: int = 0) -> tuple[Group, int, int]:
        """The group of a candidate, and the places of its field and of itself there."""
        number, place, column = self._location[field, candidate]
        group = self.groups[number]
        assert isinstance(group, Group)
        return group, place, column

    def product(self) -> list[ProductQuantizers] | None:
        """All groups, where they are product quantizers of rows as they are."""
        groups = [group for group in self.groups if type(group) is ProductQuantizers]
        return groups if len(groups) == len(self.groups) else None

    def start(self, rows: Tensor, seed: int, field: int, candidate: int = 0) -> None:
        """Starts a candidate from its field's rows, float [n, X]."""
        group, place, column = self.group(field, candidate)
        group.start(rows, place, column, seed)

    def resume(self, arrays: Mapping[str, npt.NDArray[Any]], rows: Tensor, seed: int, field: int) -> Tensor:
        """Goes on from what a packed file holds of a field's only candidate, and the field's rows, float [n, X].

        Gives the rows to go on from, as :meth:`autodpq.embedding.groups.Group.resume` does.
        """
        group, place, column = self.group(field)
        return group.resume(arrays, rows, place, column, seed)

    def shared(self, rows: Tensor, field: int, candidate: int = 0) -> dict[str, npt.NDArray[Any]]:
        """What packing a field's rows, float [n, X], needs beside them."""
        group, place, column = self.group(field, candidate)
        return group.shared(rows, place, column)

    @torch.no_grad()
    def looked_up(self, rows: Tensor, field: int, candidate: int = 0) -> Tensor:
        """All rows of a field, float [n, X], as a packed file gives them."""
        group, place, column = self.group(field, candidate)
        return group.looked_up(rows, place, column)

    def penalise(self, weights: Tensor, l2: float) -> None:
        """Adds the gradient of an L2 penalty on what stands for rows; ``weights``, float [fields], says how often a
        field's is used."""
        for group, members in zip(self.groups, self._members, strict=True):
            assert isinstance(group, Group)
            group.penalise(weights[members], l2)

    def forward(self, rows: Tensor, places: Tensor, fields: Tensor) -> Tensor:
        """Quantizes rows by every candidate of their field.

        Args:
            rows: float [tiles, n, X].
            places: int64 [tiles, n], the rare values whose rows they are, from 0.
            fields: int64 [tiles], the field of each tile.

        Returns:
            float [tiles, candidates, n, X]; arbitrary beyond a field's own number of candidates.
        """
        outputs: list[Tensor] = []
        for number, (group, members) in enumerate(zip(self.groups, self.members, strict=True)):
            if self._whole:
                outputs.append(group(rows, places, fields))
            else:
                local = members[fields]
                here = (local >= 0).nonzero().squeeze(1)
                output = rows.new_zeros((len(rows), self._widths[number], *rows.shape[1:]))
                outputs.append(
                    output.index_copy(0, here, group(rows[here], places[here], local[here])) if len(here) else output
                )
        if len(outputs) == 1:  # as its candidates are then in order
            return outputs[0]
        joined = torch.cat(outputs, 1)
        if self._alike:
            return joined.index_select(1, self.columns[0])
        return joined[torch.arange(len(rows), device=rows.device)[:, None], self.columns[fields]]


def _group_key(choice: Choice) -> tuple[type[Choice], object]:
    """What candidates of one group have in common."""
    return type(choice), type(choice).group_key(choice) if isinstance(choice, Made) else choice


def _order(key: tuple[type[Choice], object]) -> tuple[str, bool, int, str]:
    kind, common = key
    is_number = isinstance(common, int)
    return kind.name, is_number, common if isinstance(common, int) else 0, str(common)
