"""Differentiable product quantization, DPQ-SX (Eq. 1; Chen et al., ICML 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from autodpq.embedding.kmeans import decode
from autodpq.errors import AutoDPQError
from autodpq.ledger import check_divides
from autodpq.plan import DPQ

ENCODING_BATCH = 65536


@dataclass(frozen=True, slots=True)
class QuantizerOptions:
    """How codes are chosen. The defaults are the paper's.

    Attributes:
        temperature: tau_KD of the softmax over centroids; the smaller, the harder.
        scores: ``inner`` (inner products) or ``euclidean`` (minus the squared distance).
        straight_through: Forward with the best centroid alone, backward through the softmax.
        gumbel: Add Gumbel noise to the scores while training.
        separate_values: Decode with centroids of their own instead of the ones that encode (keys and values one Q).
    """

    temperature: float = 1e-4
    scores: Literal["inner", "euclidean"] = "inner"
    straight_through: bool = False
    gumbel: bool = False
    separate_values: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise AutoDPQError(f"temperature: {self.temperature} given, a number above 0 is needed")
        if self.scores not in ("inner", "euclidean"):
            raise AutoDPQError(f"scores: {self.scores!r} given, inner or euclidean is needed")


class QuantizerGroup(nn.Module):
    """Quantizers of one D, computed together: some candidates for each of some fields.

    Those with fewer centroids than the largest K are padded; the padding never wins and gets no gradient.

    Args:
        sizes: K of each candidate of each field; all fields have equally many.
        n_subspaces: D.
        embedding_dim: X, a multiple of D.
        options: How codes are chosen.
    """

    padding: Tensor
    share: Tensor

    def __init__(
        self, sizes: Sequence[Sequence[int]], n_subspaces: int, embedding_dim: int, options: QuantizerOptions
    ) -> None:
        super().__init__()
        check_divides(n_subspaces, embedding_dim, "quantizer")
        self.n_subspaces = n_subspaces
        self.options = options
        n_fields, n_candidates, largest = len(sizes), len(sizes[0]), max(map(max, sizes))
        self.keys = nn.Parameter(torch.randn(n_fields, n_candidates, largest, embedding_dim) * 0.01)
        self.separate = nn.Parameter(self.keys.detach().clone()) if options.separate_values else None
        padding = torch.zeros(n_fields, n_candidates, 1, 1, largest)
        share = torch.zeros(n_fields, n_candidates, largest, 1)
        for field, row in enumerate(sizes):
            for candidate, size in enumerate(row):
                padding[field, candidate, ..., size:] = -torch.inf
                share[field, candidate, :size] = 1 / size
        self.register_buffer("padding", padding, persistent=False)
        self.register_buffer("share", share, persistent=False)

    @property
    def values(self) -> Tensor:
        """The centroids that decode, float [fields, candidates, K, X]."""
        return self.keys if self.separate is None else self.separate

    def _by_subspace(self, centroids: Tensor) -> Tensor:
        """Centroids [fields, candidates, K, X] as [fields, candidates, D, K, X / D]."""
        return _split(centroids, 3, (self.n_subspaces, -1)).transpose(2, 3)

    def scores(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """How well each centroid fits each row, divided by the temperature.

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
        scale, bias = 1 / self.options.temperature, _some(self.padding, fields)
        if self.options.scores == "euclidean":
            # -|r - q|^2 without the row's own square, which is the same for every centroid.
            bias = bias - scale * keys.square().sum(4)[:, :, :, None]
            scale *= 2
        bias = bias.expand(-1, -1, self.n_subspaces, -1, -1).flatten(0, 2)
        scores = torch.baddbmm(bias, parts, keys.flatten(0, 2).transpose(1, 2), alpha=scale)
        return _split(scores, 0, (n_fields, n_candidates, self.n_subspaces))

    def encode(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """Codes of rows, float [fields, n, X]: int64 [fields, candidates, n, D], each below its quantizer's K."""
        return self.scores(rows, fields).argmax(4).transpose(2, 3)

    def decode(self, codes: Tensor, fields: Tensor | None = None) -> Tensor:
        """Rows of codes, float [fields, candidates, n, X]; codes are as :meth:`encode` gives them."""
        values = self._by_subspace(_some(self.values, fields))
        places = codes.transpose(2, 3)[..., None].expand(-1, -1, -1, -1, values.shape[4])
        return values.gather(3, places).transpose(2, 3).flatten(3)

    def forward(self, rows: Tensor, fields: Tensor | None = None) -> Tensor:
        """Quantized rows (Eq. 1).

        While training, per subspace the centroids weighted by a softmax of their scores; else the best centroid, which
        is what the codes keep.

        Args:
            rows: float [fields, n, X].
            fields: int64, which fields the rows are of; None for all.

        Returns:
            float [fields, candidates, n, X].
        """
        if not self.training:
            return self.decode(self.encode(rows, fields), fields)
        scores = self.scores(rows, fields)
        if self.options.gumbel:
            scores = scores - torch.empty_like(scores).exponential_().log() / self.options.temperature
        weights = torch.softmax(scores, dim=4)
        if self.options.straight_through:
            hard = torch.zeros_like(weights).scatter_(4, scores.argmax(4, keepdim=True), 1.0)
            weights = hard + weights - weights.detach()
        parts = torch.bmm(weights.flatten(0, 2), self._by_subspace(_some(self.values, fields)).flatten(0, 2))
        return parts.view(*scores.shape[:4], -1).transpose(2, 3).flatten(3)


def _split(tensor: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """Splits one axis into several; torch leaves ``unflatten`` without types."""
    split: Tensor = tensor.unflatten(axis, sizes)  # type: ignore[no-untyped-call]
    return split


def _some(tensor: Tensor, fields: Tensor | None) -> Tensor:
    """The entries of some fields, or of all."""
    return tensor if fields is None else tensor.index_select(0, fields)


class Quantizers(nn.Module):
    """The quantizers of all fields: one per field for a plan, one per candidate for a search.

    Args:
        candidates: (K, D) of each candidate of each field.
        embedding_dim: X.
        options: How codes are chosen.
    """

    members: Tensor
    columns: Tensor

    def __init__(self, candidates: Sequence[Sequence[DPQ]], embedding_dim: int, options: QuantizerOptions) -> None:
        super().__init__()
        self.candidates = tuple(tuple(row) for row in candidates)
        self.options = options
        self.groups = nn.ModuleList()
        self._members: list[list[int]] = []
        self._widths: list[int] = []
        self._location: dict[tuple[int, int], tuple[int, int, int]] = {}
        columns = torch.zeros(len(candidates), max(map(len, candidates)), dtype=torch.int64)
        local = []
        start = 0
        for depth in sorted({choice.D for row in candidates for choice in row}):
            numbers = [[number for number, choice in enumerate(row) if choice.D == depth] for row in self.candidates]
            members = [field for field, row in enumerate(numbers) if row]
            width = max(map(len, numbers))
            # Fields with fewer candidates of this D repeat their first; the copy's output is not read.
            padded = [numbers[field] + numbers[field][:1] * (width - len(numbers[field])) for field in members]
            sizes = [
                [self.candidates[field][number].K for number in row] for field, row in zip(members, padded, strict=True)
            ]
            for place, field in enumerate(members):
                for candidate, number in enumerate(numbers[field]):
                    self._location[field, number] = (len(self.groups), place, candidate)
                    columns[field, number] = start + candidate
            start += width
            local.append([members.index(field) if field in members else -1 for field in range(len(candidates))])
            self._members.append(members)
            self._widths.append(width)
            group = QuantizerGroup(sizes, depth, embedding_dim, options)
            for place, field in enumerate(members):
                group.share[place, len(numbers[field]) :] = 0
            self.groups.append(group)
        # Of every field, its place in each group, and where its candidates stand in the groups' outputs side by side.
        self.register_buffer("members", torch.tensor(local), persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        self._whole = bool((self.members >= 0).all())
        self._alike = bool((columns == columns[0]).all())

    def group(self, field: int, candidate: int = 0) -> tuple[QuantizerGroup, int, int]:
        """The group of a quantizer, and its field and candidate there."""
        number, place, column = self._location[field, candidate]
        group = self.groups[number]
        assert isinstance(group, QuantizerGroup)
        return group, place, column

    def keys(self) -> list[Tensor]:
        """The centroids that encode, by group, float [fields, candidates, K, X] each."""
        return [group.keys for group in self.groups if isinstance(group, QuantizerGroup)]

    def centroids(self, field: int, candidate: int = 0) -> Tensor:
        """The centroids that decode, float [K, X], a view."""
        group, place, column = self.group(field, candidate)
        return group.values[place, column, : self.candidates[field][candidate].K]

    @torch.no_grad()
    def set_centroids(self, centroids: Tensor, field: int, candidate: int = 0) -> None:
        """Starts a quantizer from centroids, float [K, X]; keys and values alike."""
        group, place, column = self.group(field, candidate)
        for parameter in group.parameters():
            parameter[place, column, : len(centroids)] = centroids

    @torch.no_grad()
    def encode(self, rows: Tensor, field: int, candidate: int = 0) -> Tensor:
        """Codes of a whole column by one of its field's quantizers, float [n, X]: int64 [n, D].

        Always scored in the same parts, for the last digit of a score depends on what is scored together: a row halfway
        between two centroids has one code, whichever batch it stands in.
        """
        group, place, column = self.group(field, candidate)
        fields = torch.tensor([place], device=rows.device)
        parts = torch.split(rows, ENCODING_BATCH)
        return torch.cat([group.encode(part[None], fields)[0, column] for part in parts])

    @torch.no_grad()
    def decode(self, codes: Tensor, field: int, candidate: int = 0) -> Tensor:
        """What codes of :meth:`encode` stand for, int64 [n, D]: float [n, X]."""
        return decode(codes, self.centroids(field, candidate))

    def weighted_norms(self, weights: Tensor) -> Tensor:
        """Sum over all centroids of their squared norms, each by its field's weight, float [fields], over its K."""
        total = weights.new_zeros(())
        for group, members in zip(self.groups, self._members, strict=True):
            assert isinstance(group, QuantizerGroup)
            total = total + (weights[members][:, None, None, None] * group.share * group.values.square()).sum()
        return total

    def forward(self, rows: Tensor, fields: Tensor) -> Tensor:
        """Quantizes rows by every candidate of their field.

        Args:
            rows: float [tiles, n, X].
            fields: int64 [tiles], the field of each tile.

        Returns:
            float [tiles, candidates, n, X]; arbitrary beyond a field's own number of candidates.
        """
        outputs: list[Tensor] = []
        for number, (group, members) in enumerate(zip(self.groups, self.members, strict=True)):
            if self._whole:
                outputs.append(group(rows, fields))
            else:
                local = members[fields]
                here = (local >= 0).nonzero().squeeze(1)
                output = rows.new_zeros((len(rows), self._widths[number], *rows.shape[1:]))
                outputs.append(output.index_copy(0, here, group(rows[here], local[here])) if len(here) else output)
        if len(outputs) == 1:  # as its candidates are then in order
            return outputs[0]
        joined = torch.cat(outputs, 1)
        if self._alike:
            return joined.index_select(1, self.columns[0])
        return joined[torch.arange(len(rows), device=rows.device)[:, None], self.columns[fields]]
