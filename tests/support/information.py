"""How much the loss bends along rows and first-order weights, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from autodpq.training.network import Network


def information_by_samples(network: Network, ids: Tensor) -> tuple[Tensor, Tensor]:
    """What ``row_information`` is to give of a network that has first-order weights: by rows, and by these."""
    network.eval()
    table, weights = network.embedding.table, network.embedding.first_order
    of_rows, of_weights = torch.zeros_like(table), torch.zeros_like(weights)
    for own in ids.split(1):
        table.grad = weights.grad = None
        logit = network(network.embedding.flatten(own))[0]
        logit.backward()
        p = logit.detach().sigmoid()
        of_rows += p * (1 - p) * table.grad.square()
        of_weights += p * (1 - p) * weights.grad.square()
    return of_rows, of_weights
