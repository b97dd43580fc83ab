"""Centroids by k-means in every subspace, and what codes stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from autodpq.kernels.kmeans import compiled_lloyd, compiled_spread, drawn, lloyd, spread


@torch.no_grad()
def kmeans_centroids(
    rows: Tensor,
    K: int,
    D: int,
    seed: int,
    n_iterations: int = 10,
    n_rows: int = 65536,
    *,
    compiled: bool = False,
) -> Tensor:
    """Centroids by Lloyd's algorithm in every subspace, started from rows drawn at random.

    Args:
        rows: float [n, X].
        K: Centroids of a subspace.
        D: Subspaces.
        seed: Seeds the sample of rows and the first centroids.
        n_iterations: Rounds of Lloyd's algorithm.
        n_rows: At most so many rows are looked at.
        compiled: Whether it goes through compiled code.

    Returns:
        float [K, X]: the D subspaces side by side. With fewer rows than K, rows repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)[:n_rows].to(rows.device)
    start = order[torch.arange(K, device=rows.device) % len(order)]
    move = compiled_lloyd if compiled else lloyd
    return move(rows[order], rows.new_ones(len(order)), rows[start], D, n_iterations)


@torch.no_grad()
def weighted_centroids(
    rows: Tensor,
    weights: Tensor,
    K: int,
    D: int,
    seed: int,
    n_iterations: int = 25,
    n_rows: int = 65536,
    *,
    compiled: bool = False,
) -> Tensor:
    """Centroids of least weighted squared error, as Lloyd's algorithm finds them from a k-means++ start.

    Args:
        rows: float [n, X].
        weights: float [n], none negative: how often a row is used. If all are 0, all rows count alike.
        K: Centroids of a subspace.
        D: Subspaces.
        seed: Seeds the sample of rows and the first centroids.
        n_iterations: Rounds of Lloyd's algorithm.
        n_rows: At most so many rows are looked at; of more, so many are drawn by weight.
        compiled: Whether it goes through compiled code.

    Returns:
        float [K, X]: the D subspaces side by side. With fewer distinct rows than K, some repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = weights.double() if weights.any() else torch.ones_like(weights, dtype=torch.double)
    if len(rows) > n_rows:
        draws = torch.rand(n_rows, generator=generator, dtype=torch.double)
        rows = rows[drawn(weights.cpu(), draws).to(rows.device)]
        weights = torch.ones(n_rows, dtype=torch.double)
    weights = weights.to(rows.device)
    draws = torch.stack([torch.rand(D, generator=generator, dtype=torch.double) for _ in range(K)])
    begin, move = (compiled_spread, compiled_lloyd) if compiled else (spread, lloyd)
    return move(rows, weights.to(rows.dtype), begin(rows, weights, draws), D, n_iterations)


def decode(codes: Tensor, centroids: Tensor) -> Tensor:
    """What codes stand for, int64 [n, D] and float [K, X]: float [n, X], differentiable in the centroids."""
    D = codes.shape[1]
    parts = centroids.view(len(centroids), D, -1)
    return parts[codes, torch.arange(D, device=codes.device)].flatten(1)
