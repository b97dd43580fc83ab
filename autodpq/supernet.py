"""The union of candidates: every rare row by all of its field's (K, D), weighted (Eq. 2 and 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from autodpq.dpq import QuantizerOptions, Quantizers
from autodpq.embedding import Embedding
from autodpq.errors import AutoDPQError
from autodpq.kmeans import kmeans_centroids
from autodpq.plan import DPQ, Choice, CompressionPlan, Field, Full

BATCH_NORM_MOMENTUM = 0.1
BATCH_NORM_EPSILON = 1e-5
STATISTICS_ROWS = 1 << 16


class SupernetEmbedding(Embedding):
    """Embeds rare rows by the weighted sum of their field's candidates.

    Each candidate is normalised by BatchNorm without affine weights (Eq. 2), over the batch's rare rows of the field
    while training, by running statistics else, or where the batch holds fewer than two of them. With ``scale``, the
    result is brought to the mean and deviation of the field's pretrained rare rows, the scale of the frequent rows
    beside it. The weights are a Gumbel-softmax over the field's ``alpha`` (Eq. 3), one draw per field and batch while
    training, a plain softmax else.

    Args:
        fields: All fields, in the order of the ids' columns.
        space: Candidates of each field; a field without rare values has ``Full()`` alone.
        embedding_dim: X.
        first_order: Whether every row also has a first-order weight.
        options: How codes are chosen.
        scale: Whether candidates are scaled back.

    Raises:
        AutoDPQError: A candidate is not ``DPQ``.
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
        scale: bool = True,
    ) -> None:
        for field in fields:
            for candidate in space[field.name] if field.tail else ():
                if not isinstance(candidate, DPQ):
                    raise AutoDPQError(
                        f"field {field.name!r}: the candidate {candidate} is not dpq(K,D); a weighted sum of candidates"
                        " needs quantized ones"
                    )
        searched = {field.name: space[field.name][0] if field.tail else Full() for field in fields}
        super().__init__(fields, searched, embedding_dim, first_order)
        if not self.quantized:
            raise AutoDPQError("no field has rare values at this threshold: there is nothing to search")
        self.scale = scale
        self.temperature = 1.0
        self.candidates = tuple(
            tuple(choice for choice in space[fields[column].name] if isinstance(choice, DPQ))
            for column in self.quantized
        )
        self.quantizers = Quantizers(self.candidates, embedding_dim, options)
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

    def quantize(self, rows: Tensor, present: Sequence[int], counts: Tensor) -> Tensor:
        which = torch.tensor(present, device=rows.device)
        quantized: Tensor = self.quantizers(rows, present)
        candidates = self.normalise(quantized, which, counts)
        mixed = torch.einsum("fc,fcnx->fnx", self.weights()[which], candidates)
        return mixed * self.row_deviation[which][:, None] + self.row_mean[which][:, None] if self.scale else mixed

    def normalise(self, candidates: Tensor, which: Tensor, counts: Tensor) -> Tensor:
        """BatchNorm per field and candidate (Eq. 2).

        Args:
            candidates: float [fields present, candidates, n, X].
            which: int64 [fields present], the searched fields.
            counts: int64 [fields present], how many of the n are real.
        """
        mean, variance = self.mean[which], self.variance[which]
        if self.training:
            real = torch.arange(candidates.shape[2], device=counts.device) < counts[:, None]
            share = real.to(candidates.dtype) / counts[:, None]
            batch_mean = torch.einsum("fn,fcnx->fcx", share, candidates)
            centred = candidates - batch_mean[:, :, None]
            batch_variance = torch.einsum("fn,fcnx->fcx", share, centred.square())
            # One row alone has no variance: its field keeps to the running statistics.
            few = (counts < 2)[:, None, None]
            with torch.no_grad():
                numbers = counts.to(candidates.dtype)
                unbiased = batch_variance * (numbers / (numbers - 1).clamp(min=1))[:, None, None]
                step = BATCH_NORM_MOMENTUM * ~few
                self.mean[which] = mean + step * (batch_mean - mean)
                self.variance[which] = variance + step * (unbiased - variance)
            mean, variance = torch.where(few, mean, batch_mean), torch.where(few, variance, batch_variance)
        return (candidates - mean[:, :, None]) * (variance + BATCH_NORM_EPSILON).rsqrt()[:, :, None]

    @torch.no_grad()
    def start_quantizers(self, seed: int) -> None:
        """Starts centroids by k-means, and all statistics, from the raw rows."""
        assert self.raw is not None
        for number, column in enumerate(self.quantized):
            rows = self.raw[self.raw_rows(column)][:STATISTICS_ROWS]
            self.row_mean[number] = rows.mean(0)
            self.row_deviation[number] = rows.std(0, unbiased=False)
            for candidate, choice in enumerate(self.candidates[number]):
                self.quantizers.set_centroids(kmeans_centroids(rows, choice, seed), number, candidate)
            quantized = self.quantizers(rows[None], [number])[0]
            self.mean[number] = quantized.mean(1)
            self.variance[number] = quantized.var(1, unbiased=False)

    def affine(self, field: int, candidate: int) -> tuple[Tensor, Tensor]:
        """What normalisation by running statistics and scaling come to: factor and shift, float [X] each."""
        factor = (self.variance[field, candidate] + BATCH_NORM_EPSILON).rsqrt()
        shift = -self.mean[field, candidate] * factor
        if self.scale:
            factor, shift = factor * self.row_deviation[field], shift * self.row_deviation[field] + self.row_mean[field]
        return factor, shift

    def decide(self) -> CompressionPlan:
        """The plan of the largest weights."""
        best = (self.alpha + self.no_candidate).argmax(1).tolist()
        plan: dict[str, Choice] = {field.name: Full() for field in self.fields}
        for number, column in enumerate(self.quantized):
            plan[self.fields[column].name] = self.candidates[number][best[number]]
        return CompressionPlan(plan)
