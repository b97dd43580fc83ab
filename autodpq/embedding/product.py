"""Differentiable product quantization (Eq. 1; Chen et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autodpq.embedding.groups import Group
from autodpq.embedding.kmeans import decode, kmeans_centroids, weighted_centroids
from autodpq.embedding.options import QuantizerOptions
from autodpq.kernels.kmeans import compiled_codes
from autodpq.kernels.native import is_known

ENCODING_BATCH = 65536


class ProductQuantizers(Group):
    """Quantizers of one D, computed together: some candidates for each of some fields.

    Those with fewer centroids than the largest K are padded; the padding never wins and gets no gradient.

    Args:
        sizes: K of each candidate of each field; all fields have equally many.
        n_subspaces: D.
        embedding_dim: X, a multiple of D.
        options: How codes are chosen.
    """

    trains_rows: ClassVar[bool] = False
    padding: Tensor
    share: Tensor

    def __init__(
        self, sizes: Sequence[Sequence[int]], n_subspaces: int, embedding_dim: int, options: QuantizerOptions
    ) -> None:
        super().__init__()
        self.sizes = tuple(tuple(row) for row in sizes)
        self.n_subspaces = n_subspaces
        self.options = options
        n_fields, n_candidates, largest = len(sizes), len(sizes[0]), max(map(max, sizes))
        self.keys = nn.Parameter(torch.randn(n_fields, n_candidates, largest, embedding_dim) * 0.01)
        padding = torch.zeros(n_fields, n_candidates, 1, 1, largest)
        share = torch.zeros(n_fields, n_candidates, largest, 1)
        for field, row in enumerate(sizes):
            for candidate, size in enumerate(row):
                padding[field, candidate, ..., size:] = -torch.inf
                share[field, candidate, :size] = 1 / size
        self.register_buffer("padding", padding, persistent=False)
        self.register_buffer("share", share, persistent=False)

    def _by_subspace(self, centroids: Tensor) -> Tensor:
        """Centroids [fields, candidates, K, X] as [fields, candidates, D, K, X / D]."""
        return _split(centroids, 3, (self.n_subspaces, -1)).transpose(2, 3)

    def _scale(self) -> float:
        """What scores are multiplied by; where no softmax is taken of them, so that little is rounded."""
        if self.options.gradient == "softmax":
            return 1 / self.options.temperature
        return 0.5 if self.options.scores == "euclidean" else 1.0

    def scores(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """How well each centroid fits each row, divided by the temperature of the softmax.

        Args:
            rows: float [fields, n, X].
            fields: int64, which fields the rows are of; None for all.

        Returns:
            float [fields, candidates, D, n, K]; minus infinity where there is no centroid.
        """
        keys = self._by_subspace(_some(self.keys, fields))
        n_fields, n_candidates = keys.shape[:2]
        parts = _split(rows, 2, (self.n_subspaces, -1)).transpose(1, 2)[:, None]
        parts = parts.expand(-1, n_candidates, -1, -1, -1).flatten(0, 2)
        euclidean = self.options.scores == "euclidean"
        scale, bias = self._scale(), _some(self.padding, fields)
        if euclidean:
            # -|r - q|^2 without the row's own square, which is the same for every centroid.
            bias = bias - scale * keys.square().sum(4)[:, :, :, None]
            scale *= 2
        bias = bias.expand(-1, -1, self.n_subspaces, -1, -1).flatten(0, 2)
        scores = torch.baddbmm(bias, parts, keys.flatten(0, 2).transpose(1, 2), alpha=scale)
        return _split(scores, 0, (n_fields, n_candidates, self.n_subspaces))

    def encode(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """Codes of rows, float [fields, n, X]: int64 [fields, candidates, n, D], each below its quantizer's K."""
        if self._is_compiled(rows):
            n_tiles, n_rows, _ = rows.shape
            owners = range(n_tiles) if fields is None else fields.tolist()
            columns = range(len(self.sizes[0]))
            codes = torch.empty((n_tiles, len(columns), n_rows, self.n_subspaces), dtype=torch.int64)
            for tile, place in enumerate(owners):
                for column in columns:
                    codes[tile, column] = self._compiled_codes(rows[tile], place, column)
            return codes
        return self.scores(rows, fields).argmax(4).transpose(2, 3)

    def _is_compiled(self, rows: Tensor) -> bool:
        """Whether the codes of rows are found by compiled code, which knows the nearest centroids."""
        return self.compiled and self.options.scores == "euclidean" and is_known(rows)

    def _compiled_codes(self, rows: Tensor, place: int, column: int) -> Tensor:
        """Codes of a field's rows, float [n, X]: int64 [n, D]."""
        return compiled_codes(self._turned(rows, place), self.centroids(place, column), self.n_subspaces)

    def decode(self, codes: Tensor, fields: Tensor | None = None) -> Tensor:
        """Rows of codes, float [fields, candidates, n, X]; codes are as :meth:`encode` gives them."""
        values = self._by_subspace(_some(self.keys, fields))
        places = codes.transpose(2, 3)[..., None].expand(-1, -1, -1, -1, values.shape[4])
        return values.gather(3, places).transpose(2, 3).flatten(3)

    def forward(self, rows: Tensor, places: Tensor, fields: Tensor | None = None) -> Tensor:
        """Quantized rows (Eq. 1).

        While training, per subspace the centroids weighted by a softmax of their scores, or the best centroid straight
        through; else the best centroid, which is what the codes keep.
        """
        if not self.training:
            return self.decode(self.encode(rows, fields), fields)
        if self.options.gradient == "centroid":
            # Of the two terms in brackets only the gradient is left.
            return self.decode(self.encode(rows.detach(), fields), fields) + (rows - rows.detach())[:, None]
        scores = self.scores(rows, fields)
        weights = torch.softmax(scores, dim=4)
        parts = torch.bmm(weights.flatten(0, 2), self._by_subspace(_some(self.keys, fields)).flatten(0, 2))
        return parts.view(*scores.shape[:4], -1).transpose(2, 3).flatten(3)

    def location(self, place: int, column: int) -> tuple[Tensor, int]:
        """Where a candidate's centroids lie: in which tensor, and from which number on."""
        return self.keys, place * self.keys.stride(0) + column * self.keys.stride(1)

    def centroids(self, place: int, column: int) -> Tensor:
        """The centroids of a candidate, float [K, X], a view."""
        return self.keys[place, column, : self.sizes[place][column]]

    @torch.no_grad()
    def set_centroids(self, centroids: Tensor, place: int, column: int) -> None:
        """Starts a quantizer from centroids, float [K, X]."""
        self.keys[place, column, : len(centroids)] = centroids

    def start(
        self, rows: Tensor, place: int, column: int, seed: int, weights: Tensor | None = None, n_iterations: int = 10
    ) -> None:
        """Starts centroids by k-means; from a k-means++ start where rows have weights."""
        size, D = self.sizes[place][column], self.n_subspaces
        if weights is None:
            centroids = kmeans_centroids(rows, size, D, seed, n_iterations, compiled=self.compiled)
        else:
            centroids = weighted_centroids(rows, weights, size, D, seed, n_iterations, compiled=self.compiled)
        self.set_centroids(centroids, place, column)

    def resume(
        self, arrays: Mapping[str, npt.NDArray[Any]], rows: Tensor, place: int, column: int, seed: int
    ) -> Tensor:
        """Takes the stored centroids."""
        centroids = torch.from_numpy(arrays["centroids"].astype(np.float32))
        self.set_centroids(centroids.to(rows.device), place, column)
        return rows

    @torch.no_grad()
    def codes(self, rows: Tensor, place: int, column: int) -> Tensor:
        """Codes of a whole column, float [n, X]: int64 [n, D].

        Always scored in the same parts, for the last digit of a score depends on what is scored together: a row halfway
        between two centroids has one code, whichever batch it stands in.
        """
        if self._is_compiled(rows):
            return self._compiled_codes(rows, place, column)
        fields = torch.tensor([place], device=rows.device)
        parts = torch.split(rows, ENCODING_BATCH)
        return torch.cat([self.encode(part[None], fields)[0, column] for part in parts])

    def _turned(self, rows: Tensor, place: int) -> Tensor:
        """A field's rows as centroids lie among them."""
        return rows

    def shared(self, rows: Tensor, place: int, column: int) -> dict[str, npt.NDArray[Any]]:
        """Centroids and codes."""
        codes, centroids = self.codes(rows, place, column), self.centroids(place, column)
        return {"centroids": np.array(centroids.detach().cpu().numpy(), order="C"), "codes": codes.cpu().numpy()}

    @torch.no_grad()
    def looked_up(self, rows: Tensor, place: int, column: int) -> Tensor:
        """What the codes of all rows stand for."""
        return decode(self.codes(rows, place, column), self.centroids(place, column))

    @torch.no_grad()
    def carry(self, own: int, source: Group, place: int, column: int, factor: Tensor, shift: Tensor) -> None:
        """Takes over a candidate's centroids."""
        assert isinstance(source, ProductQuantizers)
        self.set_centroids(factor * source.centroids(place, column) + shift, own, 0)

    @torch.no_grad()
    def penalise(self, weights: Tensor, l2: float) -> None:
        """Adds the gradient of the penalty, a centroid as often as it serves a rare value on average: n / K times."""
        gradient = l2 * (weights[:, None, None, None] * self.share) * self.keys
        self.keys.grad = gradient if self.keys.grad is None else self.keys.grad.add_(gradient)

    def leave_out(self, place: int, column: int) -> None:
        """The copies have no penalty."""
        self.share[place, column:] = 0


def _split(tensor: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """Splits one axis into several; torch leaves ``unflatten`` without types."""
    split: Tensor = tensor.unflatten(axis, sizes)  # type: ignore[no-untyped-call]
    return split


def _some(tensor: Tensor, fields: Tensor | None) -> Tensor:
    """The entries of some fields, or of all."""
    return tensor if fields is None else tensor.index_select(0, fields)
