"""K-means in every subspace, by tensor operations and compiled."""

from __future__ import annotations

import ctypes
from functools import cache

import torch
from torch import Tensor

from autodpq.errors import AutoDPQError
from autodpq.kernels.native import is_known, library
from autodpq.kernels.operations import sum_rows


@cache
def compiled_kmeans() -> ctypes.CDLL:
    """The compiled source; once per process.

    Raises:
        AutoDPQError: There is no compiler, or it fails.
    """
    found = library("kmeans")
    address, number = ctypes.c_void_p, ctypes.c_int64
    found.find_codes.argtypes = [address, number, number, address, number, number, address]
    found.lloyd.argtypes = [address, address, number, number, address, number, number, number]
    found.spread.argtypes = [address, address, number, number, address, number, number, address]
    found.find_codes.restype = found.lloyd.restype = found.spread.restype = None
    return found


@torch.no_grad()
def spread(rows: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """Rows to start centroids from, far from one another (k-means++: Arthur and Vassilvitskii, SODA 2007).

    In every subspace, each is drawn by its weighted squared distance from those that are there.

    Args:
        rows: float [n, X].
        weights: double [n].
        draws: double [K, D], each in [0, 1), on the CPU.

    Returns:
        float [K, X]: the D subspaces side by side.
    """
    K, D = draws.shape
    points = subspaces(rows, D)
    centroids = points[:, :0]
    distances = torch.ones(points.shape[:2], dtype=torch.double, device=rows.device)
    for number in range(K):
        chosen = drawn((distances * weights).cpu(), draws[number, :, None])[..., 0].to(rows.device)
        new = points.gather(1, chosen[:, None, None].expand(-1, -1, points.shape[2]))
        far = (points - new).square().sum(2).double()
        distances = far if not number else torch.minimum(distances, far)
        centroids = torch.cat([centroids, new], 1)
    return centroids.transpose(0, 1).reshape(K, -1)


@torch.no_grad()
def compiled_spread(rows: Tensor, weights: Tensor, draws: Tensor) -> Tensor:
    """What :func:`spread` gives but for rounding, by compiled code."""
    rows, weights, draws = rows.contiguous(), weights.contiguous(), draws.contiguous()
    if not is_known(rows) or not len(rows):
        return spread(rows, weights, draws)
    (n, X), (K, D) = rows.shape, draws.shape
    centroids = rows.new_empty(K, X)
    compiled_kmeans().spread(
        rows.data_ptr(), weights.data_ptr(), n, X, draws.data_ptr(), K, D, centroids.data_ptr()
    )  # fmt: skip
    return centroids


def drawn(weights: Tensor, draws: Tensor) -> Tensor:
    """Places drawn by weight with replacement; where all weights are 0, the last.

    Args:
        weights: double [..., places].
        draws: double [..., n], each in [0, 1).

    Returns:
        int64 [..., n].
    """
    totals = weights.cumsum(-1)
    # To the right of equal totals: a place of weight 0 is never hit.
    places = torch.searchsorted(totals, draws * totals[..., -1:], right=True)
    return places.clamp(max=weights.shape[-1] - 1)


@torch.no_grad()
def lloyd(rows: Tensor, weights: Tensor, centroids: Tensor, D: int, n_iterations: int) -> Tensor:
    """Centroids moved to the means of the rows that are nearest, time and again; one to which none is stays.

    Args:
        rows: float [n, X].
        weights: float [n].
        centroids: float [K, X], where they start: the D subspaces side by side.
        D: Subspaces.
        n_iterations: Rounds.

    Returns:
        float [K, X].
    """
    points, moved, K = subspaces(rows, D), subspaces(centroids, D), len(centroids)
    weighted = points * weights[:, None]
    for _ in range(n_iterations):
        nearest = torch.cdist(points, moved).argmin(2)
        sums, counts = _sums(weighted, weights, nearest, K)
        means = sums / counts[..., None].clamp(min=torch.finfo(points.dtype).tiny)
        moved = torch.where(counts[..., None] > 0, means, moved)
    return moved.transpose(0, 1).reshape(K, -1)


@torch.no_grad()
def compiled_lloyd(rows: Tensor, weights: Tensor, centroids: Tensor, D: int, n_iterations: int) -> Tensor:
    """What :func:`lloyd` gives but for rounding, by compiled code."""
    rows, weights, moved = (
        rows.contiguous(),
        weights.contiguous(),
        centroids.clone(memory_format=torch.contiguous_format),
    )
    if not all(map(is_known, (rows, weights, moved))):
        return lloyd(rows, weights, centroids, D, n_iterations)
    compiled_kmeans().lloyd(
        rows.data_ptr(), weights.data_ptr(), *rows.shape, moved.data_ptr(), len(moved), D, n_iterations
    )  # fmt: skip
    return moved


@cache
def kmeans_compiles() -> bool:
    """Whether there is a compiler, and it compiles k-means."""
    try:
        compiled_kmeans()
    except AutoDPQError:
        return False
    return True


@torch.no_grad()
def compiled_codes(rows: Tensor, centroids: Tensor, D: int) -> Tensor:
    """The nearest centroids of rows, by compiled code.

    Args:
        rows: float32 [n, X], on the CPU.
        centroids: float32 [K, X], the D subspaces side by side.
        D: Subspaces.

    Returns:
        int64 [n, D]: of equally near ones the first.
    """
    rows, centroids = rows.contiguous(), centroids.contiguous()
    codes = torch.empty((len(rows), D), dtype=torch.int32)
    compiled_kmeans().find_codes(
        rows.data_ptr(), *rows.shape, centroids.data_ptr(), len(centroids), D, codes.data_ptr()
    )
    return codes.long()


def subspaces(rows: Tensor, D: int) -> Tensor:
    """Rows [n, X] as [D, n, X / D]."""
    return rows.view(len(rows), D, -1).transpose(0, 1).contiguous()


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
