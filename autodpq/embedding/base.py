"""The rows of all fields in one table: frequent rows as they are, those of bands as a subclass makes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn

from autodpq.embedding.bags import Bags
from autodpq.embedding.mixture import Mixture
from autodpq.embedding.quantizers import Quantizers
from autodpq.embedding.straight_through import StraightThroughMixture
from autodpq.kernels.kernels import Kernels
from autodpq.kernels.native import is_known
from autodpq.kernels.operations import Merge, distinct_rows, gather, sum_of_weights, sum_rows, zeros
from autodpq.plan import NO_ID, Field, bands_of

TILE = 32
"""Rare values of one field that are quantized together. Fields differ in how many a batch holds: in tiles, little of
what is computed only fills up."""


class Embedding(nn.Module, ABC):
    """The embedding rows of all fields in one table.

    Row numbers: first the direct rows of every field (frequent rows, and those of bands that are kept as they are),
    then the raw rows of values that something is made of, those of the quantized bands. ``table`` holds the direct rows
    and, where a band is quantized, a last row of zeros that stands for every quantized row.

    Attributes:
        bands: The bands of all fields, field by field.
        quantized: Which of them are quantized, by their numbers.
        quantizers: What makes rows of the quantized fields; None where there are none.
        kernels: What a training step is computed by.
        raw_numbers: What raw rows' numbers stand for, where only some of the rows are there; see ``restricted``.
        bags: Where fields have several values a sample, which columns are whose; else None.

    Args:
        fields: All fields, in the order of the ids' columns.
        moduli: Rows of each band; its value t has the row t modulo that number.
        quantized: The bands whose rows are made.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
        kernels: What a training step is computed by.
        distinct: Whether a value that a batch holds several times is quantized once.
    """

    numbering: Tensor
    raw_starts: Tensor
    _firsts: Tensor
    _of_values: Tensor

    def __init__(
        self,
        fields: Sequence[Field],
        moduli: Sequence[int],
        quantized: Sequence[int],
        embedding_dim: int,
        first_order: bool,
        kernels: Kernels,
        distinct: bool = False,
    ) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.bands = bands_of(self.fields)
        self.distinct = distinct
        self.moduli = tuple(moduli)
        self.embedding_dim = embedding_dim
        self.quantized = tuple(quantized)
        self.kernels = kernels
        self.quantizers: Quantizers | None = None
        self.raw_numbers: Tensor | None = None
        numbering, self.n_direct, self.n_raw = _number_rows(self.fields, self.moduli, self.quantized)
        starts = torch.tensor([self.raw_rows(number).start for number in self.quantized], dtype=torch.int64)
        self._shares = any(modulus < band.n_rows for modulus, band in zip(moduli, self.bands, strict=True))
        self._banded = any(field.cuts for field in fields)
        columns = [field.columns for field in fields]
        self.bags = Bags(columns) if max(columns, default=1) > 1 else None
        self.register_buffer("raw_starts", starts, persistent=False)
        self.register_buffer("numbering", numbering, persistent=False)
        # Of many bands, the numbers of all values are looked up: to work them out takes a pass over the batch a band.
        cardinalities = torch.tensor([0, *(field.cardinality for field in fields)], dtype=torch.int64)
        self.register_buffer("_firsts", cardinalities.cumsum(0)[:-1].int(), persistent=False)
        of_values = torch.cat(self.rows_of_ids()) if self._banded else torch.empty(0, dtype=torch.int32)
        self.register_buffer("_of_values", of_values, persistent=False)
        self.table = nn.Parameter(zeros(self.n_direct + bool(self.n_raw), embedding_dim))
        self.raw = nn.Parameter(zeros(self.n_raw, embedding_dim)) if self.n_raw else None
        self.first_order = nn.Parameter(zeros(self.n_direct + self.n_raw)) if first_order else None

    def flatten(self, ids: Tensor) -> Tensor:
        """Row numbers of ids, int32 [rows, columns]."""
        if self.bags is not None:
            return self._flatten_bags(ids.int(), self.bags)
        if self._banded:
            return self._of_values[(ids.int() + self._firsts).flatten()].view(ids.shape)
        return self._row_numbers(ids.int(), self.numbering)

    def _flatten_bags(self, ids: Tensor, bags: Bags) -> Tensor:
        known = ids != NO_ID
        some = ids.clamp(min=0)
        if self._banded:
            rows = self._of_values[(some + self._firsts[bags.owners]).flatten()].view(ids.shape)
        else:
            rows = self._row_numbers(some, self.numbering[bags.owners])
        return torch.where(known, rows, NO_ID)

    def rows_of_ids(self) -> tuple[Tensor, ...]:
        """Per field, the row number of every id, int32 [cardinality]."""
        return tuple(
            self._row_numbers(torch.arange(field.cardinality, dtype=torch.int32, device=numbering.device), numbering)
            for field, numbering in zip(self.fields, self.numbering, strict=True)
        )

    def rows_of_bands(self) -> tuple[Tensor, ...]:
        """Per band, the row number of every value, int32 [rows of the band]."""
        by_field = zip(self.fields, self.rows_of_ids(), strict=True)
        return tuple(numbers[band.start : band.stop] for field, numbers in by_field for band in field.bands)

    def _row_numbers(self, ids: Tensor, numbering: Tensor) -> Tensor:
        """Row numbers of ids, int32 both; ``numbering`` is that of :func:`_number_rows`, of all fields or of one."""
        first, *bands = numbering.unbind(-1)
        rows = ids + first
        if not self.n_raw and not self._shares:
            return rows
        for begin, modulus, start in zip(bands[::3], bands[1::3], bands[2::3], strict=True):
            place = ids - begin
            if self._shares:
                place = torch.where(place < 0, place, place.remainder(modulus))
            rows = torch.where(ids < begin, rows, place + start)
        return rows

    @abstractmethod
    def quantize(self, rows: Tensor, places: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        """Embeddings of values from their raw rows.

        Args:
            rows: float [tiles, TILE, X], each tile of one band; a band's last is filled up.
            places: int64 [tiles, TILE], numbers of the rows among their band's.
            fields: int64 [tiles], the quantized band of each, rising.
            counts: int64 [quantized bands], how many of a band's rows are real.

        Returns:
            float [tiles, TILE, X].
        """

    @abstractmethod
    def mix(self, mixture: Mixture | StraightThroughMixture, rows: Tensor, places: Tensor, counts: Tensor) -> Tensor:
        """What :meth:`quantize` gives while training, compiled.

        Args:
            mixture: The compiled operation.
            rows: float [n, X], raw rows, band by band.
            places: int64 [n], numbers of the rows among their band's.
            counts: int64 [quantized bands], how many each band has.

        Returns:
            float [n, X].
        """

    @abstractmethod
    def start_quantizers(self, seed: int) -> None:
        """Starts the centroids by k-means on the raw rows; ``seed`` seeds it."""

    def merge(self, flat: Tensor, kernels: Kernels) -> Merge | None:
        """The merged row numbers of a batch, where weights get sparse gradients."""
        if kernels.merging is None or not torch.is_grad_enabled():
            return None
        tables = (self.table, self.raw, self.first_order)
        return kernels.merging.of(flat) if any(table is not None and table.requires_grad for table in tables) else None

    def forward(self, flat: Tensor, merge: Merge | None = None, kernels: Kernels | None = None) -> Tensor:
        """Embeds row numbers [batch, fields]; gives float [batch, fields, X].

        Args:
            flat: The row numbers.
            merge: What :meth:`merge` makes of them.
            kernels: What it is computed by; None for the embedding's own.
        """
        kernels = kernels or self.kernels
        if self.raw is None:
            return gather(self.table, flat, merge=merge)
        if self.distinct:
            return self._embed_distinct(flat, merge, kernels)
        # By columns, so that each field's rare values come together.
        columns, samples = (flat.t() >= self.n_direct).nonzero(as_tuple=True)
        positions = samples * flat.shape[1] + columns
        if self._banded:  # by bands
            positions = positions[flat.flatten()[positions].argsort(stable=True)]
        direct = flat.clamp(max=self.n_direct)
        if not len(positions):
            none = self.raw if merge is None else self.raw.detach()
            return gather(self.table, direct, positions, none[:0], merge)
        rare = flat.flatten()[positions] - self.n_direct
        rows = gather(self.raw, rare, merge=None if merge is None else merge.of(rare))
        return gather(self.table, direct, positions, self.embed_rare(rare, rows, kernels), merge)

    def _embed_distinct(self, flat: Tensor, merge: Merge | None, kernels: Kernels) -> Tensor:
        """What :meth:`forward` gives, each of the batch's rows read and quantized once."""
        assert self.raw is not None
        once = merge or kernels.distinct.of(flat)
        n_direct = int(torch.searchsorted(once.rows, self.n_direct))
        direct, rare = once.rows[:n_direct], once.rows[n_direct:] - self.n_direct
        parts = []
        if len(direct):
            parts.append(distinct_rows(self.table, direct, merge))
        if len(rare):
            parts.append(self.embed_rare(rare, distinct_rows(self.raw, rare, merge), kernels))
        return gather(torch.cat(parts), once.places)

    def mixture(self, kernels: Kernels) -> Mixture | StraightThroughMixture | None:
        """The compiled form of :meth:`quantize`, for training in float32 on a CPU; None where it is not compiled.

        Raises:
            AutoDPQError: It cannot be compiled.
        """
        return self._mixture if kernels.compiled_batch and self.training else None

    @cached_property
    def _mixture(self) -> Mixture | StraightThroughMixture | None:
        if self.quantizers is None:
            return None
        kinds: tuple[type[Mixture | StraightThroughMixture], ...] = (Mixture, StraightThroughMixture)
        return next((kind(self.quantizers) for kind in kinds if kind.fits(self.quantizers)), None)

    def embed_rare(self, rare: Tensor, rows: Tensor, kernels: Kernels) -> Tensor:
        """Embeddings of a batch's quantized values, float [n, X].

        Args:
            rare: integer [n], their numbers among the raw rows, band by band.
            rows: float [n, X], their raw rows.
            kernels: What it is computed by.
        """
        numbers = rare if self.raw_numbers is None else self.raw_numbers[rare]
        bands = torch.searchsorted(self.raw_starts, numbers.long(), right=True) - 1
        counts = torch.bincount(bands, minlength=len(self.quantized))
        places = numbers - self.raw_starts[bands]
        mixture = self.mixture(kernels)
        if mixture is not None and is_known(rows):
            return self.mix(mixture, rows, places, counts)
        tiles = (counts + (TILE - 1)) // TILE
        fields = torch.repeat_interleave(tiles)
        shift = (tiles.cumsum(0) - tiles) * TILE - (counts.cumsum(0) - counts)
        slots = torch.arange(len(bands), device=bands.device) + shift[bands]
        # What fills a tile up is the batch's first row; its output is dropped: nothing is added to its gradient.
        filled = slots.new_zeros(len(fields) * TILE)
        filled[slots] = torch.arange(len(slots), device=slots.device)
        tiled = rows.index_select(0, filled).view(-1, TILE, rows.shape[1])
        return self.quantize(tiled, places[filled].view(-1, TILE), fields, counts).flatten(0, 1)[slots]

    @contextmanager
    def settled(self, ids: Tensor | None = None) -> Iterator[None]:
        """Inside, weights do not change: what follows from them may be computed once for all batches.

        Args:
            ids: integer [rows, columns], of all samples that are embedded inside; None for any.
        """
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

    def raw_rows(self, number: int) -> slice:
        """Which raw rows belong to a quantized band."""
        start = sum(self.moduli[other] for other in self.quantized if other < number)
        return slice(start, start + self.moduli[number])

    def raw_penalty(self, l2: float) -> Tensor | None:
        """The L2 penalty of each raw row, float [raw rows], where any has one: rows that are trained as rows.

        Raw rows of product-quantized values have none: hardly a gradient but the penalty's own would reach them, and
        Adam, which divides by its size, would drive them to zero at full speed.
        """
        return None

    @torch.no_grad()
    def load_rows(self, rows: Tensor, weights: Tensor | None) -> None:
        """Starts from one row per value.

        Args:
            rows: float [sum of cardinalities, X], field by field, by id. A shared row starts from its values' mean.
            weights: float [sum of cardinalities], their first-order weights.
        """
        means = self._means(rows)
        self.table[: self.n_direct] = means[: self.n_direct].to(self.table.device)
        if self.raw is not None:
            self.raw.copy_(means[self.n_direct :])
        if weights is not None:
            self.load_first_order(weights)

    @torch.no_grad()
    def load_first_order(self, weights: Tensor) -> None:
        """Starts first-order weights, where there are any, from one per value.

        Args:
            weights: float [sum of cardinalities], field by field, by id. A shared one starts from its values' mean.
        """
        if self.first_order is not None:
            self.first_order.copy_(self._means(weights))

    def _means(self, values: Tensor) -> Tensor:
        """Means over the values of each row, float [direct and raw rows, ...], of one entry per value."""
        numbers = torch.cat(self.rows_of_ids()).to(values.device).long()
        counts = torch.bincount(numbers, minlength=self.n_direct + self.n_raw)
        sums = sum_rows(values, numbers, len(counts))
        return sums / counts.view(-1, *[1] * (values.dim() - 1))


def _number_rows(fields: Sequence[Field], moduli: Sequence[int], quantized: Sequence[int]) -> tuple[Tensor, int, int]:
    """How ids become row numbers, and how many rows are direct and raw.

    Returns:
        int32 [fields, 1 + 3 bands]: an id below the first band of its field has the row number id + the first number;
        three numbers of each band then say with which id it begins, by what the number of its t-th value is taken
        modulo, and what is added to that. A band that a field does not have begins behind all ids.
    """
    n_direct, first, starts = 0, [], []
    numbers = iter(range(len(moduli)))
    own = [[next(numbers) for _ in field.bands] for field in fields]
    for field, of_field in zip(fields, own, strict=True):
        first.append(n_direct)
        n_direct += field.head
        for number in of_field:
            starts.append(n_direct)
            n_direct += 0 if number in quantized else moduli[number]
    n_raw = 0
    for number in quantized:
        starts[number] = n_direct + n_raw
        n_raw += moduli[number]
    most, rows = max((len(of_field) for of_field in own), default=1), []
    for field, of_field, start in zip(fields, own, first, strict=True):
        row = [start]
        for band, number in zip(field.bands, of_field, strict=True):
            row += [band.start, max(moduli[number], 1), starts[number]]
        rows.append(row + [torch.iinfo(torch.int32).max, 1, 0] * (most - len(of_field)))
    return torch.tensor(rows, dtype=torch.int32).view(-1, 1 + 3 * most), n_direct, n_raw
