"""How much the loss rises when a band's rows become what a choice makes of them, from one pass over training rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autodpq.choices import Choice, Kept, Made
from autodpq.choices.weights import rounded_weights, weight_bits
from autodpq.embedding.groups import group_of, mean_rows
from autodpq.embedding.options import QuantizerOptions
from autodpq.training.fit import EVALUATION_BATCH, DeviceRows
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import Rises, Space

SAMPLE = 5_000
"""Rows of a band that a choice is tried on; of more, so many are drawn. A plan by so many loses what one by all rows
does (Yelp, Ciao, Goodbooks, a tenth to a fortieth of FE's bytes; within a thousandth)."""
ROUNDS = 5
"""Of k-means: a plan by five loses what one by ten does (Yelp, Ciao, Avazu's sample; within a hundredth)."""


def row_information(network: Network, rows: DeviceRows) -> tuple[Tensor, Tensor]:
    """The diagonal of the loss's Gauss-Newton matrix by the rows of a network that compresses nothing.

    Of each number of a row it is the sum, over the samples that hold the row's value, of p (1 - p) times the squared
    derivative of the logit by it, times the sample's weight where it has one (of mean 1); half of it times a squared
    change is how much the sum of cross entropies rises (LeCun et al., Optimal brain damage, NeurIPS 1989). By a
    first-order weight the derivative is 1.

    Args:
        network: Its rows lie field by field, by id.
        rows: Samples.

    Returns:
        By rows, float [sum of cardinalities, X], and by first-order weights, float [sum of cardinalities].
    """
    embedding = network.embedding
    network.eval()
    total, counts = torch.zeros_like(embedding.table), rows.relative_weights
    of_weights = total.new_zeros(len(total))
    for start in range(0, len(rows), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        ids = rows.ids[part]
        flat = embedding.flatten(ids)
        with torch.no_grad():
            embedded, weights = network.embedded(flat, embedding.kernels)
        embedded.requires_grad_()
        logits = network.model(embedded)
        (slope,) = torch.autograd.grad(logits.sum(), embedded)
        with torch.no_grad():
            p = (logits if weights is None else logits + weights).sigmoid()
            variance = p * (1 - p) if counts is None else p * (1 - p) * counts[part].float()
            information = (slope.square() * variance[:, None, None]).flatten(0, 1)
            of_slots = variance[:, None].expand(-1, embedded.shape[1]).flatten()
            if embedding.bags is None:
                places = flat.flatten().long()
                total.index_add_(0, places, information)
                of_weights.index_add_(0, places, of_slots)
                continue
            # A value has its share of the mean, as often as its bag holds it.
            entries = embedding.bags.entries(flat)
            keys = entries.slots * len(total) + entries.flat[:, 0]
            keys, places = torch.unique(keys, return_inverse=True)
            slots = keys // len(total)
            shares = (torch.bincount(places, minlength=len(keys)) / entries.sizes.flatten()[slots]).square()
            total.index_add_(0, keys % len(total), information[slots] * shares[:, None])
            of_weights.index_add_(0, keys % len(total), of_slots[slots] * shares)
    return total, of_weights


def rises(trainer: Trainer, pretrained: Mapping[str, Tensor], space: Space) -> Rises:
    """How much the sum of cross entropies of the training rows rises under each candidate of each band.

    Args:
        trainer: Of the bands.
        pretrained: Weights of the network that compresses nothing; looked at is what trainings start from.
        space: Candidates of each band.
    """
    begin = time.perf_counter()
    network = trainer.build(trainer.full_plan())
    trainer.start(network, pretrained)
    information, of_weights = row_information(network, trainer.train)
    rows, weights = network.embedding.table.detach(), network.embedding.first_order
    found, first = dict[str, tuple[float, ...]](), 0
    for field in trainer.fields:
        for band in field.bands:
            own = slice(first + band.start, first + band.stop)
            choices, compiled = space[band.name], trainer.compiled and trainer.compact
            losses = rise_of_loss(
                rows[own], information[own], choices, trainer.quantizer, trainer.seed, compiled=compiled
            )
            if weights is not None:
                dim, compact = trainer.recipe.embedding_dim, trainer.compact
                more = rise_by_weights(weights.detach()[own], of_weights[own], choices, dim, compact=compact)
                losses = [sum(both) for both in zip(losses, more, strict=True)]
            found[band.name] = tuple(losses)
        first += field.cardinality
    return Rises(found, time.perf_counter() - begin)


@torch.no_grad()
def rise_of_loss(
    rows: Tensor,
    information: Tensor,
    candidates: Sequence[Choice],
    options: QuantizerOptions,
    seed: int,
    *,
    compiled: bool = False,
) -> list[float]:
    """How much the sum of cross entropies rises, to second order, under each candidate of a band.

    Args:
        rows: float [n, X], the band's rows.
        information: float [n, X], as :func:`row_information` gives it.
        candidates: What may become of them.
        options: How codes are chosen.
        seed: Seeds centroids and the sample.
        compiled: Whether centroids and codes go through compiled code.
    """
    factor = 1.0
    used = information.mean(1)
    if len(rows) > SAMPLE:
        generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(rows), generator=generator)[:SAMPLE].sort().values.to(rows.device)
        factor = len(rows) / SAMPLE
        rows, information, used = rows[some], information[some], used[some]
    rises = []
    for choice in candidates:
        made = _made(rows, used, choice, options, seed, compiled=compiled)
        rises.append(0.5 * factor * float((information.double() * (rows - made).double().square()).sum()))
    return rises


@torch.no_grad()
def rise_by_weights(
    weights: Tensor, information: Tensor, candidates: Sequence[Choice], dim: int, *, compact: bool
) -> list[float]:
    """How much the sum of cross entropies rises by what becomes of a band's first-order weights.

    Args:
        weights: float [n].
        information: float [n], as :func:`row_information` gives it.
        candidates: What may become of the band's rows.
        dim: X.
        compact: Whether weights have few bits.
    """
    n_rows, known, rises = len(weights), dict[tuple[int, int | None], float](), []
    for choice in candidates:
        modulus, bits = choice.modulus(n_rows), weight_bits(choice, dim) if compact else None
        if (modulus, bits) not in known:
            made = mean_rows(weights[:, None], modulus, information)[:, 0] if modulus < n_rows else weights
            if bits is not None:
                made = torch.from_numpy(rounded_weights(made.cpu().numpy(), bits)).to(weights)
            made = made[torch.arange(n_rows, device=made.device) % modulus]
            known[modulus, bits] = 0.5 * float((information.double() * (weights - made).double().square()).sum())
        rises.append(known[modulus, bits])
    return rises


def _made(
    rows: Tensor, used: Tensor, choice: Choice, options: QuantizerOptions, seed: int, *, compiled: bool
) -> Tensor:
    if isinstance(choice, Kept):
        modulus = choice.modulus(len(rows))
        if modulus == len(rows):
            return rows.half().to(rows.dtype) if options.compact else rows
        return mean_rows(rows, modulus, used)[torch.arange(len(rows), device=rows.device) % modulus]
    assert isinstance(choice, Made)
    group = group_of([[choice]], rows.shape[1], options, compiled=compiled).to(rows.device).eval()
    group.start(rows, 0, 0, seed, n_iterations=ROUNDS)
    return group.looked_up(rows, 0, 0)
