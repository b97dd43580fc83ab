"""A plan made into an embedding: frequent rows as they are, those of bands by their choices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from autodpq.choices import Arrays, Made
from autodpq.costs import chosen
from autodpq.embedding.base import Embedding
from autodpq.embedding.mixture import Mixture
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.quantizers import Quantizers
from autodpq.embedding.straight_through import StraightThroughMixture
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.kernels.operations import Merge, gather
from autodpq.plan import NO_ID, CompressionPlan, Field, bands_of


class PlanEmbedding(Embedding):
    """The embedding of a plan.

    Attributes:
        choices: Of each band, what became of it.

    Args:
        fields: All fields, in the order of the ids' columns.
        plan: One choice per band.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
        options: How codes are chosen.
        kernels: What a training step is computed by.

    Raises:
        AutoDPQError: The plan lacks a band, or a choice does not fit X.
    """

    tails: Tensor

    def __init__(
        self,
        fields: Sequence[Field],
        plan: CompressionPlan,
        embedding_dim: int,
        first_order: bool,
        options: QuantizerOptions,
        kernels: Kernels = TENSORS,
    ) -> None:
        bands = bands_of(fields)
        choices = [chosen(band, plan) for band in bands]
        for band, choice in zip(bands, choices, strict=True):
            choice.check(embedding_dim, f"field {band.name!r}")
        moduli = [choice.modulus(band.n_rows) for band, choice in zip(bands, choices, strict=True)]
        quantized = [number for number, choice in enumerate(choices) if not choice.keeps]
        super().__init__(fields, moduli, quantized, embedding_dim, first_order, kernels, distinct=options.compact)
        self.choices = tuple(choices)
        sizes = [self.moduli[number] for number in quantized]
        if quantized:
            own = [[self.choices[number]] for number in quantized]
            self.quantizers = Quantizers(own, sizes, embedding_dim, options, kernels)
        self.register_buffer("tails", torch.tensor([float(size) for size in sizes]), persistent=False)
        self._rows: Tensor | None = None
        self._places: Tensor | None = None

    def packed(self, number: int) -> Arrays:
        """What a packed file holds of a quantized band."""
        choice = self.choices[number]
        assert isinstance(choice, Made) and self.quantizers is not None and self.raw is not None
        rows = self.raw[self.raw_rows(number)].detach()
        shared = self.quantizers.shared(rows, self.quantized.index(number))
        return choice.pack(rows.cpu().numpy(), shared)

    def decoded(self, used: Tensor | None = None) -> Tensor:
        """What row numbers stand for outside training, float [n, X].

        Args:
            used: bool [direct and raw rows], of which; None for all.
        """
        direct = self.table.detach()[: self.n_direct]
        rows = [direct if used is None else direct[used[: self.n_direct]]]
        for number, column in enumerate(self.quantized):
            assert self.quantizers is not None and self.raw is not None
            own = self.raw_rows(column)
            raw = self.raw[own].detach()
            if used is not None:
                raw = raw[used[self.n_direct + own.start : self.n_direct + own.stop]]
            rows.append(self.quantizers.looked_up(raw, number))
        return torch.cat(rows) if self.quantized else rows[0]

    def _used(self, ids: Tensor) -> Tensor | None:
        """Which rows samples hold, bool [direct and raw rows]; None where that leaves too few out to be worth it."""
        n_rows = self.n_direct + self.n_raw
        if not self.n_raw or 2 * ids.numel() > n_rows:
            return None
        flat = self.flatten(ids).flatten()
        used = torch.zeros(n_rows, dtype=torch.bool, device=flat.device)
        used[flat[flat != NO_ID].long()] = True
        return used

    @contextmanager
    def settled(self, ids: Tensor | None = None) -> Iterator[None]:
        """Inside, rare values are what their codes stand for, as in the model that is taken away."""
        used = None if ids is None else self._used(ids)
        if used is not None:
            self._places = used.cumsum(0, dtype=torch.int32) - 1
        self._rows = self.decoded(used)
        try:
            yield
        finally:
            self._rows = self._places = None

    def forward(self, flat: Tensor, merge: Merge | None = None, kernels: Kernels | None = None) -> Tensor:
        """Embeds row numbers [batch, fields]; gives float [batch, fields, X]."""
        if self._rows is None:
            return super().forward(flat, merge, kernels)
        return gather(self._rows, flat if self._places is None else self._places[flat.long()])

    def quantize(self, rows: Tensor, places: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        assert self.quantizers is not None
        quantized: Tensor = self.quantizers(rows, places, fields)
        return quantized[:, 0]

    def mix(self, mixture: Mixture | StraightThroughMixture, rows: Tensor, places: Tensor, counts: Tensor) -> Tensor:
        weights = rows.new_ones(len(counts), 1)
        if isinstance(mixture, StraightThroughMixture):
            return mixture(rows, places, counts, weights)
        mixed, _, _ = mixture(rows, counts, weights, None, None)
        return mixed

    def penalise_centroids(self, l2: float) -> None:
        """Adds the gradient of the penalty l2 |q|^2 / 2 of every centroid q, as often as it serves a rare value on
        average: n / K times.

        The squared norms are then what those of the rare values' embeddings come to, had each a row of its own.
        """
        if self.quantizers is not None:
            self.quantizers.penalise(self.tails, l2)

    def raw_penalty(self, l2: float) -> Tensor | None:
        """The L2 penalty of each raw row; see :meth:`Embedding.raw_penalty`."""
        if self.quantizers is None or self.raw is None:
            return None
        trained = [self.quantizers.group(number)[0].trains_rows for number in range(len(self.quantized))]
        if not l2 or not any(trained):
            return None
        penalty = torch.zeros(len(self.raw), device=self.raw.device)
        for column, trains_rows in zip(self.quantized, trained, strict=True):
            penalty[self.raw_rows(column)] = l2 * trains_rows
        return penalty

    def start_quantizers(self, seed: int) -> None:
        """Starts what is trained beside rows from every band's raw rows."""
        if self.quantizers is None or self.raw is None:
            return
        for number, column in enumerate(self.quantized):
            self.quantizers.start(self.raw[self.raw_rows(column)], seed, number)
