"""Optimized product quantization: product quantizers of turned rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autodpq.choices.opq import read_rotation, rotation_of, turned_back
from autodpq.embedding.groups import Group
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.product import ProductQuantizers


class TurnedProductQuantizers(ProductQuantizers):
    """Product quantizers of one D whose rows are turned before, and turned back after; see
    :class:`autodpq.choices.opq.OPQ`.

    Args:
        sizes: K of each candidate of each field; all fields have equally many.
        n_subspaces: D.
        embedding_dim: X, a multiple of D.
        options: How codes are chosen.
    """

    rotations: Tensor

    def __init__(
        self, sizes: Sequence[Sequence[int]], n_subspaces: int, embedding_dim: int, options: QuantizerOptions
    ) -> None:
        super().__init__(sizes, n_subspaces, embedding_dim, options)
        # A field's candidates have one: it follows from the field's rows and D.
        self.register_buffer("rotations", torch.eye(embedding_dim).repeat(len(sizes), 1, 1))

    def _of(self, fields: Tensor | None) -> Tensor:
        return self.rotations if fields is None else self.rotations.index_select(0, fields)

    def scores(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """How well each centroid fits each row, once it is turned."""
        return super().scores(rows @ self._of(fields), fields)

    def decode(self, codes: Tensor, fields: Tensor | None = None) -> Tensor:
        """Rows of codes, turned back, as look-ups add them up."""
        # Once a field, however many tiles it has.
        entries = turned_back(self.keys, self.rotations[:, None], self.n_subspaces)
        owners = torch.arange(len(entries), device=codes.device) if fields is None else fields
        return _added_up(entries, codes, owners)

    def forward(self, rows: Tensor, places: Tensor, fields: Tensor | None = None) -> Tensor:
        """Quantized rows (Eq. 1)."""
        made = super().forward(rows, places, fields)
        if self.training and self.options.gradient == "softmax":
            return made @ self._of(fields).transpose(1, 2)[:, None]
        return made

    @torch.no_grad()
    def start(
        self, rows: Tensor, place: int, column: int, seed: int, weights: Tensor | None = None, n_iterations: int = 10
    ) -> None:
        """Starts the rotation from how rows vary, centroids by k-means on turned rows."""
        used = None if weights is None else weights.cpu().numpy()
        rotation = rotation_of(rows.detach().cpu().numpy(), used, self.n_subspaces)
        self.rotations[place] = torch.from_numpy(rotation)
        super().start(self._turned(rows, place), place, column, seed, weights, n_iterations)

    def _turned(self, rows: Tensor, place: int) -> Tensor:
        return rows @ self.rotations[place]

    def resume(
        self, arrays: Mapping[str, npt.NDArray[Any]], rows: Tensor, place: int, column: int, seed: int
    ) -> Tensor:
        """Takes the stored centroids and the stored rotation, which turns and turns back all but exactly."""
        super().resume(arrays, rows, place, column, seed)
        rotation = torch.from_numpy(read_rotation(arrays["rotation"])).to(rows.device)
        self.rotations[place] = rotation
        inverse = torch.linalg.inv(rotation.double())
        # Rows that come to lie on the centroids that they were looked up from.
        found: Tensor = (rows.double() @ inverse.T @ inverse).to(rows)
        return found

    def shared(self, rows: Tensor, place: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """Centroids, codes and the rotation."""
        rotation = np.array(self.rotations[place].cpu().numpy(), order="C")
        return {**super().shared(rows, place, column), "rotation": rotation}

    @torch.no_grad()
    def looked_up(self, rows: Tensor, place: int, column: int) -> Tensor:
        """What the codes of all rows stand for."""
        entries = turned_back(self.centroids(place, column), self.rotations[place], self.n_subspaces)
        codes = self.codes(rows, place, column)
        return _added_up(entries[None, None], codes[None, None], codes.new_zeros(1))[0, 0]

    @torch.no_grad()
    def carry(self, own: int, source: Group, place: int, column: int, factor: Tensor, shift: Tensor) -> None:
        """Takes over a candidate's centroids and the rotation; what is turned is on one scale as it is."""
        assert isinstance(source, TurnedProductQuantizers)
        self.set_centroids(source.centroids(place, column), own, 0)
        self.rotations[own] = source.rotations[place]


def _added_up(entries: Tensor, codes: Tensor, owners: Tensor) -> Tensor:
    """What codes stand for, float [tiles, candidates, n, X], added up subspace after subspace.

    Args:
        entries: float [fields, candidates, D, K, X].
        codes: int64 [tiles, candidates, n, D].
        owners: int64 [tiles], the field of each.
    """
    _, n_candidates, n_subspaces, size, _ = entries.shape
    candidates = torch.arange(n_candidates, device=codes.device)
    first = (owners[:, None] * n_candidates + candidates)[:, :, None] * n_subspaces
    flat = entries.flatten(0, 3)
    rows = flat[first * size + codes[..., 0]]
    for subspace in range(1, n_subspaces):
        rows = rows + flat[(first + subspace) * size + codes[..., subspace]]
    return rows
