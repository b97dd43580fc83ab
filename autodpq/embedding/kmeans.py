"""Centroids by k-means in every subspace, and what codes stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from autodpq.kernels.kernels import TENSORS, Kernels
from autodpq.kernels.kmeans import subspaces


@torch.no_grad()
def kmeans_centroids(
    rows: Tensor,
    K: int,
    D: int,
    seed: int,
    n_iterations: int = 10,
    n_rows: int = 65536,
    kernels: Kernels = TENSORS,
) -> Tensor:
    """Centroids by Lloyd's algorithm in every subspace, started from rows drawn at random.

    Args:
        rows: float [n, X].
        K: Centroids of a subspace.
        D: Subspaces.
        seed: Seeds the sample of rows and the first centroids.
        n_iterations: Rounds of Lloyd's algorithm.
        n_rows: At most so many rows are looked at.
        kernels: What it is computed by.

    Returns:
        float [K, X]: the D subspaces side by side. With fewer rows than K, rows repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)[:n_rows].to(rows.device)
    start = order[torch.arange(K, device=rows.device) % len(order)]
    return kernels.lloyd(rows[order], rows.new_ones(len(order)), rows[start], D, n_iterations)


@torch.no_grad()
def weighted_centroids(
    rows: Tensor,
    weights: Tensor,
    K: int,
    D: int,
    seed: int,
    n_iterations: int = 25,
    n_rows: int = 65536,
    kernels: Kernels = TENSORS,
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
        kernels: What it is computed by.

    Returns:
        float [K, X]: the D subspaces side by side. With fewer distinct rows than K, some repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = weights.double() if weights.any() else torch.ones_like(weights, dtype=torch.double)
    if len(rows) > n_rows:
        rows = rows[_drawn(weights[None].cpu(), n_rows, generator)[0].to(rows.device)]
        weights = torch.ones(n_rows, dtype=torch.double)
    points, weights = subspaces(rows, D), weights.to(rows.device)
    centroids = points[:, :0]
    distances = torch.ones(points.shape[:2], dtype=torch.double, device=rows.device)
    for _ in range(K):
        # k-means++: the next centroid is a row drawn by its weighted squared distance from those that are there.
        chosen = _drawn((distances * weights).cpu(), 1, generator).to(rows.device)
        new = points.gather(1, chosen[..., None].expand(-1, -1, points.shape[2]))
        far = (points - new).square().sum(2).double()
        distances = far if not centroids.shape[1] else torch.minimum(distances, far)
        centroids = torch.cat([centroids, new], 1)
    return kernels.lloyd(rows, weights.to(rows.dtype), centroids.transpose(0, 1).reshape(K, -1), D, n_iterations)


def decode(codes: Tensor, centroids: Tensor) -> Tensor:
    """What codes stand for, int64 [n, D] and float [K, X]: float [n, X], differentiable in the centroids."""
    D = codes.shape[1]
    parts = centroids.view(len(centroids), D, -1)
    return parts[codes, torch.arange(D, device=codes.device)].flatten(1)


def _drawn(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Places drawn by weight with replacement, [sets, n] of double [sets, places]; where all are 0, the last."""
    totals = weights.cumsum(1)
    draws = torch.rand(len(weights), n, generator=generator, dtype=torch.double) * totals[:, -1:]
    # To the right of equal totals: a place of weight 0 is never hit.
    return torch.searchsorted(totals, draws, right=True).clamp(max=weights.shape[1] - 1)
