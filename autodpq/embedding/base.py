"""A plan made into an embedding: frequent rows as they are, rare rows by their field's choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autodpq.embedding.kmeans import kmeans_centroids
from autodpq.embedding.mixture import Mixture
from autodpq.embedding.quantizers import QuantizerOptions, Quantizers
from autodpq.errors import AutoDPQError
from autodpq.kernels.native import is_known
from autodpq.kernels.operations import Merge, gather, sum_of_weights, sum_rows, zeros
from autodpq.plan import DPQ, Choice, CompressionPlan, Field, Full, Others

TILE = 32
"""Rare values of one field that are quantized together. Fields differ in how many a batch holds: in tiles, little of
what is computed only fills up."""


class Embedding(nn.Module, ABC):
    """The embedding rows of all fields in one table.

    Row numbers: first the direct rows of every field (frequent rows; all rows under ``Full``; frequent rows and one
    shared row under ``Others``), then the raw rows of the quantized fields' rare values. ``table`` holds the direct
    rows and, where a field is quantized, a last row of zeros that stands for every quantized row.

    Attributes:
        quantizers: Of the quantized fields; None where there are none.
        mixture: The compiled form of :meth:`quantize`, for training in float32 on a CPU; None where tensor operations
            compute it. It can be differentiated once.
        sparse_gradients: Whether :meth:`merge` merges, so that rows and first-order weights get gradients of the
            batch's rows alone.
        merging: What merges: tensor operations, or compiled code.

    Args:
        fields: All fields, in the order of the ids' columns.
        choices: Choice of every field.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
    """

    numbering: Tensor
    quantized_index: Tensor

    def __init__(
        self, fields: Sequence[Field], choices: Mapping[str, Choice], embedding_dim: int, first_order: bool
    ) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.embedding_dim = embedding_dim
        self.choices = {field.name: choices[field.name] if field.tail else Full() for field in fields}
        self.quantized = tuple(
            column for column, field in enumerate(fields) if isinstance(self.choices[field.name], DPQ)
        )
        self.quantizers: Quantizers | None = None
        self.mixture: Mixture | None = None
        self.sparse_gradients = False
        self.merging: type[Merge] = Merge
        numbering, self.n_direct, self.n_raw = _number_rows(self.fields, self.choices)
        quantized_index = torch.full((len(fields),), -1)
        quantized_index[list(self.quantized)] = torch.arange(len(self.quantized))
        self.register_buffer("quantized_index", quantized_index, persistent=False)
        self.register_buffer("numbering", numbering, persistent=False)
        self.table = nn.Parameter(zeros(self.n_direct + bool(self.n_raw), embedding_dim))
        self.raw = nn.Parameter(zeros(self.n_raw, embedding_dim)) if self.n_raw else None
        self.first_order = nn.Parameter(zeros(self.n_direct + self.n_raw)) if first_order else None

    def flatten(self, ids: Tensor) -> Tensor:
        """Row numbers of ids, int32 [rows, fields]."""
        return self._row_numbers(ids.int(), self.numbering)

    def rows_of_ids(self) -> tuple[Tensor, ...]:
        """Per field, the row number of every id, int32 [cardinality]."""
        return tuple(
            self._row_numbers(torch.arange(field.cardinality, dtype=torch.int32, device=numbering.device), numbering)
            for field, numbering in zip(self.fields, self.numbering, strict=True)
        )

    def _row_numbers(self, ids: Tensor, numbering: Tensor) -> Tensor:
        """Row numbers of ids, int32 both; ``numbering`` is that of :func:`_number_rows`, of all fields or of one."""
        limits, starts, heads, raw_starts = numbering.unbind(-1)
        direct = ids.minimum(limits) + starts
        return direct if self.raw is None else torch.where(ids < heads, direct, ids + raw_starts)

    @abstractmethod
    def quantize(self, rows: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        """Embeddings of rare values from their raw rows.

        Args:
            rows: float [tiles, TILE, X], each tile of one field; a field's last is filled up.
            fields: int64 [tiles], the quantized field of each, rising.
            counts: int64 [quantized fields], how many of a field's rows are real.

        Returns:
            float [tiles, TILE, X].
        """

    @abstractmethod
    def mix(self, rows: Tensor, counts: Tensor) -> Tensor:
        """What :meth:`quantize` gives while training, by :attr:`mixture`.

        Args:
            rows: float [n, X], raw rows, field by field.
            counts: int64 [quantized fields], how many each field has.

        Returns:
            float [n, X].
        """

    @abstractmethod
    def start_quantizers(self, seed: int) -> None:
        """Starts the centroids by k-means on the raw rows; ``seed`` seeds it."""

    def merge(self, flat: Tensor) -> Merge | None:
        """The merged row numbers of a batch, where weights get sparse gradients."""
        if not (self.sparse_gradients and torch.is_grad_enabled()):
            return None
        tables = (self.table, self.raw, self.first_order)
        return self.merging.of(flat) if any(table is not None and table.requires_grad for table in tables) else None

    def forward(self, flat: Tensor, merge: Merge | None = None) -> Tensor:
        """Embeds row numbers [batch, fields]; gives float [batch, fields, X].

        Args:
            flat: The row numbers.
            merge: What :meth:`merge` makes of them.
        """
        if self.raw is None:
            return gather(self.table, flat, merge=merge)
        # By columns, so that each field's rare values come together.
        columns, samples = (flat.t() >= self.n_direct).nonzero(as_tuple=True)
        positions = samples * flat.shape[1] + columns
        direct = flat.clamp(max=self.n_direct)
        if not len(positions):
            none = self.raw if merge is None else self.raw.detach()
            return gather(self.table, direct, positions, none[:0], merge)
        rare = flat.flatten()[positions] - self.n_direct
        rows = self.embed_rare(rare, self.quantized_index[columns], merge)
        return gather(self.table, direct, positions, rows, merge)

    def compile_mixture(self) -> None:
        """Has rare values quantized by compiled code while training, where that computes what is asked for.

        Raises:
            AutoDPQError: It cannot be compiled.
        """
        if self.quantizers is not None and Mixture.fits(self.quantizers.options):
            self.mixture = Mixture(self.quantizers)

    def embed_rare(self, rare: Tensor, columns: Tensor, merge: Merge | None) -> Tensor:
        """Embeddings of a batch's rare values, float [n, X].

        Args:
            rare: integer [n], their numbers among the raw rows.
            columns: int64 [n], the quantized field of each, rising.
            merge: What :meth:`merge` makes of the batch.
        """
        assert self.raw is not None
        counts = torch.bincount(columns, minlength=len(self.quantized))
        if self.mixture is not None and self.training and is_known(self.raw):
            return self.mix(gather(self.raw, rare, merge=None if merge is None else self.merging.of(rare)), counts)
        tiles = (counts + (TILE - 1)) // TILE
        fields = torch.repeat_interleave(tiles)
        shift = (tiles.cumsum(0) - tiles) * TILE - (counts.cumsum(0) - counts)
        slots = torch.arange(len(columns), device=columns.device) + shift[columns]
        # What fills a tile up is a row of the batch; its output is dropped, so that nothing is added to its gradient.
        filled = rare[:1].repeat(len(fields) * TILE)
        filled[slots] = rare
        filled = filled.view(-1, TILE)
        raw_rows = gather(self.raw, filled, merge=None if merge is None else self.merging.of(filled))
        return self.quantize(raw_rows, fields, counts).flatten(0, 1)[slots]

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Inside, weights do not change: what follows from them may be computed once for all batches."""
        yield

    def first_order_sum(self, flat: Tensor, merge: Merge | None = None) -> Tensor:
        """Sums of the first-order weights, float [batch]; for arguments, see :meth:`forward`."""
        assert self.first_order is not None
        return sum_of_weights(self.first_order, flat, merge)

    @torch.no_grad()
    def start_rows(self, deviation: float) -> None:
        """Starts from nothing: rows from a normal distribution, first-order weights of zero."""
        self.table[: self.n_direct].normal_(std=deviation)
        if self.raw is not None:
            self.raw.normal_(std=deviation)

    def raw_rows(self, column: int) -> slice:
        """Which raw rows belong to a quantized column."""
        start = sum(self.fields[other].tail for other in self.quantized if other < column)
        return slice(start, start + self.fields[column].tail)

    @torch.no_grad()
    def load_rows(self, rows: Tensor, weights: Tensor | None) -> None:
        """Starts from one row per value.

        Args:
            rows: float [sum of cardinalities, X], field by field, by id. A shared row starts from its values' mean.
            weights: float [sum of cardinalities], their first-order weights.
        """
        numbers = torch.cat(self.rows_of_ids()).to(rows.device).long()
        counts = torch.bincount(numbers, minlength=self.n_direct + self.n_raw)
        means = sum_rows(rows, numbers, len(counts)) / counts[:, None]
        self.table[: self.n_direct] = means[: self.n_direct].to(self.table.device)
        if self.raw is not None:
            self.raw.copy_(means[self.n_direct :])
        if self.first_order is not None and weights is not None:
            self.first_order.copy_(sum_rows(weights, numbers, len(counts)) / counts)


class PlanEmbedding(Embedding):
    """The embedding of a plan.

    Args:
        fields: All fields, in the order of the ids' columns.
        plan: One choice per field.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
        options: How codes are chosen.

    Raises:
        AutoDPQError: The plan lacks a field, or a D does not divide X.
    """

    tails: Tensor

    def __init__(
        self,
        fields: Sequence[Field],
        plan: CompressionPlan,
        embedding_dim: int,
        first_order: bool,
        options: QuantizerOptions,
    ) -> None:
        for field in fields:
            if field.name not in plan:
                raise AutoDPQError(f"field {field.name!r}: the plan has no choice for it")
        super().__init__(fields, plan, embedding_dim, first_order)
        chosen = [self.choices[fields[column].name] for column in self.quantized]
        if self.quantized:
            dpq = [[choice] for choice in chosen if isinstance(choice, DPQ)]
            self.quantizers = Quantizers(dpq, embedding_dim, options)
        tails = torch.tensor([float(fields[column].tail) for column in self.quantized])
        self.register_buffer("tails", tails, persistent=False)
        self._rows: Tensor | None = None

    def codes(self, column: int) -> Tensor:
        """Codes of a quantized column's rare values, int64 [n, D]."""
        assert self.quantizers is not None and self.raw is not None
        return self.quantizers.encode(self.raw[self.raw_rows(column)], self.quantized.index(column))

    def decoded(self) -> Tensor:
        """What every row number stands for outside training, float [direct and raw rows, X]."""
        rows = [self.table.detach()[: self.n_direct]]
        for number, column in enumerate(self.quantized):
            assert self.quantizers is not None
            rows.append(self.quantizers.decode(self.codes(column), number))
        return torch.cat(rows) if self.quantized else rows[0]

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Inside, rare values are what their codes stand for, as in the model that is taken away."""
        self._rows = self.decoded()
        try:
            yield
        finally:
            self._rows = None

    def forward(self, flat: Tensor, merge: Merge | None = None) -> Tensor:
        """Embeds row numbers [batch, fields]; gives float [batch, fields, X]."""
        return super().forward(flat, merge) if self._rows is None else gather(self._rows, flat)

    def quantize(self, rows: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        assert self.quantizers is not None
        quantized: Tensor = self.quantizers(rows, fields)
        return quantized[:, 0]

    def mix(self, rows: Tensor, counts: Tensor) -> Tensor:
        assert self.mixture is not None and self.quantizers is not None
        mixed, _, _ = self.mixture(rows, counts, rows.new_ones(len(counts), 1), self.quantizers.keys(), None, None)
        return mixed

    def centroid_norms(self) -> Tensor:
        """Squared norms of the centroids, each as often as it serves a rare value on average: n / K times.

        This is what the squared norms of the rare values' embeddings come to, had each a row of its own.
        """
        assert self.quantizers is not None
        return self.quantizers.weighted_norms(self.tails)

    def start_quantizers(self, seed: int) -> None:
        """Starts every field's centroids by k-means on its raw rows."""
        if self.quantizers is None or self.raw is None:
            return
        for number, column in enumerate(self.quantized):
            rows = self.raw[self.raw_rows(column)]
            centroids = kmeans_centroids(rows, self.quantizers.candidates[number][0], seed)
            self.quantizers.set_centroids(centroids, number)


def _number_rows(fields: Sequence[Field], choices: Mapping[str, Choice]) -> tuple[Tensor, int, int]:
    """How ids become row numbers, and how many rows are direct and raw.

    Returns:
        int32 [fields, 4]: an id below the third number, the head of a quantized field, has the row number
        min(id, first) + second, any other id + fourth.
    """
    unlimited = torch.iinfo(torch.int32).max
    numbering: list[tuple[int, int, int]] = []
    n_direct = 0
    for field in fields:
        match choices[field.name]:
            case Full():
                size, limit, head = field.cardinality, unlimited, unlimited
            case Others():
                size, limit, head = field.head + 1, field.head, unlimited
            case DPQ():
                size, limit, head = field.head, unlimited, field.head
        numbering.append((limit, n_direct, head))
        n_direct += size
    n_raw, raw_starts = 0, []
    for field in fields:
        quantized = isinstance(choices[field.name], DPQ)
        raw_starts.append(n_direct + n_raw - field.head if quantized else 0)
        n_raw += field.tail if quantized else 0
    rows = [(*numbers, raw_start) for numbers, raw_start in zip(numbering, raw_starts, strict=True)]
    return torch.tensor(rows, dtype=torch.int32).view(-1, 4), n_direct, n_raw
