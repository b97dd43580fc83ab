"""How much the loss rises when a band's rows become what a choice makes of them, from one pass over training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from autodpq.choices import Choice, Kept, Made
from autodpq.embedding.groups import group_of, mean_rows
from autodpq.embedding.options import QuantizerOptions
from autodpq.training.fit import EVALUATION_BATCH, DeviceRows
from autodpq.training.network import Network
from autodpq.training.trainer import Trainer
from autodpq.trial import Space

SAMPLE = 20_000
"""Rows of a band that a choice is tried on; of more, so many are drawn."""


def row_information(network: Network, rows: DeviceRows) -> Tensor:
    """The diagonal of the loss's Gauss-Newton matrix by the rows of a network that compresses nothing.

    Of each number of a row it is the sum, over the samples that hold the row's value, of p (1 - p) times the squared
    derivative of the logit by it; half of it times a squared change is how much the sum of cross entropies rises
    (LeCun et al., Optimal brain damage, NeurIPS 1989).

    Args:
        network: Its rows lie field by field, by id.
        rows: Samples.

    Returns:
        float [sum of cardinalities, X].
    """
    embedding = network.embedding
    network.eval()
    total = torch.zeros_like(embedding.table)
    for ids in torch.split(rows.ids, EVALUATION_BATCH):
        flat = embedding.flatten(ids)
        with torch.no_grad():
            embedded = embedding(flat)
            weights = None if embedding.first_order is None else embedding.first_order_sum(flat)
        embedded.requires_grad_()
        logits = network.model(embedded)
        (slope,) = torch.autograd.grad(logits.sum(), embedded)
        with torch.no_grad():
            p = (logits if weights is None else logits + weights).sigmoid()
            information = slope.square() * (p * (1 - p))[:, None, None]
            total.index_add_(0, flat.flatten().long(), information.flatten(0, 1))
    return total


def rises(trainer: Trainer, pretrained: Mapping[str, Tensor], space: Space) -> dict[str, list[float]]:
    """How much the sum of cross entropies of the training rows rises under each candidate of each band.

    Args:
        trainer: Of the bands.
        pretrained: Weights of the network that compresses nothing; looked at is what trainings start from.
        space: Candidates of each band.
    """
    network = trainer.build(trainer.full_plan())
    trainer.start(network, pretrained)
    information, rows = row_information(network, trainer.train), network.embedding.table.detach()
    found, first = {}, 0
    for field in trainer.fields:
        for band in field.bands:
            own = slice(first + band.start, first + band.stop)
            options = trainer.quantizer
            found[band.name] = rise_of_loss(rows[own], information[own], space[band.name], options, trainer.seed)
        first += field.cardinality
    return found


@torch.no_grad()
def rise_of_loss(
    rows: Tensor, information: Tensor, candidates: Sequence[Choice], options: QuantizerOptions, seed: int
) -> list[float]:
    """How much the sum of cross entropies rises, to second order, under each candidate of a band.

    Args:
        rows: float [n, X], the band's rows.
        information: float [n, X], as :func:`row_information` gives it.
        candidates: What may become of them.
        options: How codes are chosen.
        seed: Seeds centroids and the sample.
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
        made = _made(rows, used, choice, options, seed)
        rises.append(0.5 * factor * float((information.double() * (rows - made).double().square()).sum()))
    return rises


def _made(rows: Tensor, used: Tensor, choice: Choice, options: QuantizerOptions, seed: int) -> Tensor:
    if isinstance(choice, Kept):
        modulus = choice.modulus(len(rows))
        if modulus == len(rows):
            return rows.half().to(rows.dtype) if options.compact else rows
        return mean_rows(rows, modulus, used)[torch.arange(len(rows), device=rows.device) % modulus]
    assert isinstance(choice, Made)
    group = group_of([[choice]], rows.shape[1], options).to(rows.device).eval()
    group.start(rows, 0, 0, seed)
    return group.looked_up(rows, 0, 0)
