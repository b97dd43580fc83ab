"""Centroids by k-means in every subspace, and the codes of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from autodpq.kernels.operations import sum_rows

_BATCH = 65536  # rows that are compared with centroids at a time


@torch.no_grad()
def kmeans_centroids(rows: Tensor, K: int, D: int, seed: int, n_iterations: int = 10, n_rows: int = 65536) -> Tensor:
    """Centroids by Lloyd's algorithm in every subspace, started from rows drawn at random.

    Args:
        rows: float [n, X].
        K: Centroids of a subspace.
        D: Subspaces.
        seed: Seeds the sample of rows and the first centroids.
        n_iterations: Rounds of Lloyd's algorithm.
        n_rows: At most so many rows are looked at.

    Returns:
        float [K, X]: the D subspaces side by side. With fewer rows than K, rows repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(rows), generator=generator)[:n_rows].to(rows.device)
    points = _subspaces(rows[order], D)
    start = torch.arange(K, device=rows.device) % len(order)
    centroids = _lloyd(points, points.new_ones(len(order)), points[:, start].clone(), n_iterations)
    return centroids.transpose(0, 1).reshape(K, -1)


@torch.no_grad()
def weighted_centroids(
    rows: Tensor, weights: Tensor, K: int, D: int, seed: int, n_iterations: int = 25, n_rows: int = 65536
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

    Returns:
        float [K, X]: the D subspaces side by side. With fewer distinct rows than K, some repeat.
    """
    generator = torch.Generator().manual_seed(seed)
    weights = weights.double() if weights.any() else torch.ones_like(weights, dtype=torch.double)
    if len(rows) > n_rows:
        rows = rows[_drawn(weights[None].cpu(), n_rows, generator)[0].to(rows.device)]
        weights = torch.ones(n_rows, dtype=torch.double)
    points, weights = _subspaces(rows, D), weights.to(rows.device)
    centroids = points[:, :0]
    distances = torch.ones(points.shape[:2], dtype=torch.double, device=rows.device)
    for _ in range(K):
        # k-means++: the next centroid is a row drawn by its weighted squared distance from those that are there.
        chosen = _drawn((distances * weights).cpu(), 1, generator).to(rows.device)
        new = points.gather(1, chosen[..., None].expand(-1, -1, points.shape[2]))
        far = (points - new).square().sum(2).double()
        distances = far if not centroids.shape[1] else torch.minimum(distances, far)
        centroids = torch.cat([centroids, new], 1)
    centroids = _lloyd(points, weights.to(points.dtype), centroids, n_iterations)
    return centroids.transpose(0, 1).reshape(K, -1)


@torch.no_grad()
def nearest_codes(rows: Tensor, centroids: Tensor, D: int) -> Tensor:
    """Per row and subspace, the nearest centroid.

    Args:
        rows: float [n, X].
        centroids: float [K, X].
        D: Subspaces.

    Returns:
        int64 [n, D].
    """
    keys = _subspaces(centroids, D)
    halves = keys.square().sum(2)[:, None] / 2
    codes = []
    for part in torch.split(rows, _BATCH):
        scores = torch.baddbmm(halves, _subspaces(part, D), keys.transpose(1, 2), beta=-1)
        codes.append(scores.argmax(2).transpose(0, 1))
    return torch.cat(codes) if codes else torch.zeros((0, D), dtype=torch.int64, device=rows.device)


def decode(codes: Tensor, centroids: Tensor) -> Tensor:
    """What codes stand for, int64 [n, D] and float [K, X]: float [n, X], differentiable in the centroids."""
    D = codes.shape[1]
    parts = centroids.view(len(centroids), D, -1)
    return parts[codes, torch.arange(D, device=codes.device)].flatten(1)


def _subspaces(rows: Tensor, D: int) -> Tensor:
    """Rows [n, X] as [D, n, X / D]."""
    return rows.view(len(rows), D, -1).transpose(0, 1).contiguous()


def _drawn(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Places drawn by weight with replacement, [sets, n] of double [sets, places]; where all are 0, the last."""
    totals = weights.cumsum(1)
    draws = torch.rand(len(weights), n, generator=generator, dtype=torch.double) * totals[:, -1:]
    # To the right of equal totals: a place of weight 0 is never hit.
    return torch.searchsorted(totals, draws, right=True).clamp(max=weights.shape[1] - 1)


def _sums(weighted: Tensor, weights: Tensor, nearest: Tensor, K: int) -> tuple[Tensor, Tensor]:
    """Of each centroid, the sums [D, K, width] and weights [D, K] of its points.

    Args:
        weighted: float [D, n, width], points times their weights.
        weights: float [n].
        nearest: int64 [D, n], each below K.
        K: Number of centroids.
    """
    D, _, width = weighted.shape
    if weighted.is_cuda:  # where scatter_add_ is slow in torch's deterministic mode
        places = (nearest + torch.arange(D, device=nearest.device)[:, None] * K).flatten()
        sums = sum_rows(weighted.flatten(0, 1), places, D * K).view(D, K, width)
        return sums, sum_rows(weights.repeat(D), places, D * K).view(D, K)
    sums = weighted.new_zeros(D, K, width).scatter_add_(1, nearest[..., None].expand_as(weighted), weighted)
    return sums, weighted.new_zeros(D, K).scatter_add_(1, nearest, weights.expand_as(nearest))


def _lloyd(points: Tensor, weights: Tensor, centroids: Tensor, n_iterations: int) -> Tensor:
    """Lloyd's algorithm in every subspace: points [D, n, width], weights [n], centroids [D, K, width]."""
    weighted = points * weights[:, None]
    for _ in range(n_iterations):
        nearest = torch.cdist(points, centroids).argmin(2)
        sums, counts = _sums(weighted, weights, nearest, centroids.shape[1])
        moved = sums / counts[..., None].clamp(min=torch.finfo(points.dtype).tiny)
        centroids = torch.where(counts[..., None] > 0, moved, centroids)
    return centroids
