"""The union of candidates: every rare row as all of its band's candidates have it, weighted (Eq. 2 and 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from autodpq.choices import Choice, Full
from autodpq.embedding.base import Embedding
from autodpq.embedding.mixture import Mixture
from autodpq.embedding.options import QuantizerOptions
from autodpq.embedding.quantizers import Quantizers
from autodpq.embedding.straight_through import StraightThroughMixture
from autodpq.errors import AutoDPQError
from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.plan import CompressionPlan, Field, bands_of

BATCH_NORM_MOMENTUM = 0.1
BATCH_NORM_EPSILON = 1e-5
STATISTICS_ROWS = 1 << 16


class SupernetEmbedding(Embedding):
    """Embeds rare rows by the weighted sum of their field's candidates.

    Where all candidates are product-quantized, each is normalised by BatchNorm without affine weights (Eq. 2), over the
    batch's rare rows of the field while training, by running statistics else, or where the batch holds fewer than two
    of them. With ``scale``, the result is brought to the mean and deviation of the field's pretrained rare rows, the
    scale of the frequent rows beside it. Candidates of other kinds are on that scale as they are, and to normalise a
    row that all values share makes no sense: where there is one, none is normalised. The weights are a Gumbel-softmax
    over the field's ``alpha`` (Eq. 3), one draw per field and batch while training, a plain softmax else.

    Attributes:
        temperature: Of the Gumbel-softmax.
        tracking: Whether running statistics move while training.
        normalises: Whether candidates are normalised.

    Args:
        fields: All fields, in the order of the ids' columns.
        space: Candidates of each band, of any kind; those of fields without rare values are not read.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
        options: How codes are chosen.
        kernels: What a training step is computed by.
        scale: Whether candidates are scaled back.

    Raises:
        AutoDPQError: Nothing is to be searched, or a candidate does not fit X.
    """

    no_candidate: Tensor
    mean: Tensor
    variance: Tensor
    row_mean: Tensor
    row_deviation: Tensor

    def __init__(
        self,
        fields: Sequence[Field],
        space: Mapping[str, Sequence[Choice]],
        embedding_dim: int,
        first_order: bool,
        options: QuantizerOptions,
        kernels: Kernels = TENSORS,
        scale: bool = True,
    ) -> None:
        bands = bands_of(fields)
        searched = [number for number, band in enumerate(bands) if band.n_rows]
        if not searched:
            raise AutoDPQError("no field has rare values at this threshold: there is nothing to search")
        for number in searched:
            for candidate in space[bands[number].name]:
                candidate.check(embedding_dim, f"field {bands[number].name!r}")
        tails = [band.n_rows for band in bands]
        super().__init__(fields, tails, searched, embedding_dim, first_order, kernels, distinct=options.compact)
        self.scale = scale
        self.temperature = 1.0
        self.tracking = True
        self.candidates = tuple(tuple(space[bands[number].name]) for number in searched)
        sizes = [tails[number] for number in searched]
        self.quantizers: Quantizers = Quantizers(self.candidates, sizes, embedding_dim, options, kernels)
        self.normalises = not options.compact and all(choice.normalises for row in self.candidates for choice in row)
        n_fields, most = len(self.candidates), max(map(len, self.candidates))
        no_candidate = torch.zeros(n_fields, most)
        for number, row in enumerate(self.candidates):
            no_candidate[number, len(row) :] = -torch.inf
        self.register_buffer("no_candidate", no_candidate, persistent=False)
        self.alpha = nn.Parameter(torch.zeros(n_fields, most))
        shape = (n_fields, most, embedding_dim)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("variance", torch.ones(shape))
        self.register_buffer("row_mean", torch.zeros(n_fields, embedding_dim))
        self.register_buffer("row_deviation", torch.ones(n_fields, embedding_dim))

    def weights(self) -> Tensor:
        """Weights of the candidates, float [searched fields, candidates]; each row sums to 1."""
        logits: Tensor = self.alpha
        if self.training:
            # Minus the logarithm of an exponential variable is Gumbel noise.
            logits = logits - torch.empty_like(logits).exponential_().log()
        return torch.softmax(logits / self.temperature + self.no_candidate, dim=1)

    def mixture(self, kernels: Kernels) -> Mixture | StraightThroughMixture | None:
        """As in training also where the union is evaluated, which nobody exports to the bit; unless it normalises."""
        if kernels.compiled_batch and isinstance(self._mixture, StraightThroughMixture):
            return self._mixture
        return super().mixture(kernels)

    def mix(self, mixture: Mixture | StraightThroughMixture, rows: Tensor, places: Tensor, counts: Tensor) -> Tensor:
        if isinstance(mixture, StraightThroughMixture):
            return mixture(rows, places, counts, self.weights())
        scaling = (self.row_deviation, self.row_mean) if self.scale else None
        running = self.mean, self.variance
        mixed, mean, variance = mixture(rows, counts, self.weights(), running, scaling)
        if self.tracking:
            self._track(mean, variance, counts)
        return mixed

    def quantize(self, rows: Tensor, places: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        candidates: Tensor = self.quantizers(rows, places, fields)
        if self.normalises:
            candidates = self.normalise(candidates, fields, counts)
        mixed = torch.einsum("tc,tcnx->tnx", self.weights().index_select(0, fields), candidates)
        if not (self.scale and self.normalises):
            return mixed
        return torch.addcmul(self.row_mean[fields][:, None], mixed, self.row_deviation[fields][:, None])

    def normalise(self, candidates: Tensor, fields: Tensor, counts: Tensor) -> Tensor:
        """BatchNorm per field and candidate (Eq. 2).

        Args:
            candidates: float [tiles, candidates, n, X].
            fields: int64 [tiles], the searched field of each, rising.
            counts: int64 [searched fields], how many of a field's rows are real; they come first.
        """

        def of_tiles(statistics: Tensor) -> Tensor:
            return statistics.index_select(0, fields)[:, :, None]

        mean, variance = self.mean, self.variance
        if self.training:
            n = candidates.shape[2]
            tile = torch.arange(len(fields), device=fields.device) - torch.searchsorted(fields, fields)
            left = (counts[fields] - tile * n)[:, None]
            real = torch.arange(n, device=fields.device) < left
            share = real.to(candidates.dtype) / counts[fields][:, None]

            def average(values: Tensor) -> Tensor:
                return torch.zeros_like(mean).index_add(0, fields, torch.einsum("tn,tcnx->tcx", share, values))

            batch_mean = average(candidates)
            centred = candidates - of_tiles(batch_mean)
            batch_variance = average(centred.square())
            # One row alone has no variance: its field keeps to the running statistics.
            few = (counts < 2)[:, None, None]
            mean, variance = torch.where(few, mean, batch_mean), torch.where(few, variance, batch_variance)
            if self.tracking:
                self._track(batch_mean, batch_variance, counts)
        factor = (variance + BATCH_NORM_EPSILON).rsqrt()
        return (candidates - of_tiles(mean)) * of_tiles(factor)

    @torch.no_grad()
    def _track(self, batch_mean: Tensor, batch_variance: Tensor, counts: Tensor) -> None:
        """Moves the running statistics of the fields that a batch has at least two rare values of."""
        unbiased = batch_variance * (counts / (counts - 1).clamp(min=1)).to(batch_variance.dtype)[:, None, None]
        step = BATCH_NORM_MOMENTUM * (counts > 1)[:, None, None]
        self.mean.addcmul_(step, batch_mean - self.mean)
        self.variance.addcmul_(step, unbiased - self.variance)

    @contextmanager
    def restricted(self, rows: Tensor) -> Iterator[dict[str, Tensor]]:
        """Inside, row numbers are places in ``rows``, for batches that hold no other rows.

        Args:
            rows: int64 [n], distinct row numbers, rising.

        Yields:
            By name, what then has to stand in for the weights of that name: a copy of those of ``rows``, which
            gradients can be computed by.
        """
        assert self.raw is not None
        n_direct, raw_numbers = self.n_direct, self.raw_numbers
        direct, quantized = rows[rows < n_direct], rows[rows >= n_direct]
        placeholder = rows.new_tensor([n_direct])
        tables = {"table": self.table[torch.cat([direct, placeholder])], "raw": self.raw[quantized - n_direct]}
        if self.first_order is not None:
            tables["first_order"] = self.first_order[rows]
        self.n_direct, self.raw_numbers = len(direct), quantized - n_direct
        try:
            yield {name: table.detach().requires_grad_() for name, table in tables.items()}
        finally:
            self.n_direct, self.raw_numbers = n_direct, raw_numbers

    @torch.no_grad()
    def start_quantizers(self, seed: int) -> None:
        """Starts what candidates train beside rows, and all statistics, from the raw rows."""
        assert self.raw is not None
        for number, column in enumerate(self.quantized):
            every = self.raw[self.raw_rows(column)]
            rows = every[:STATISTICS_ROWS]
            self.row_mean[number] = rows.mean(0)
            self.row_deviation[number] = rows.std(0, unbiased=False)
            for candidate, choice in enumerate(self.candidates[number]):
                self.quantizers.start(every if choice.keeps else rows, seed, number, candidate)
                if not self.normalises:
                    continue
                quantized = self.quantizers.looked_up(rows, number, candidate)
                self.mean[number, candidate] = quantized.mean(0)
                self.variance[number, candidate] = quantized.var(0, unbiased=False)

    def affine(self, field: int, candidate: int) -> tuple[Tensor, Tensor]:
        """What normalisation by running statistics and scaling come to: factor and shift, float [X] each."""
        if not self.normalises:
            return torch.ones_like(self.row_mean[field]), torch.zeros_like(self.row_mean[field])
        factor = (self.variance[field, candidate] + BATCH_NORM_EPSILON).rsqrt()
        shift = -self.mean[field, candidate] * factor
        if self.scale:
            factor, shift = factor * self.row_deviation[field], shift * self.row_deviation[field] + self.row_mean[field]
        return factor, shift

    def decide(self) -> CompressionPlan:
        """The plan of the largest weights."""
        best = (self.alpha + self.no_candidate).argmax(1).tolist()
        plan: dict[str, Choice] = {band.name: Full() for band in self.bands}
        for number, band in enumerate(self.quantized):
            plan[self.bands[band].name] = self.candidates[number][best[number]]
        return CompressionPlan(plan)
